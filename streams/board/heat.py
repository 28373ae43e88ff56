"""The map of channels and touchpoints: numbers in cells, coloured only as far as they are known to differ."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.board.compare import Standing, apart, standing
from streams.board.readings import ALL, KpiInfo, Latest, PublishedReading, Values
from streams.board.tiles import State, goal_text, state_of
from streams.events.scalars import CHANNELS
from streams.events.touchpoints import Touchpoint
from streams.wording.numbers import interval_text, number, one_text
from streams.wording.texts import Lang, Texts

HEAT_GROUPING: Final = ("channel", "touchpoint")
FIRST: Final = ("csat", "nps", "ces", "net_sentiment", "volume")
"""KPIs of the map that are offered first."""

Tone: TypeAlias = Literal["good", "bad", "high", "low", ""]
"""Side of the whole on which a cell lies; `high` and `low` where neither side is the better one."""

SHADES: Final = 3

SATISFACTION: Final = "csat"
"""The KPI that the targets of touchpoints are for."""


@dataclass(frozen=True, slots=True)
class HeatCell:
    """One channel at one touchpoint."""

    text: str
    n: str
    state: State
    tone: Tone
    shade: int
    """0: plain; 1 to 3: the further from the whole, the stronger."""
    sure: bool
    """Whether its interval excludes the value of the whole."""
    standing: Standing
    tip: str


@dataclass(frozen=True, slots=True)
class HeatRow:
    """One touchpoint over all channels."""

    id: str
    name: str
    stage: str
    first_of_stage: bool
    cells: tuple[HeatCell | None, ...]
    """None: the touchpoint is not met in that channel."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The map of one KPI."""

    kpi: str
    name: str
    whole: str
    channels: tuple[tuple[str, str], ...]
    rows: tuple[HeatRow, ...]
    judged: bool
    """Whether one side of the whole is the better one."""


def heat_kpis(infos: Iterable[KpiInfo]) -> list[KpiInfo]:
    """Return the KPIs that are kept by channel and touchpoint, the usual ones first."""
    kept = [info for info in infos if HEAT_GROUPING in info.groupings]
    return sorted(kept, key=lambda info: (FIRST.index(info.id) if info.id in FIRST else len(FIRST), info.name))


def heat_map(
    info: KpiInfo, values: Values, touchpoints: Mapping[str, Touchpoint], lang: Lang, channel: str = ALL
) -> HeatMap:
    """Return the map of a KPI: a row per touchpoint that has data, in the order of the customer's journey."""
    texts = Texts(lang)
    all_of_it = values.get((info.id, ALL, ""), Latest())
    shown = {
        (where, touchpoint): reading
        for (kpi, where, touchpoint), latest in values.items()
        if kpi == info.id
        and touchpoint
        and (reading := latest.shown(info, all_of_it)) is not None
        and reading.value is not None
    }
    whole = all_of_it.shown(info)
    channels = [name for name in CHANNELS if channel in {ALL, name}]
    spread = _spread(info, (one for one in shown.values() if state_of(info, one) == "ok"), whole)
    known = [*touchpoints, *sorted({touchpoint for _, touchpoint in shown} - set(touchpoints))]
    rows: list[HeatRow] = []
    stage_before = ""
    for touchpoint in known:
        if not any((name, touchpoint) in shown for name in channels):
            continue
        entry = touchpoints.get(touchpoint)
        stage = texts.get(entry.stage, entry.stage) if entry else ""
        name = touchpoint.replace("_", " ") if entry is None else entry.fa if lang == "fa" else entry.en
        cells = tuple(
            _cell(info, shown.get((where, touchpoint)), whole, spread, _target(info, entry), lang)
            if entry is None or where in entry.channels or (where, touchpoint) in shown
            else None
            for where in channels
        )
        rows.append(HeatRow(touchpoint, name, stage, stage != stage_before, cells))
        stage_before = stage
    return HeatMap(
        info.id,
        texts.kpi(info.name, info.name_fa),
        one_text(whole.value, info.unit, lang) if whole and whole.value is not None else texts["no_data"],
        tuple((name, texts[name]) for name in channels),
        tuple(rows),
        info.direction != "none",
    )


def _off(reading: PublishedReading, whole: PublishedReading | None) -> float:
    if whole is None or whole.value is None or reading.value is None:
        return 0.0
    return reading.value - whole.value


def _spread(info: KpiInfo, readings: Iterable[PublishedReading], whole: PublishedReading | None) -> float:
    """Return the distance that gets the strongest colour: from the whole, of amounts from nothing."""
    sizes = (abs((reading.value or 0.0) if info.counts else _off(reading, whole)) for reading in readings)
    return max(sizes, default=0.0)


def _target(info: KpiInfo, touchpoint: Touchpoint | None) -> float | None:
    """Return what a cell aims at: a touchpoint has a target of its own for the share of satisfied answers."""
    return touchpoint.target if touchpoint is not None and info.id == SATISFACTION else info.target


def _cell(
    info: KpiInfo,
    reading: PublishedReading | None,
    whole: PublishedReading | None,
    spread: float,
    target: float | None,
    lang: Lang,
) -> HeatCell:
    texts, state = Texts(lang), state_of(info, reading)
    if reading is None or reading.value is None or state == "none":
        return HeatCell("", "", "none", "", 0, False, "", texts["no_data"])
    text, n = one_text(reading.value, info.unit, lang), number(reading.n, lang, 0)
    tip = text if info.counts else f"{text}, {texts['n']} {n}"
    if ends := interval_text(reading.lo, reading.hi, info.unit, lang):
        tip += f", {texts['interval']} {ends}"
    if not reading.closed:
        tip += f", {texts['counting']}"
    tone: Tone = ""
    shade, sure = 0, False
    stands: Standing = standing(info, reading, target) if state == "ok" else ""
    if state == "thin":
        tip += f", {texts['thin']}"
    elif info.counts:
        # Of amounts the whole is no yardstick: the darker, the more.
        tone, shade = "high", _shade(reading.value, spread)
    elif off := _off(reading, whole):
        sure = bool(whole and apart(reading, whole))
        tone = _tone(info, off > 0)
        # Colour says what is known: short of that, a hint of it at most.
        shade = _shade(abs(off), spread) if sure else 0
        tip += f", {_said(tone, texts) if sure else texts['like_whole']}"
    if stands:
        tip += f", {texts[stands]} {goal_text(info, target, lang)}"
    return HeatCell(text, n, state, tone, shade, sure, stands, tip)


def _shade(size: float, largest: float) -> int:
    return min(SHADES, 1 + int(SHADES * size / largest)) if largest > 0 else 0


def _tone(info: KpiInfo, above: bool) -> Tone:
    if info.direction == "none":
        return "high" if above else "low"
    return "good" if above == (info.direction == "up") else "bad"


def _said(tone: Tone, texts: Texts) -> str:
    return texts[{"good": "surely_better", "bad": "surely_worse", "high": "surely_above"}.get(tone, "surely_below")]
