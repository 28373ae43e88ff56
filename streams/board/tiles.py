"""From readings to the tiles of the page: what each says, and what it leaves unsaid because too little is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from streams.board.charts import sparkline
from streams.board.compare import EarlierValue, Standing, ValueChange, change, standing
from streams.board.readings import ALL, KpiInfo, Latest, PublishedReading, SeriesKey, Values, up_to_now
from streams.events.scalars import CHANNELS
from streams.wording.numbers import amount, difference_text, digits, interval_text, number, one_text
from streams.wording.texts import Lang, Texts, window_text

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "voice": ("csat", "nps", "ces", "review_score"),
    "digital": ("conversion", "orders", "payment_failure", "apdex"),
    "contact": ("service_level_all_offered", "asa", "abandonment", "aht"),
    "fulfilment": ("delivery_lateness", "store_queue_wait", "store_queue_abandonment", "volume"),
}
"""The headline KPIs, in the order of the wall."""

HEADLINE: Final = tuple(kpi for group in GROUPS.values() for kpi in group)

BEHIND_S: Final = 180
"""A value so far behind the page's newest one is marked as old."""

DRAWN_PART: Final = 5
"""A point is drawn from a fifth of the answers that colour needs: its band says how little is known."""

State: TypeAlias = Literal["ok", "thin", "none"]
"""Enough answers; fewer than colour needs; nothing to show."""

Mark: TypeAlias = Literal["better", "worse", "changed", "same", ""]


@dataclass(frozen=True, slots=True)
class ChannelPart:
    """The value of one channel inside a tile."""

    channel: str
    name: str
    text: str
    n: str
    state: State
    tip: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One KPI as shown; all texts are in the reader's language."""

    id: str
    name: str
    question: str
    value: str
    unit: str
    stat: str
    n: str
    interval: str
    state: State
    note: str
    """Why there is no value, or why it is grey; empty when all is well."""
    mark: Mark
    change: str
    change_tip: str
    spark: str
    at: int
    """End of the window, unix s; 0 when there is no value."""
    old: bool
    """Whether it is behind the rest of the page."""
    open: bool
    standing: Standing
    target: str
    """The target with its unit; empty where nothing stands to it."""
    parts: tuple[ChannelPart, ...]
    spoken: str
    """The tile in one sentence, for who does not see it."""


@dataclass(frozen=True, slots=True)
class TileFacts:
    """What is known of a KPI for the channel that the reader chose."""

    latest: Values
    baselines: Mapping[SeriesKey, Sequence[EarlierValue]]
    trends: Mapping[SeriesKey, Sequence[PublishedReading]]
    window: str
    newest: int
    """The newest closed moment on the page, unix s."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Seconds between two points of the trends of a KPI, where they are not the window's length."""


def state_of(info: KpiInfo, reading: PublishedReading | None) -> State:
    """Return whether a value can be shown, and whether it may be coloured."""
    if reading is None or reading.value is None or reading.n < info.min_n_show:
        return "none"
    return "ok" if info.counts or reading.n >= info.min_n_colour else "thin"


def stat_text(stat: str, lang: Lang) -> str:
    """Return the name of a quantile for people."""
    if not stat:
        return ""
    if stat == "p50":
        return Texts(lang)["median"]
    return f"{Texts(lang)['quantile']} {digits(stat.removeprefix('p'), lang)}" if lang == "fa" else stat


def mark_of(found: ValueChange | None) -> Mark:
    """Return what a change is marked as; only a significant one is anything but the same."""
    if found is None:
        return ""
    if not found.significant:
        return "same"
    return "changed" if found.better is None else "better" if found.better else "worse"


def change_texts(info: KpiInfo, found: ValueChange | None, lang: Lang) -> tuple[str, str]:
    """Return the change in a few words, and the whole of it with its interval."""
    texts = Texts(lang)
    if found is None:
        return texts["no_baseline"], ""
    against = texts[f"against_{found.kind}"]
    # A count has no interval, so its change is shown, never judged.
    if found.significant or found.lo is None or found.hi is None:
        short = f"{difference_text(found.difference, info.unit, lang)} {against}"
    else:
        short = f"{texts['no_clear_change']} {against}"
    whole = f"{difference_text(found.difference, info.unit, lang)} {against}"
    if found.lo is not None and found.hi is not None:
        lo, hi = (difference_text(end, info.unit, lang) for end in (found.lo, found.hi))
        whole += f" ({texts['interval']}: {lo} {texts['to']} {hi})"
    before = one_text(found.baseline, info.unit, lang)
    return short, f"{whole}; {texts['baseline']}: {before}, {texts['n']} {number(found.baseline_n, lang, 0)}"


def goal_text(info: KpiInfo, target: float | None, lang: Lang) -> str:
    """Return a target with the side on which it is met."""
    if target is None:
        return ""
    side = Texts(lang)["at_least" if info.direction == "up" else "at_most"]
    return f"{side} {one_text(target, info.unit, lang)}"


def tile(info: KpiInfo, channel: str, facts: TileFacts, lang: Lang) -> Tile:
    """Return the tile of a KPI for a channel, or for the whole with all its channels."""
    texts = Texts(lang)
    key = (info.id, channel, "")
    reading = facts.latest.get(key, Latest()).shown(info)
    state = state_of(info, reading)
    kept = channel == ALL or ("channel",) in info.groupings
    note = "" if kept else texts["not_kept"]
    value, unit, n, interval, found, target = "", "", "", "", None, ""
    stands: Standing = ""
    if reading is not None and reading.value is not None and state != "none":
        value, unit = amount(reading.value, info.unit, lang)
        n = "" if info.counts else number(reading.n, lang, 0)
        interval = interval_text(reading.lo, reading.hi, info.unit, lang)
        stands = standing(info, reading, info.target) if state == "ok" else ""
        target = goal_text(info, info.target, lang) if stands else ""
        if state == "thin":
            note = texts["thin"]
        elif not interval and not info.counts and info.aggregator != "derived":
            note = texts["too_few"]
        # What is compared is closed on both sides.
        found = change(info, facts.latest[key].closed, facts.baselines.get(key, ()))
    elif kept and reading is None and facts.latest.get(key, Latest()).open is not None:
        note = texts["first_minute"]
    elif kept and reading is not None and reading.n and info.void:
        note = texts["several_currencies" if info.void.startswith("several") else "never_sent"]
    mark = mark_of(found)
    short, whole = change_texts(info, found, lang) if value else ("", "")
    name = texts.kpi(info.name, info.name_fa)
    stat = stat_text(info.stat, lang)
    step = facts.steps.get(info.id, trend_step(facts.window))
    trend = _trend(info, up_to_window(facts.trends.get(key, ()), step, facts.window, facts.latest.get(key, Latest())))
    spoken = ": ".join(filter(None, [name, f"{value} {unit}".strip() or note or texts["no_data"]]))
    if n:
        spoken += f", {texts['n']} {n}"
    if interval:
        spoken += f", {texts['interval']} {interval}"
    if stands:
        spoken += f"; {texts[stands]} {target}"
    if short:
        judged = f"{texts[mark]}: " if mark in {"better", "worse", "changed"} else ""
        spoken += f"; {judged}{short}"
    if value and reading is not None:
        spoken += f"; {texts['closed' if reading.closed else 'counting']}"
    return Tile(
        id=info.id,
        name=name,
        question=info.question,
        value=value,
        unit=unit,
        stat=stat,
        n=n,
        interval=interval,
        state=state,
        note=note,
        mark=mark,
        change=short,
        change_tip=whole,
        spark=sparkline(trend, step, f"{texts['course_of']} {covered_text(trend, step, facts.window, lang)}"),
        at=reading.at if reading and value else 0,
        old=bool(reading and value and facts.newest - reading.at > BEHIND_S and facts.window != "total"),
        open=bool(reading and value and not reading.closed),
        standing=stands,
        target=target,
        parts=tuple(_parts(info, facts, lang)) if channel == ALL else (),
        spoken=spoken,
    )


def up_to_window(
    points: Sequence[PublishedReading], step: int, window: str, latest: Latest
) -> Sequence[PublishedReading]:
    """Return a course up to the newest closed value, if that is of as long a time as the points are."""
    return up_to_now(points, latest.closed) if step == trend_step(window) else points


def _trend(info: KpiInfo, points: Sequence[PublishedReading]) -> Sequence[PublishedReading]:
    """
    Return the points of a line, without those of hardly any answers unless most are so.

    A moment with fewer than usual stays: an outage is one.
    """
    sound = [
        point
        for point in points
        if state_of(info, point) != "none" and (info.counts or point.n * DRAWN_PART >= info.min_n_colour)
    ]
    return sound if len(sound) > max(1, len(points) // 2) else points


def _parts(info: KpiInfo, facts: TileFacts, lang: Lang) -> list[ChannelPart]:
    """Return the channels of a KPI that is kept by channel; one without any data is left out by the template."""
    if ("channel",) not in info.groupings:
        return []
    texts, parts = Texts(lang), []
    whole = facts.latest.get((info.id, ALL, ""), Latest())
    for channel in CHANNELS:
        reading = facts.latest.get((info.id, channel, ""), Latest()).shown(info, whole)
        state = state_of(info, reading)
        text, n, tip = "–", "", texts["no_data"]
        if reading is not None and reading.value is not None and state != "none":
            text, n = one_text(reading.value, info.unit, lang), number(reading.n, lang, 0)
            tip = f"{text}, {texts['n']} {n}"
            if ends := interval_text(reading.lo, reading.hi, info.unit, lang):
                tip += f", {texts['interval']} {ends}"
            if state == "thin":
                tip += f" ({texts['thin']})"
        parts.append(ChannelPart(channel, texts[channel], text, n, state, f"{texts[channel]}: {tip}"))
    return parts


_TRENDS: Final[Mapping[str, tuple[int, int]]] = {
    "1m": (60, 60),
    "5m": (300, 48),
    "15m": (900, 48),
    "1h": (3_600, 48),
    "24h": (86_400, 30),
    "7d": (604_800, 12),
    "total": (86_400, 30),
}


_DETAIL_STEPS: Final = (60, 300, 900, 3_600, 21_600, 86_400)
_LONG_MINUTES: Final = 120
_LONG_HOURS: Final = 48
"""A time up to so long is shown in the smaller unit."""
LEAST_POINTS: Final = 12
"""Of a large course, as long as there are so many minutes."""


def trend_step(window: str) -> int:
    """Return the seconds between two points of a course: the window's length, so that points share no events."""
    return _TRENDS.get(window, (900, 48))[0]


def detail_step(window: str, history_s: int) -> int:
    """Return the seconds between two points of a large course: finer than the window while there is little history."""
    longest = trend_step(window)
    steps = [step for step in _DETAIL_STEPS if step < longest] + [longest]
    return next((step for step in reversed(steps) if history_s >= LEAST_POINTS * step), steps[0])


def trend_span(window: str) -> int:
    """Return over how many seconds a course goes back."""
    step, points = _TRENDS.get(window, (900, 48))
    return step * points


def asked_span(window: str) -> int:
    """Return the seconds in which the whole steps of a course lie, wherever its end cuts one."""
    return trend_span(window) + trend_step(window) - 60


def covered_text(points: Sequence[PublishedReading], step: int, window: str, lang: Lang) -> str:
    """Return over what time a course goes back, for people: no longer than there is something to show."""
    seconds = trend_span(window)
    if points:
        seconds = min(seconds, points[-1].at - points[0].at + step)
    minutes = max(1, round(seconds / 60))
    if minutes < _LONG_MINUTES:
        return window_text(f"{minutes}m", lang)
    hours = round(minutes / 60)
    return window_text(f"{hours}h" if hours <= _LONG_HOURS else f"{round(hours / 24)}d", lang)
