"""Which sums of windows have no value, judged by what is stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import TOTAL
from streams.kpis.language.series import SEPARATOR, Labels, parse_series
from streams.kpis.language.void import CURRENCY, rules_of

_KNOWN: Final = (6, 5, 4, 3, 2, 1)  # as wide as an accumulator can be: sums of hits, and of misses


def sums_without_value(
    kpis: Mapping[str, Kpi], rows: Sequence[Sequence[Any]], known_since: Mapping[tuple[str, Labels], datetime]
) -> set[tuple[str, str, str]]:
    """Return KPI, key and window of sums that have no value, as `language.void` has it."""
    rules = rules_of(kpis.values())
    totals: dict[tuple[str, Labels], Sequence[int]] = {}
    currencies: dict[tuple[str, str, Labels], set[str]] = {}
    judged: list[tuple[str, str, str, Labels, Sequence[int], datetime | None]] = []
    for id_, key, window, _, row, _, (fields, _), _ in rows:
        if id_ not in rules or not fields:
            continue
        _, labels = parse_series(f"{id_}{SEPARATOR}{key}" if key else id_)
        judged.append((id_, key, window, labels, fields, row[0] if row[1] is None else None))
        if window == TOTAL:
            totals[id_, labels] = fields
        if fields[0] and (currency := dict(labels).get(CURRENCY)):
            beside = tuple(pair for pair in labels if pair[0] != CURRENCY)
            currencies.setdefault((id_, window, beside), set()).add(currency)

    def total_of(id_: str, scope: Labels, *, void: datetime | None) -> Sequence[int]:
        """
        Return what is known since the beginning; where that has expired, what was published is believed.

        What was published without a value, as of `void`, knew nothing of a hit in a later minute.
        """
        first = known_since.get((id_, scope))
        if void is not None and first is not None and first >= void:
            return ()
        return totals.get((id_, scope), _KNOWN if void is None else ())

    def currencies_of(id_: str, window: str, beside: Labels) -> int:
        """Return how many currencies a window holds beside these labels."""
        return len(currencies.get((id_, window, beside), ()))

    return {
        (id_, key, window)
        for id_, key, window, labels, fields, void in judged
        if rules[id_].is_void(
            labels,
            fields,
            partial(total_of, id_, void=void),
            partial(currencies_of, id_, window),
        )
    }
