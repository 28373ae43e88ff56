"""Whether every record that was read is accounted for, once, and as what it is."""

# ruff: noqa: S608 - statements are made of checked definitions; every literal is escaped

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.storage.retention import MARGIN, current

_LISTED: Final = 1_000

# Positions carry the epoch of their topic above bit 40; with a new epoch offsets start again.
_EPOCH_BITS: Final = 40

_SOURCE: Final = "concat(topic, '/', toString(partition)) AS source"

# Dead letters that stand for a record: not the rows of other tables, nor those that were stored after all.
_ACCOUNTED: Final = (
    "outcome != 'none' AND (outcome IN ('bad', 'conflict') OR (topic, partition, offset) NOT IN"
    " (SELECT topic, partition, offset FROM stored_later))"
)

_QUERIES: Final[dict[str, str]] = {
    "sum": f"""
        SELECT {_SOURCE}, concat(toString(first), '-', toString(last)), toString(read),
            concat(toString(counted + duplicate + late + bad + conflict), ' by outcome')
        FROM outcomes WHERE read != counted + duplicate + late + bad + conflict OR last < first""",
    "offsets": f"""
        SELECT {_SOURCE}, concat(toString(first), '-', toString(last)), concat('first ', toString(first)),
            concat(if(first > before + 1, 'gap after ', 'overlap with '), toString(before))
        FROM (
            SELECT *, lagInFrame(toInt64(last), 1, -1) OVER (
                PARTITION BY topic, partition ORDER BY first, last ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before
            FROM outcomes
        )
        WHERE before >= 0 AND first != before + 1
            AND bitShiftRight(first, {_EPOCH_BITS}) = bitShiftRight(toUInt64(before), {_EPOCH_BITS})""",
    "records": f"""
        SELECT {_SOURCE}, kind, toString(sum(stored)), concat(toString(sum(told)), ' by balance')
        FROM (
            SELECT topic, partition, toString(outcome) AS kind, count() AS stored, 0 AS told
            FROM events WHERE {{events}} GROUP BY ALL
            UNION ALL
            -- What the store refuses is accounted for by what became of it before.
            SELECT topic, partition, toString(outcome), count(), 0 FROM dead_letters
            WHERE {{dead_letters}} AND {_ACCOUNTED} GROUP BY ALL
            UNION ALL
            SELECT topic, partition, told.1, 0, told.2 FROM (
                SELECT topic, partition, arrayJoin([('counted', sumIf(counted, {{events}})),
                    ('late', sumIf(late, {{events}})), ('bad', sumIf(bad, {{dead_letters}})),
                    ('conflict', sumIf(conflict, {{dead_letters}}))]) AS told
                FROM outcomes GROUP BY topic, partition)
        )
        GROUP BY topic, partition, kind HAVING sum(stored) != sum(told)""",
    "twice": f"""
        SELECT {_SOURCE}, concat('offset ', toString(offset)), concat(toString(count()), ' rows'), 'one'
        FROM (
            SELECT topic, partition, offset FROM events
            UNION ALL SELECT topic, partition, offset FROM dead_letters WHERE {_ACCOUNTED}
        )
        GROUP BY topic, partition, offset HAVING count() > 1""",
    "id": """
        SELECT arrayStringConcat(arraySort(groupUniqArray(10)(concat(topic, '/', toString(partition)))), ' and '),
            concat('id ', any(id), ' of ', any(source)), concat(toString(count()), ' counted'), 'one'
        FROM events WHERE outcome = 'counted'
        GROUP BY topic, sipHash128(source, id) HAVING count() > 1""",
    # Of what is marked so, columns are read without looking for what readers of JSON see otherwise.
    "unambiguous": f"""
        SELECT {_SOURCE}, concat('offset ', toString(offset)), 'read alike by all',
            'a key that stands twice, or a number beyond a double'
        FROM events
        WHERE unambiguous AND payload != '' AND NOT (isValidJSON(payload) AND arrayAll(
            read -> length(JSONExtractKeys(read)) = arrayUniq(JSONExtractKeys(read)),
            [payload, JSONExtractRaw(payload, 'data')]))""",
}


@dataclass(frozen=True, slots=True)
class Imbalance:
    """One thing that does not add up: what is wrong, with which source, where, what is stored, what should be."""

    check: str
    source: str
    when: str
    stored: str
    expected: str


@dataclass(slots=True)
class SourceBalances:
    """What was counted, and what does not add up."""

    checked: dict[str, int]
    found: list[Imbalance] = field(default_factory=list)


def check_balance(client: Client) -> SourceBalances:
    """
    Hold the balances of all sources against each other and against what is stored.

    Raises clickhouse_connect's errors when the store cannot be asked.
    """
    [(sources, read)] = client.query("SELECT uniqExact(topic, partition), sum(read) FROM outcomes").result_rows
    balance = SourceBalances({"sources": sources, "records": read})
    # Raw events and dead letters leave the store, balances do not.
    days = current(client)
    margin_h = MARGIN // timedelta(hours=1)
    kept = {
        table: f"ingested_at > now() - INTERVAL {24 * days[table] - margin_h} HOUR" if table in days else "true"
        for table in ("events", "dead_letters")
    }
    for check, sql in _QUERIES.items():
        rows = client.query(f"{sql.format_map(kept)} ORDER BY ALL LIMIT {_LISTED}").result_rows
        balance.found += [Imbalance(check, *row) for row in rows]
    return balance
