-- What is read from a payload costs time and memory in proportion to its length, whatever it holds. Of a key that stands
-- more than once the last value is kept, in one pass; a number beyond a double becomes null where it is a number, and
-- stays as it is inside a text.

ALTER TABLE events MODIFY COLUMN sent
    Tuple(id String, type String, time String, source String, subject String, channel String,
        touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
        unitid String, agentid String, segment String, region String, experiment String, variant String,
        synthetic Bool, timeimputed Bool, traceid String, data String)
    EPHEMERAL JSONExtract(arrayMap(read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
            concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
                arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(read)),
                    arrayEnumerateUniq(arrayReverse(JSONExtractKeys(read)))))), ','), '}')),
        -- Inside a function of an array, so that it is done for those payloads alone that need it.
        arrayMap(text -> if(isValidJSON(text), text, arrayStringConcat(arrayMap(
                part -> if(startsWith(part, '"'), part, replaceRegexpAll(part,
                    '([:,\\[\\s])-?([0-9.]+[eE][+]?[0-9]{3,}|[0-9]{309,}([.][0-9]+)?([eE][+]?[0-9]+)?)', '\\1null')),
                extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|[^"]+')))),
            [payload]))[1],
        'Tuple(id String, type String, time String, source String, subject String,
            channel String, touchpoint String, stage String, sessionid String, journeyid String, orderid String,
            contactid String, unitid String, agentid String, segment String, region String, experiment String,
            variant String, synthetic Bool, timeimputed Bool, traceid String, data String)')
    COMMENT 'the envelope as read from the payload; not stored';

ALTER TABLE events MODIFY COLUMN data String
    DEFAULT arrayMap(read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
        concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
            arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(read)),
                arrayEnumerateUniq(arrayReverse(JSONExtractKeys(read)))))), ','), '}')), [tupleElement(sent, 'data')])[1]
    COMMENT 'what happened: the data object as JSON' CODEC(ZSTD(1));
