-- Made from the aggregators by `cx kpis docs`: change streams/kpis/aggregators or streams/storage/steps_view.py.
--
-- Every value says whether more events are expected for it: it is closed when its KPI has published the last of its
-- minutes, or of a later one, that it is. `from` is included, `to` is not; both are event time, whole minutes.
-- Steps are whole multiples of `step` seconds since 1970, or, where `bounds` are given, begin there and end at
-- the next.
CREATE OR REPLACE VIEW kpi_steps AS
WITH
    if(empty({bounds:Array(UInt32)}), [toUInt32(0)], {bounds:Array(UInt32)}) AS edges,
    arrayPushBack(arrayPopFront(edges), toUInt32({to:DateTime('UTC')})) AS ends,
    1.959963984540054 AS z,
    -- Student's factor: exact up to 100 degrees of freedom, then the expansion of Cornish and Fisher (within 1e-10).
    (degrees -> if(degrees <= 100,
        [12.706204736174698, 4.302652729749462, 3.182446305283708, 2.7764451051977934, 2.5705818356363146,
            2.4469118511449692, 2.3646242515927853, 2.3060041352041662, 2.2621571627982036, 2.2281388519862744,
            2.2009851600916397, 2.1788128296672262, 2.1603686564627944, 2.1447866879178026, 2.1314495455597737,
            2.119905299221254, 2.1098155778333156, 2.1009220402410382, 2.0930240544083083, 2.0859634472658644,
            2.079613844727679, 2.0738730679040263, 2.0686576104190473, 2.0638985616280263, 2.059538552753295,
            2.0555294386428717, 2.0518305164802837, 2.048407141795249, 2.045229642132701, 2.042272456301235,
            2.039513446396408, 2.0369333434601034, 2.0345152974493357, 2.0322445093177164, 2.0301079282503456,
            2.0280940009804485, 2.0261924630291097, 2.0243941639119694, 2.0226909200367613, 2.0210753903062724,
            2.0195409704413763, 2.018081702818442, 2.0166921992278235, 2.015367574443762, 2.014103388880846,
            2.0128955989194326, 2.0117405137297677, 2.0106347576242336, 2.009575237129236, 2.0085591121007593,
            2.0075837703158363, 2.0066468050616937, 2.0057459953178673, 2.0048792881880564, 2.0040447832891473,
            2.0032407188478656, 2.002465459291003, 2.0017174841452343, 2.000995378088266, 2.000297822014258,
            1.9996235849949444, 1.9989715170333762, 1.998340542520734, 1.9977296543176941, 1.9971379083920002,
            1.996564418952313, 1.9960083540252986, 1.9954689314298457, 1.9949454151072377, 1.9944371117711839,
            1.9939433678456309, 1.993463566661868, 1.9929971258898536, 1.9925434951809256, 1.992102154002244,
            1.9916726096446635, 1.9912543953883888, 1.9908470688116882, 1.9904502102301334, 1.9900634212544466,
            1.9896863234568931, 1.9893185571365866, 1.9889597801751575, 1.9886096669757098, 1.9882679074772258,
            1.9879342062390153, 1.987608281589074, 1.9872898648311716, 1.9869786995062813, 1.9866745407037696,
            1.9863771544186122, 1.9860863169511316, 1.9858018143458194, 1.9855234418666086, 1.9852510035054847,
            1.9849843115224726, 1.984723186013969, 1.9844674545084817, 1.9842169515864263, 1.983971518523541
        ][toUInt8(greatest(least(degrees, 100), 1))],
        z + (pow(z, 3) + z) / (4 * degrees) + (5 * pow(z, 5) + 16 * pow(z, 3) + 3 * z) / (96 * pow(degrees, 2))
            + (3 * pow(z, 7) + 19 * pow(z, 5) + 17 * pow(z, 3) - 15 * z) / (384 * pow(degrees, 3))
            + (79 * pow(z, 9) + 776 * pow(z, 7) + 1482 * pow(z, 5) - 1920 * pow(z, 3) - 945 * z)
                / (92160 * pow(degrees, 4)))) AS student,
    (SELECT any((aggregator, unit, scale, low, high, quantiles, definition, void, groupings)) FROM kpis FINAL
        WHERE id = {kpi:String}) AS known,
    assumeNotNull(known.1) AS aggregator,
    -- What is asked for one aggregator alone is constant for a KPI: only its own part is planned and computed.
    -- The bin of everything at or below zero is -1.
    (SELECT arrayConcat([0], groupArray(estimate)) FROM (SELECT estimate FROM sketch_bins FINAL
        WHERE aggregator IN ('quantile') ORDER BY bin)) AS estimates,
    (SELECT groupArray((estimate, error)) FROM (SELECT estimate, error FROM distinct_estimates FINAL
        WHERE aggregator IN ('distinct') ORDER BY coupons)) AS coupon_estimates,
    (SELECT max(at) FROM kpi_newest WHERE kpi = {kpi:String}) AS closed_to,
    assumeNotNull(known.9) AS groupings,
    -- Series of which hits (and misses, where they are other events) are known to be sent; without a whole each tells
    -- of itself.
    (SELECT groupArray(toString(labels)) FROM kpi_newest FINAL
        WHERE kpi = {kpi:String} AND window = 'total' AND value IS NOT NULL
            AND (by IN ('', 'channel') OR NOT has(groupings, emptyArrayString()))) AS sent,
    -- Whether all but n is counted from the beginning.
    aggregator IN ('level') AS lasts,
    pieces AS
    (
        -- What was before the first step belongs to it.
        SELECT
            kpi, by, labels, fields, bins, n,
            toUInt32(greatest(start, {from:DateTime('UTC')})) AS at,
            toDateTime(multiIf(
                notEmpty({bounds:Array(UInt32)}), roundDown(at, edges),
                {step:UInt32} = 0, toUInt32({from:DateTime('UTC')}),
                intDiv(at, greatest({step:UInt32}, 1)) * {step:UInt32}), 'UTC') AS time
        FROM {db}.kpi_sums(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')},
            grain = {step:UInt32}, bounds = {bounds:Array(UInt32)})
    ),
    steps AS
    (
        SELECT kpi, by, labels, time, sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n
        FROM pieces GROUP BY kpi, by, labels, time
    ),
    sums AS
    (
        -- Steps are read in one place: what is written twice is asked twice.
        SELECT kpi, by, labels, time,
            if(lasts, sumForEach(steps.fields) OVER (PARTITION BY kpi, by, labels ORDER BY time
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), steps.fields) AS fields,
            bins, n
        FROM steps
    ),
    toLowCardinality(assumeNotNull(known.2)) AS unit,
    assumeNotNull(known.3) AS scale,
    known.4 AS low,
    known.5 AS high,
    toFloat64(n) AS total,
    if(unit IN ('%', 'per_100', 'percent'), 100, 1) AS factor,
    unit IN ('%', 'fraction', 'percent') AS of_one,
    toUInt64(length(bins)) AS coupons,
    if(coupons >= 16384, intDiv(coupons - 16384, 2048) + 1, 0) AS doubled,
    coupon_estimates[coupons - 2048 * doubled + 1] AS estimated,
    least(toFloat64(estimated.1 * bitShiftLeft(toUInt64(1), doubled)), total) AS different,
    estimated.2 * exp2(doubled) AS different_error,
    toFloat64(fields[2]) / (total * scale) AS mean,
    toInt256(round(assumeNotNull(coalesce(low, 0)) * scale)) AS mean_low,
    toInt256(round(assumeNotNull(coalesce(high, 0)) * scale)) AS mean_high,
    isNotNull(low) AND isNotNull(high) AND total > 1 AND (mean_low + mean_high) * toInt256(fields[2]) - toInt256(fields[3]) - n * mean_low * mean_high >= 0 AS mean_scaled,
    if(mean_scaled, n + 2, n) AS mean_n,
    if(mean_scaled, toInt256(fields[2]) + mean_low + mean_high, toInt256(fields[2])) AS mean_sum,
    if(mean_scaled, toInt256(fields[3]) + mean_low * mean_low + mean_high * mean_high, toInt256(fields[3])) AS mean_squares,
    toFloat64(mean_sum) / (mean_n * scale) AS mean_middle,
    ifNull(low = 0, false) AND toInt256(fields[2]) >= 0 AND toInt256(fields[3]) <= toInt256(fields[2]) * toInt256(fields[2]) AS mean_positive,
    mean_n * mean_squares - mean_sum * mean_sum AS mean_spread,
    student(mean_n - 1) * sqrt(toFloat64(mean_spread) / (toFloat64(mean_n) * (mean_n - 1)) / mean_n) / scale AS mean_half,
    multiIf(mean_scaled, (greatest(assumeNotNull(low), least(mean, mean_middle - mean_half)), least(assumeNotNull(high), greatest(mean, mean_middle + mean_half))), total < 5, (NULL, NULL), mean_positive, multiIf(mean <= 0, (0, NULL), ((mean_half / mean) * (1 + (mean_half / mean) / z)) > log(10), (NULL, NULL), (mean * exp(-(mean_half / mean)), mean * exp(((mean_half / mean) * (1 + (mean_half / mean) / z))))), (mean - mean_half, mean + mean_half)) AS mean_ends,
    (toFloat64(fields[2]) + 0.75) / (total + 3) AS happy,
    (toFloat64(fields[3]) + 0.75) / (total + 3) AS unhappy,
    z * sqrt(greatest(happy + unhappy - pow(happy - unhappy, 2), 0) / (total + 3)) AS nps_half,
    arrayCumSum(mapValues(bins)) AS seen,
    mapKeys(bins) AS keys,
    z * sqrt(total * q * (1 - q)) AS rank_spread,
    [greatest(1, ceil(round(q * 10000) * total / 10000)), floor(total * q - rank_spread), ceil(total * q + rank_spread) + 1] AS ranks,
    arrayMap(rank -> if(rank < 1 OR rank > total, NULL, estimates[keys[arrayFirstIndex(up_to -> up_to >= rank, seen)] + 2] / (1000 * scale)), ranks) AS ranked,
    unit = 'per_100' AS per_other,
    NOT per_other AND toFloat64(fields[2]) > total AS hits_beyond,
    total + if(per_other, toFloat64(fields[2]), 0) AS rate_trials,
    toFloat64(fields[2]) / rate_trials AS rate,
    pow(z, 2) / rate_trials AS rate_spread,
    (rate + rate_spread / 2) / (1 + rate_spread) AS rate_centre,
    z * sqrt(rate * (1 - rate) / rate_trials + rate_spread / (4 * rate_trials)) / (1 + rate_spread) AS rate_half,
    rate_centre - rate_half AS rate_low,
    rate_centre + rate_half AS rate_high,
    toInt256(fields[2]) AS whole,
    toInt256(fields[3]) AS part,
    toFloat64(factor * part) / toFloat64(whole) AS part_share,
    toInt256(fields[6]) * whole * whole - 2 * part * whole * toInt256(fields[5]) + part * part * toInt256(fields[4]) AS scatter,
    whole <= 0 OR total < 2 OR (scatter = 0 AND NOT of_one) AS share_bare,
    pow(z, 2) / (toFloat64(whole * whole) / toFloat64(toInt256(fields[4])) + pow(z, 2)) AS slack,
    factor * student(total - 1) * sqrt(toFloat64(scatter) / toFloat64(whole * whole * whole * whole) * total / (total - 1)) AS share_half,
    multiIf(share_bare, (NULL, NULL), scatter = 0, (if(part = 0, 0, factor * (1 - slack)), if(part = 0, factor * slack, factor)), total < 5, (NULL, NULL), of_one, (greatest(0, part_share - share_half), least(factor, part_share + share_half)), part > 0, multiIf(part_share <= 0, (0, NULL), ((share_half / part_share) * (1 + (share_half / part_share) / z)) > log(10), (NULL, NULL), (part_share * exp(-(share_half / part_share)), part_share * exp(((share_half / part_share) * (1 + (share_half / part_share) / z))))), (part_share - share_half, part_share + share_half)) AS share_ends,
    assumeNotNull(known.8) AS void,
    toString(mapFilter((name, _) -> name != 'currency', labels)) AS beside,
    uniqExactIf(labels['currency'], labels['currency'] != '' AND n > 0) OVER (PARTITION BY time, beside)
        AS currencies_beside,
    uniqExactIf(labels['currency'], by = 'currency' AND n > 0) OVER (PARTITION BY time) AS currencies,
    -- As `streams/kpis/language/void.py`: hits or misses nobody was ever seen to send, amounts in several currencies.
    if(void = '', false, total > 0 AND if(NOT startsWith(void, 'several'),
        (if(aggregator = 'share', fields[3], fields[2]) = 0 OR startsWith(void, 'not each of')
            AND if(aggregator = 'share', fields[3] = fields[2], fields[2] = fields[1]))
            AND NOT has(sent, toString(multiIf(
                has(groupings, ['channel']) AND labels['channel'] != '',
                mapFilter((name, _) -> name = 'channel', labels),
                has(groupings, emptyArrayString()), mapFilter((name, _) -> false, labels),
                labels))),
        labels['currency'] = '' AND if(has(groupings, arraySort(arrayPushBack(mapKeys(labels), 'currency'))),
            currencies_beside, currencies) > 1)) AS is_void
SELECT
    kpi, by, labels, time,
    if(aggregator IN ('quantile'), concat('p', toString(round(100 * q, 2))), '') AS stat,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
        if(aggregator = 'count', total,
        if(aggregator = 'distinct', different,
        if(aggregator = 'level', if(toFloat64(fields[3]) = 0, NULL, toFloat64(fields[2]) / scale),
        if(aggregator = 'mean', mean,
        if(aggregator = 'nps', 100 * (toFloat64(fields[2]) - toFloat64(fields[3])) / total,
        if(aggregator = 'quantile', ranked[1],
        if(aggregator = 'ratio', if(hits_beyond, NULL, factor * toFloat64(fields[2]) / total),
        if(aggregator = 'share', if(whole <= 0, NULL, toFloat64(factor * part) / toFloat64(whole)),
        if(aggregator = 'sum', toFloat64(fields[2]) / scale, NULL)))))))))), 'Nullable(Float64)') AS value,
    n,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
        if(aggregator = 'distinct', greatest(toFloat64(coupons), different - z * different_error),
        if(aggregator = 'mean', mean_ends.1,
        if(aggregator = 'nps', 100 * greatest(-1, happy - unhappy - nps_half),
        if(aggregator = 'quantile', ranked[2],
        if(aggregator = 'ratio', multiIf(hits_beyond, NULL, toFloat64(fields[2]) = 0, 0, factor * if(per_other, rate_low / (1 - rate_low), rate_low)),
        if(aggregator = 'share', share_ends.1, NULL))))))), 'Nullable(Float64)') AS lo,
    CAST(if((total = 0 AND NOT lasts) OR is_void, NULL,
        if(aggregator = 'distinct', least(total, different + z * different_error),
        if(aggregator = 'mean', mean_ends.2,
        if(aggregator = 'nps', 100 * least(1, happy - unhappy + nps_half),
        if(aggregator = 'quantile', ranked[3],
        if(aggregator = 'ratio', multiIf(hits_beyond, NULL, toFloat64(fields[2]) = total AND NOT per_other, factor, factor * if(per_other, rate_high / (1 - rate_high), rate_high)),
        if(aggregator = 'share', share_ends.2, NULL))))))), 'Nullable(Float64)') AS hi,
    if(least({to:DateTime('UTC')}, until) <= closed_to, 'closed', 'open') AS maturity,
    unit, toLowCardinality(assumeNotNull(known.7)) AS definition,
    multiIf(
        notEmpty({bounds:Array(UInt32)}), toDateTime(transform(toUInt32(time), edges, ends, toUInt32(0)), 'UTC'),
        {step:UInt32} = 0, {to:DateTime('UTC')},
        time + {step:UInt32}) AS until
FROM sums
ARRAY JOIN if(empty(assumeNotNull(known.6)), [toFloat64(0)], assumeNotNull(known.6)) AS q
WHERE aggregator != ''
COMMENT 'kpi_steps(kpi=, from=, to=, step=, bounds=): a KPI per series and step, with its interval; steps of so many seconds, or between bounds (Unix seconds)';
