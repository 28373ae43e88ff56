-- Every value says whether more events are expected for it: it is closed when its KPI has told of the last of its minutes,
-- or of a later one, that it is. `from` is included, `to` is not; both are event time, whole minutes.
-- Steps are whole multiples of `step` seconds since 1970, or, where `bounds` are given, begin there and end at the next one.
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
    -- The bin of everything at or below zero is -1.
    (SELECT arrayConcat([0], groupArray(estimate)) FROM (SELECT estimate FROM sketch_bins FINAL ORDER BY bin))
        AS estimates,
    (SELECT groupArray((estimate, error)) FROM (SELECT estimate, error FROM distinct_estimates FINAL ORDER BY coupons))
        AS coupon_estimates,
    (SELECT max(at) FROM kpi_newest WHERE kpi = {kpi:String}) AS closed_to,
    sums AS
    (
        SELECT
            kpi, by, labels,
            toDateTime(multiIf(
                notEmpty({bounds:Array(UInt32)}), roundDown(toUInt32(start), edges),
                {step:UInt32} = 0, toUInt32({from:DateTime('UTC')}),
                intDiv(toUInt32(start), greatest({step:UInt32}, 1)) * {step:UInt32}), 'UTC') AS time,
            sumForEach(fields) AS fields, mapSort(sumMap(bins)) AS bins, sum(n) AS n
        FROM {db}.kpi_sums(kpi = {kpi:String}, from = {from:DateTime('UTC')}, to = {to:DateTime('UTC')},
            grain = {step:UInt32}, bounds = {bounds:Array(UInt32)})
        GROUP BY kpi, by, labels, time
    ),
    numbers AS
    (
        SELECT
            sums.kpi AS kpi, by, labels, time, n, unit, aggregator, scale, low, high, definition, quantiles,
            toFloat64(n) AS total,
            toFloat64(if(length(fields) > 1, fields[2], 0)) AS second,
            toFloat64(if(length(fields) > 2, fields[3], 0)) AS third,
            -- In whole numbers: the difference of two large sums would lose its digits in doubles.
            toInt256(if(aggregator = 'mean', fields[2], 0)) AS summed,
            toInt256(if(aggregator = 'mean', fields[3], 0)) AS squares,
            -- Of a mean between two ends: with one answer more at each of them, unless the sums belie that range.
            toInt256(round(assumeNotNull(coalesce(low, 0)) * scale)) AS least,
            toInt256(round(assumeNotNull(coalesce(high, 0)) * scale)) AS most,
            isNotNull(low) AND isNotNull(high) AND (least + most) * summed - squares - n * least * most >= 0
                AS between_ends,
            if(between_ends, n + 2, n) AS answers,
            if(between_ends, summed + least + most, summed) AS steps,
            answers * if(between_ends, squares + least * least + most * most, squares) - steps * steps AS spread_steps,
            -- What is never below zero has no greater sum of squares than the square of its sum.
            ifNull(low = 0, false) AND summed >= 0 AND squares <= summed * summed AS positive,
            mapKeys(bins) AS keys, arrayCumSum(mapValues(bins)) AS seen,
            -- Of a share: sums of the whole and the part, of their squares and products.
            arrayMap(place -> toInt256(if(length(fields) = 6, fields[place], 0)), [2, 3, 4, 5, 6]) AS terms,
            -- Of a distinct count: as many coupons fewer per register are half as many values.
            toUInt64(length(keys)) AS coupons,
            if(coupons >= 16384, intDiv(coupons - 16384, 2048) + 1, 0) AS doubled,
            coupon_estimates[coupons - 2048 * doubled + 1] AS estimated,
            least(toFloat64(estimated.1 * bitShiftLeft(toUInt64(1), doubled)), total) AS different,
            estimated.2 * exp2(doubled) AS different_error
        FROM sums INNER JOIN (SELECT * FROM kpis FINAL WHERE id = {kpi:String}) AS kpis ON sums.kpi = kpis.id
    ),
    parts AS
    (
        SELECT
            *,
            if(aggregator = 'quantile', concat('p', toString(round(100 * q, 2))), '') AS stat,
            if(unit IN ('percent', '%'), 100, 1) AS factor,
            unit IN ('percent', '%', 'fraction') AS of_one,
            second / total AS share,
            toFloat64(answers) AS given,
            toFloat64(steps) / (given * scale) AS middle,
            terms[1] AS whole, terms[2] AS part,
            terms[5] * whole * whole - 2 * part * whole * terms[4] + part * part * terms[3] AS scatter,
            -- A share without any spread is worth as many answers as its wholes are of even size.
            pow(z, 2) / (toFloat64(whole * whole) / toFloat64(terms[3]) + pow(z, 2)) AS slack,
            pow(z, 2) / total AS spread,
            -- Adjusted Wald: 3/4 promoter, 3/4 detractor and 3 answers more.
            (second + 0.75) / (total + 3) AS happy,
            (third + 0.75) / (total + 3) AS unhappy,
            -- A quantile and the ends of its interval are the values at these ranks.
            z * sqrt(total * q * (1 - q)) AS rank_spread,
            [greatest(1, ceil(round(q * 10000) * total / 10000)), floor(total * q - rank_spread),
                ceil(total * q + rank_spread) + 1] AS ranks,
            arrayMap(rank -> if(rank < 1 OR rank > total, NULL,
                estimates[keys[arrayFirstIndex(up_to -> up_to >= rank, seen)] + 2] / (1000 * scale)), ranks) AS ranked,
            multiIf(
                total = 0, 0,
                aggregator = 'ratio' AND second <= total,
                    z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread),
                aggregator = 'ratio', z * sqrt(1 / second + 1 / total),
                aggregator = 'mean' AND given > 1,
                    student(given - 1) * sqrt(toFloat64(spread_steps) / (given * (given - 1)) / given) / scale,
                aggregator = 'share' AND total > 1 AND whole > 0,
                    factor * student(total - 1)
                        * sqrt(toFloat64(scatter) / toFloat64(whole * whole * whole * whole) * total / (total - 1)),
                aggregator = 'nps', z * sqrt(greatest(happy + unhappy - pow(happy - unhappy, 2), 0) / (total + 3)),
                0) AS half,
            -- Too few for an interval.
            total < 5 AS few,
            aggregator = 'mean' AND total > 1 AND between_ends AS scaled,
            -- The interval of what is never below zero is that of its logarithm, its upper end pushed up by as much
            -- again as the relative error says. One that reaches ten times the value says nothing.
            (aggregator = 'mean' AND NOT between_ends AND positive)
                OR (aggregator = 'share' AND NOT of_one AND part > 0 AND scatter != 0) AS logarithmic,
            multiIf(total = 0, 0, aggregator = 'mean', second / (total * scale),
                whole > 0, toFloat64(factor * part) / toFloat64(whole), 0) AS centre,
            if(centre > 0, half / centre, 0) AS reach,
            reach * (1 + reach / z) AS reach_above
        FROM numbers ARRAY JOIN if(empty(quantiles), [toFloat64(0)], quantiles) AS q
    )
SELECT
    kpi, by, labels, time, stat,
    multiIf(
        total = 0, NULL,
        aggregator = 'count', total,
        aggregator = 'sum', second / scale,
        aggregator = 'ratio', factor * second / total,
        aggregator = 'nps', 100 * (second - third) / total,
        aggregator = 'share' AND whole <= 0, NULL,
        aggregator IN ('mean', 'share'), centre,
        aggregator = 'distinct', different,
        ranked[1]) AS value,
    n,
    multiIf(
        total = 0, NULL,
        aggregator = 'ratio' AND second <= total,
            if(second = 0, 0, factor * ((share + spread / 2) / (1 + spread) - half)),
        aggregator = 'ratio', if(few, NULL, value / exp(half)),
        aggregator = 'nps', 100 * greatest(-1, happy - unhappy - half),
        aggregator = 'share' AND (whole <= 0 OR total < 2 OR (scatter = 0 AND NOT of_one)), NULL,
        aggregator = 'share' AND scatter = 0, if(part = 0, 0, factor * (1 - slack)),
        scaled, greatest(low, least(value, middle - half)),
        aggregator IN ('mean', 'share') AND few, NULL,
        logarithmic, multiIf(value <= 0, 0, reach_above > log(10), NULL, value * exp(-reach)),
        aggregator = 'share' AND of_one, greatest(0, value - half),
        aggregator IN ('mean', 'share'), value - half,
        aggregator = 'distinct', greatest(toFloat64(coupons), different - z * different_error),
        aggregator = 'quantile', ranked[2],
        NULL) AS lo,
    multiIf(
        total = 0, NULL,
        aggregator = 'ratio' AND second <= total,
            if(second = total, factor, factor * ((share + spread / 2) / (1 + spread) + half)),
        aggregator = 'ratio', if(few, NULL, value * exp(half)),
        aggregator = 'nps', 100 * least(1, happy - unhappy + half),
        aggregator = 'share' AND (whole <= 0 OR total < 2 OR (scatter = 0 AND NOT of_one)), NULL,
        aggregator = 'share' AND scatter = 0, if(part = 0, factor * slack, factor),
        scaled, least(high, greatest(value, middle + half)),
        aggregator IN ('mean', 'share') AND few, NULL,
        logarithmic, if(value <= 0 OR reach_above > log(10), NULL, value * exp(reach_above)),
        aggregator = 'share' AND of_one, least(factor, value + half),
        aggregator IN ('mean', 'share'), value + half,
        aggregator = 'distinct', least(total, different + z * different_error),
        aggregator = 'quantile', ranked[3],
        NULL) AS hi,
    if(least({to:DateTime('UTC')}, multiIf(
            notEmpty({bounds:Array(UInt32)}), toDateTime(transform(toUInt32(time), edges, ends, toUInt32(0)), 'UTC'),
            {step:UInt32} = 0, {to:DateTime('UTC')},
            time + {step:UInt32})) <= closed_to,
        'closed', 'open') AS maturity,
    unit, definition
FROM parts
COMMENT 'kpi_steps(kpi=, from=, to=, step=, bounds=): a KPI per series and step, with its interval; steps of so many seconds, or between bounds (Unix seconds)';
