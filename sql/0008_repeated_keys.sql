-- JSON may say the same key twice. The workers take the last value, ClickHouse's functions the first: of such an event,
-- and of such data, the object is written anew with the last value of each key before anything is read from it.

ALTER TABLE events MODIFY COLUMN sent
    Tuple(id String, type String, time String, source String, subject String, channel String,
        touchpoint String, stage String, sessionid String, journeyid String, orderid String, contactid String,
        unitid String, agentid String, segment String, region String, experiment String, variant String,
        synthetic Bool, timeimputed Bool, traceid String, data String)
    EPHEMERAL JSONExtract(arrayMap(read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
            concat('{', arrayStringConcat(arrayMap(key -> concat(toJSONString(key), ':',
                arrayLast(pair -> pair.1 = key, JSONExtractKeysAndValuesRaw(read)).2),
                arrayDistinct(JSONExtractKeys(read))), ','), '}')),
        [if(isValidJSON(payload), payload, replaceRegexpAll(payload,
            '([:,\\[\\s])-?([0-9.]+[eE][+]?[0-9]{3,}|[0-9]{309,}([.][0-9]+)?([eE][+]?[0-9]+)?)', '\\1null'))])[1],
        'Tuple(id String, type String, time String, source String, subject String,
            channel String, touchpoint String, stage String, sessionid String, journeyid String, orderid String,
            contactid String, unitid String, agentid String, segment String, region String, experiment String,
            variant String, synthetic Bool, timeimputed Bool, traceid String, data String)')
    COMMENT 'the envelope as read from the payload; not stored';

ALTER TABLE events MODIFY COLUMN data String
    DEFAULT arrayMap(read -> if(length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)), read,
        concat('{', arrayStringConcat(arrayMap(key -> concat(toJSONString(key), ':',
            arrayLast(pair -> pair.1 = key, JSONExtractKeysAndValuesRaw(read)).2),
            arrayDistinct(JSONExtractKeys(read))), ','), '}')), [tupleElement(sent, 'data')])[1]
    COMMENT 'what happened: the data object as JSON' CODEC(ZSTD(1));
