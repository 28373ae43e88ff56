"""`cx rules check --against-store`, and what a KPI's past is read from for it and for `cx rules tune`."""

import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from streams.alerts.facts import show
from streams.alerts.offline.outlook import Outlook, outlooks
from streams.alerts.offline.past import Past, TuningError
from streams.alerts.rules.rules import Rule, RuleBook
from streams.commands.arguments import When
from streams.commands.output import print_json
from streams.commands.printing import echo, line
from streams.commands.rules_history import minute_of
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import parse_series
from streams.settings import load
from streams.storage.connection import address_of, connect
from streams.storage.minutes import stored_minutes, stored_span
from streams.wording.texts import series_text

MOST_SERIES: Final = 50

_HISTORY_DAYS: Final = 28
_NEWEST: Final = (1 << 32) // 60 - 1  # the last minute that ClickHouse's DateTime knows


class KpiPast(NamedTuple):
    """The minutes of a KPI, with what they held of all its series."""

    minutes: list[tuple[int, dict[str, Acc]]]
    since: int
    until: int

    def past(
        self, names: tuple[str, ...], wanted: Callable[[Mapping[str, str]], bool] = lambda _: True
    ) -> tuple[Past, list[str], int]:
        """
        Return the past of a grouping, its series, those seen in most minutes first, and how many more there are.

        Raises:
            TuningError: There is none.
        """
        seen: Counter[str] = Counter()
        for _, sums in self.minutes:
            seen.update(sums.keys())
        labels = {key: parse_series(key)[1] for key in seen}
        own = [key for key in seen if tuple(name for name, _ in labels[key]) == names and wanted(dict(labels[key]))]
        if not own:
            raise TuningError(f"no series by {' × '.join(names) or 'the whole'} in this time")
        keys = sorted(own, key=lambda key: (-seen[key], key))
        return Past.of(self.minutes, keys[:MOST_SERIES], self.since, self.until), keys[:MOST_SERIES], len(own)


def read_held(client: Client, kpi: Kpi, start: When | None, end: When | None) -> KpiPast:
    """
    Read what there is to learn from: by default 28 days.

    Raises:
        TuningError: There is nothing.
        StorageError: ClickHouse cannot answer.
    """
    first = 0 if start is None else minute_of(start.moment())
    last = _NEWEST if end is None else minute_of(end.moment()) - 1
    span = stored_span(client, [kpi], first, last)
    if span is None:
        raise TuningError(f"no minute of {kpi.id} in this time")
    since = max(span[0], first if start is not None else span[1] + 1 - _HISTORY_DAYS * 1440)
    return KpiPast(list(stored_minutes(client, [kpi], since, span[1])), since, span[1])


def check_against_store(book: RuleBook, start: When | None, end: When | None, *, as_json: bool) -> None:
    """Try each rule on series like those stored, and say what to expect of it, rule by rule."""
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    by_kpi: dict[str, list[Rule]] = {}
    for rule in book:
        by_kpi.setdefault(rule.kpi.id, []).append(rule)
    with closing(connect(address_of(load()))) as client:
        for rules in by_kpi.values():
            try:
                held = read_held(client, rules[0].kpi, start, end)
            except TuningError as error:
                missing += [f"{rule.alert}: {error}" for rule in rules]
                continue
            for rule in rules:
                try:
                    past, keys, known = held.past(rule.by, rule.judges)
                except TuningError as error:
                    missing.append(f"{rule.alert}: {error}")
                    continue
                if not as_json:
                    left = f", the busiest {len(keys)} of {known} series" if known > len(keys) else ""
                    line(f"{rule.alert}: {rule.kpi.id}, {rule.method}, {len(past.day)} days{left}")
                for one in outlooks(rule, past, keys):
                    found.append({"rule": rule.alert, "unit": rule.kpi.unit, **one._asdict()})
                    if not as_json:
                        line(f"  {series_text(dict(parse_series(one.series)[1]), 'en')}: {said(one, rule.kpi)}")
    if as_json:
        print_json({"series": found, "without_history": missing})
    else:
        for text in missing:
            line(text)
        echo(f"\n{summed(found)}" if found else "no history of any of these rules")
    if not found:
        sys.exit(1)


def said(one: Outlook, kpi: Kpi) -> str:
    """Say what to expect of a rule on a series."""
    if one.can_fire is False:
        return f"cannot fire at your volume: {one.note}"
    if one.per_day is None or one.smallest is None:
        return one.note
    return (
        f"{one.per_day:.3f} false alarms a day (95 %: {one.lo:.3f} to {one.hi:.3f}),"
        f" sees a change of {show(one.smallest, kpi.unit)} within a day"
    )


def summed(found: Collection[Mapping[str, Any]]) -> str:
    """Say what all rules come to together."""
    rates = [one["per_day"] for one in found if one["per_day"] is not None]
    never = sum(one["can_fire"] is False for one in found)
    text = f"{len(rates)} rule × series simulated: {sum(rates):.2f} false alarms a day together"
    return f"{text}; {never} cannot fire at this volume" if never else text
