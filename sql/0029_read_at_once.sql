-- What is to be read of an event beside its payload (see 0025) has a column of its own, which is not stored either: who
-- inserts rows that are all unambiguous gives an empty list for each, and then nothing is even prepared for the others.
-- Workers do so without a byte: they name the column, leave it out of their blocks, and ask for no default expressions.

ALTER TABLE events ADD COLUMN IF NOT EXISTS reread Array(String)
    EPHEMERAL arrayMap(
        read -> [read, arrayMap(
            inner -> if(length(JSONExtractKeys(inner)) = arrayUniq(JSONExtractKeys(inner)), inner,
                concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
                    arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(inner)),
                        arrayEnumerateUniq(arrayReverse(JSONExtractKeys(inner)))))), ','), '}')),
            [JSONExtract(read, 'data', 'String')])[1]],
        arrayMap(
            read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
                concat('{', arrayStringConcat(arrayReverse(arrayMap(pair -> concat(toJSONString(pair.1), ':', pair.2),
                    arrayFilter((pair, nth) -> nth = 1, arrayReverse(JSONExtractKeysAndValuesRaw(read)),
                        arrayEnumerateUniq(arrayReverse(JSONExtractKeys(read)))))), ','), '}')),
            arrayMap(text -> if(isValidJSON(text), text, arrayStringConcat(arrayMap(
                    part -> if(startsWith(part, '"'), part, replaceRegexpAll(part,
                        '([:,\\[\\s])-?([0-9.]+[eE][+]?[0-9]{3,}|[0-9]{309,}([.][0-9]+)?([eE][+]?[0-9]+)?)', '\\1null')),
                    extractAll(text, '"(?:[^"\\\\]|\\\\.)*"|[^"]+')))),
                if(unambiguous, emptyArrayString(), [payload]))))[1]
    COMMENT 'payload and data as every reader of JSON reads them alike; empty: as they stand; not stored' AFTER unambiguous;

ALTER TABLE events MODIFY COLUMN sent
    Tuple(id String, type String, time String, source String, subject String, channel String,
        touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
        unitid String, agentid String, segment String, region String, experiment String, variant String,
        synthetic Bool, timeimputed Bool, traceid String, data String)
    EPHEMERAL JSONExtract(if(empty(reread), payload, reread[1]), 'Tuple(id String, type String, time String, source String,
            subject String, channel String, touchpoint String, stage String, sessionid String, journeyid String,
            orderid String, contactid String, unitid String, agentid String, segment String, region String,
            experiment String, variant String, synthetic Bool, timeimputed Bool, traceid String, data String)')
    COMMENT 'the envelope as read from the payload; not stored';

ALTER TABLE events MODIFY COLUMN data String DEFAULT if(empty(reread), tupleElement(sent, 'data'), reread[2])
    COMMENT 'what happened: the data object as JSON' CODEC(ZSTD(1));
