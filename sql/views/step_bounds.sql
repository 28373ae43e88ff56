-- As `Steps.bounds` of streams/kpis/language/steps.py does for one zone: there is a test that both agree. Up to an hour, what
-- clocks show twice is two steps; longer steps last longer. No bounds means that steps are whole multiples since 1970.
CREATE OR REPLACE VIEW step_bounds AS
WITH
    (SELECT any((since, offsets, week)) FROM (SELECT * FROM business_clock FINAL)) AS kept,
    if(empty(kept.1), ([toUInt32(0)], [toInt32(0)], toInt32(345600)), kept) AS clock,
    toInt64({step:UInt32}) AS size,
    if(size = 0, 4294967296, size) AS divisor,
    if(size > 0 AND size % 604800 = 0, clock.3, 0) AS first,
    size > 3600 AS long,
    greatest(toInt64(toUInt32({from:DateTime('UTC')})) - 2 * size - 172800, 0) AS begin,
    toInt64(toUInt32({to:DateTime('UTC')})) + 2 * size + 172800 AS end,
    -- From when to when each offset holds, and the one before.
    arrayFilter(s -> s.1 < s.2, arrayMap(
        (since, until, offset, before) -> (greatest(toInt64(since), begin), least(until, end), toInt64(offset),
            toInt64(if(since >= begin, before, offset))),
        clock.1, arrayPushBack(arrayPopFront(arrayMap(at -> toInt64(at), clock.1)), toInt64(4294967296)),
        clock.2, arrayPushFront(arrayPopBack(clock.2), clock.2[1]))) AS stretches,
    size = 0 OR first = 0 AND arrayAll(s -> s.3 % divisor = 0, stretches) AND (length(stretches) = 1 OR NOT long) AS even,
    -- The number of each step that begins in a stretch, and when.
    if(even, [], arrayFlatten(arrayMap(s -> arrayConcat(
        if(if(long, floor((s.1 + s.3 - first) / divisor) > floor((s.1 - 1 + s.4 - first) / divisor),
                floor((s.1 + s.3 - first) / divisor) != floor((s.1 - 1 + s.4 - first) / divisor)),
            [(toInt64(floor((s.1 + s.3 - first) / divisor)), s.1)], []),
        arrayMap(number -> (toInt64(number), number * size + first - s.3),
            range(toInt64(if(long, floor((s.1 + s.3 - first) / divisor) + 1, ceil((s.1 + s.3 - first) / divisor))), toInt64(ceil((s.2 + s.3 - first) / divisor))))), stretches))) AS begins,
    arraySort(begins) AS sorted,
    -- Clocks that go back pass a bound twice: the step begins when they do so for the last time.
    if(long, arrayFilter((s, next) -> s.1 != next, sorted, arrayResize(arrayPopFront(sorted.1), length(sorted), toInt64(-9223372036854775807))), sorted) AS last,
    arraySort(arrayDistinct(arrayMap(s -> toUInt32(intDiv(s.2 + 59, 60) * 60), last))) AS rising,
    arrayResize(arrayPopFront(rising), length(rising), toUInt32(4294967295)) AS later,
    if(empty(rising), [], arrayPushFront(arrayPopBack(rising), toUInt32(0))) AS earlier
SELECT arrayFilter((at, next, before) -> next > toUInt32({from:DateTime('UTC')}) AND before < toUInt32({to:DateTime('UTC')}),
    rising, later, earlier) AS bounds
COMMENT 'step_bounds(from=, to=, step=): where steps of so many seconds begin on the clocks of CX_ZONE, up to the first after the end; empty: at whole multiples since 1970';
