"""The digest of a week: what changed beyond noise against the week before, where, whose it is, and the alerts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from streams.board.compare import EarlierValue, change
from streams.board.feed import AlertRow
from streams.board.readings import ALL, KpiInfo, PublishedReading
from streams.board.store import BoardStore
from streams.board.tiles import HEADLINE
from streams.wording.moments import ZoneTimes
from streams.wording.numbers import difference_text, number, one_text
from streams.wording.texts import Lang, Texts, series_text

WEEK_S: Final = 7 * 86_400
PARTS: Final = 3
"""Label values of a KPI that are named as where it changed."""
_COMPARED: Final = """
    SELECT labels, stat, value, n, lo, hi, before, before_n, before_lo, before_hi
    FROM kpi_compared(kpi = {kpi:String}, from = fromUnixTimestamp({from:Int64}),
        to = fromUnixTimestamp({to:Int64}), ago = 604800)"""


@dataclass(frozen=True, slots=True)
class WeekRow:
    """A KPI of a week beside the week before, as shown."""

    name: str
    owner: str
    value: str
    n: str
    before: str
    difference: str
    mark: str
    """`better`, `worse`, `changed`; empty: no change beyond noise, or none to compare with."""
    where: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WeekAlert:
    """An alert of the week as shown."""

    owner: str
    summary: str
    description: str
    when: str


Compared = tuple[Mapping[str, str], PublishedReading, PublishedReading]
"""Labels of a series, its value in the week, and in the week before."""


def read_week(store: BoardStore, infos: Mapping[str, KpiInfo], until: int) -> dict[str, list[Compared]]:
    """Return each headline KPI in the week up to a moment (Unix s), the whole first, then its parts."""
    first, begun = store.first(HEADLINE), until - 2 * WEEK_S
    found: dict[str, list[Compared]] = {}
    for kpi in HEADLINE:
        # No comparison with a week that was not there from its beginning; of a KPI that is seldom, from its first day.
        whole = first.get(("volume", ALL), until) <= begun + 60 and first.get((kpi, ALL), until) <= begun + 86_400
        if kpi not in infos:
            continue
        rows = store.ask(_COMPARED, kpi=kpi, **{"from": until - WEEK_S, "to": until})
        series = []
        for labels, stat, value, n, lo, hi, *before in rows:
            if stat != infos[kpi].stat:
                continue
            earlier = PublishedReading(until - WEEK_S, before[0], int(before[1] or 0), before[2], before[3])
            now = PublishedReading(until, value, int(n), lo, hi)
            series.append((labels, now, earlier if whole else PublishedReading(0, None, 0, None, None)))
        found[kpi] = sorted(series, key=lambda one: (len(one[0]), -one[1].n))
    return found


def week_rows(week: Mapping[str, Sequence[Compared]], infos: Mapping[str, KpiInfo], lang: Lang) -> list[WeekRow]:
    """Return the KPIs as shown: what surely changed first, worse before better."""
    rows = [_row(infos[kpi], series, lang) for kpi, series in week.items() if series and not series[0][0]]
    order = ("worse", "better", "changed", "")
    return sorted((row for row in rows if row.value), key=lambda row: order.index(row.mark))


def _row(info: KpiInfo, series: Sequence[Compared], lang: Lang) -> WeekRow:
    _, now, before = series[0]
    if now.value is None:
        return WeekRow("", "", "", "", "", "", "", ())
    found = change(info, now, [EarlierValue("week", before)])
    mark = ""
    if found is not None and found.significant:
        mark = "changed" if found.better is None else "better" if found.better else "worse"
    moved = []
    for labels, part, earlier in series[1:]:
        other = change(info, part, [EarlierValue("week", earlier)])
        if mark and found and other and other.significant and (other.difference > 0) == (found.difference > 0):
            text = f"{series_text(labels, lang)}: {difference_text(other.difference, info.unit, lang)}"
            moved.append((abs(other.difference) * part.n, text))
    return WeekRow(
        Texts(lang).kpi(info.name, info.name_fa),
        info.owner,
        one_text(now.value, info.unit, lang),
        "" if info.counts else number(now.n, lang, 0),
        one_text(found.baseline, info.unit, lang) if found else "",
        difference_text(found.difference, info.unit, lang) if found else "",
        mark,
        tuple(text for _, text in sorted(moved, reverse=True)[:PARTS]),
    )


def week_alerts(alerts: Iterable[AlertRow], since: int, until: int, lang: Lang, times: ZoneTimes) -> list[WeekAlert]:
    """Return the alerts that fired or ended in a week and that nothing held back, the newest first."""
    suffix = "_fa" if lang == "fa" else ""
    return [
        WeekAlert(
            alert.owner,
            alert.texts.get(f"summary{suffix}", alert.texts.get("summary", alert.why)),
            alert.texts.get(f"description{suffix}", alert.texts.get("description", "")),
            times.moment(alert.at, lang),
        )
        for alert in sorted(alerts, key=lambda one: -one.at)
        if alert.state in {"firing", "resolved"} and not alert.inhibited_by and since <= alert.at < until
    ]


def render_week(
    rows: Sequence[WeekRow], alerts: Sequence[WeekAlert], since: int, until: int, lang: Lang, times: ZoneTimes
) -> str:
    """Return the digest as one HTML page that needs nothing else."""
    templates = PackageLoader("streams.board")
    environment = Environment(loader=templates, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html").render(
        rows=rows, alerts=alerts, t=Texts(lang), span=times.span(since, until, lang), lang=lang
    )
