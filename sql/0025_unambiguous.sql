-- What ClickHouse's readers of JSON see otherwise than the workers (a key that stands twice, a number beyond a double) is
-- looked for where it may be: not in payloads that a worker has found to read alike for everybody. Of rows that say
-- nothing of it, as those stored before and those that others write, it is looked for still. An insert works out both
-- sides of a condition: nothing is done for a payload that is in no array.

ALTER TABLE events ADD COLUMN IF NOT EXISTS unambiguous Bool DEFAULT false
    COMMENT 'whether every reader of JSON is known to read the payload alike' AFTER payload;

ALTER TABLE events MODIFY COLUMN sent
    Tuple(id String, type String, time String, source String, subject String, channel String,
        touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
        unitid String, agentid String, segment String, region String, experiment String, variant String,
        synthetic Bool, timeimputed Bool, traceid String, data String)
    EPHEMERAL JSONExtract(if(unambiguous, payload, arrayMap(
        read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
            concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
                arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(read)),
                    arrayEnumerateUniq(arrayReverse(JSONExtractKeys(read)))))), ','), '}')),
        arrayMap(text -> if(isValidJSON(text), text, arrayStringConcat(arrayMap(
                part -> if(startsWith(part, '"'), part, replaceRegexpAll(part,
                    '([:,\\[\\s])-?([0-9.]+[eE][+]?[0-9]{3,}|[0-9]{309,}([.][0-9]+)?([eE][+]?[0-9]+)?)', '\\1null')),
                extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|[^"]+')))),
            if(unambiguous, emptyArrayString(), [payload])))[1]),
        'Tuple(id String, type String, time String, source String, subject String,
            channel String, touchpoint String, stage String, sessionid String, journeyid String, orderid String,
            contactid String, unitid String, agentid String, segment String, region String, experiment String,
            variant String, synthetic Bool, timeimputed Bool, traceid String, data String)')
    COMMENT 'the envelope as read from the payload; not stored';

ALTER TABLE events MODIFY COLUMN data String
    DEFAULT if(unambiguous, tupleElement(sent, 'data'), arrayMap(
        read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
        concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
            arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(read)),
                arrayEnumerateUniq(arrayReverse(JSONExtractKeys(read)))))), ','), '}')),
        if(unambiguous, emptyArrayString(), [tupleElement(sent, 'data')]))[1])
    COMMENT 'what happened: the data object as JSON' CODEC(ZSTD(1));

-- A part in which each column has files of its own takes buffers for each of them, and clearing these costs as much as all
-- else of an insert. What one insert brings stays together; merged parts grow beyond this soon.
ALTER TABLE events MODIFY SETTING min_bytes_for_wide_part = 134217728;
