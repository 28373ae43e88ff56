"""Lines with their interval as SVG: drawn on the server, so that fifty viewers cost one drawing."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, isfinite, log10
from typing import Final, NamedTuple

from streams.board.formats import iso, utc_text
from streams.board.readings import ChangeMarker, PublishedReading
from streams.kpis.language.steps import Steps
from streams.wording.numbers import amount, compact
from streams.wording.texts import Lang

_TIME_STEPS = (300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values lie in a picture of `width` × `height`."""

    width: float
    height: float
    start: float
    end: float
    low: float
    high: float

    def x(self, at: float) -> float:
        """Return the place of a time."""
        return round(self.width * (at - self.start) / max(self.end - self.start, 1), 1)

    def y(self, value: float) -> float:
        """Return the place of a value, cut to the picture."""
        inside = min(max(value, self.low), self.high)
        return round(self.height * (1 - (inside - self.low) / (self.high - self.low)), 1)


def spans(points: Sequence[PublishedReading], step: float) -> list[list[PublishedReading]]:
    """Return the stretches without a gap: between two points more than one and a half steps apart nothing is known."""
    found: list[list[PublishedReading]] = []
    for point in points:
        if point.value is None:
            continue
        if found and point.at - found[-1][-1].at <= 1.5 * step:
            found[-1].append(point)
        else:
            found.append([point])
    return found


def frame_of(points: Sequence[PublishedReading], width: float, height: float, *, bands: bool = True) -> Frame | None:
    """
    Return the frame that holds all points; None when there are not two of them.

    Intervals widen it, but not by more than the range of the values or the usual interval: one thin sample must not
    flatten the line.
    """
    values = [point.value for point in points if point.value is not None]
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    widths = sorted(point.hi - point.lo for point in points if point.lo is not None and point.hi is not None)
    room = max(high - low, widths[len(widths) // 2] if widths else 0.0, abs(high) * 0.02, 1e-9)
    ends = [end for point in points for end in (point.lo, point.hi) if end is not None and isfinite(end)]
    if bands and ends:
        low, high = max(min(*ends, low), low - room), min(max(*ends, high), high + room)
    edge = max((high - low) * 0.06, 1e-9)
    return Frame(width, height, points[0].at, points[-1].at, low - edge, high + edge)


def path(points: Sequence[PublishedReading], frame: Frame) -> str:
    """Return the line through the points; a single one is a short dash."""
    marks = [f"{frame.x(point.at)},{frame.y(point.value)}" for point in points if point.value is not None]
    return f"M{marks[0]}h.1" if len(marks) == 1 else "M" + "L".join(marks)


def band(points: Sequence[PublishedReading], frame: Frame) -> str:
    """Return the outline of the intervals; empty when fewer than two points have one."""
    kept = [point for point in points if point.lo is not None and point.hi is not None]
    if len(kept) < 2:
        return ""
    over = [f"{frame.x(point.at)},{frame.y(point.hi)}" for point in kept if point.hi is not None]
    under = [f"{frame.x(point.at)},{frame.y(point.lo)}" for point in reversed(kept) if point.lo is not None]
    return "M" + "L".join([*over, *under]) + "Z"


def sparkline(points: Sequence[PublishedReading], step: float, label: str) -> str:
    """Return a small line with its band; empty when there are not two values. Time goes left to right."""
    frame = frame_of(points, 200, 44)
    if frame is None:
        return ""
    parts = [f'<svg class="spark" viewBox="0 0 200 44" preserveAspectRatio="none" role="img" aria-label="{label}">']
    runs = spans(points, step)
    parts += [f'<path class="band" d="{shape}"/>' for run in runs if (shape := band(run, frame))]
    parts += [f'<path class="line" d="{path(run, frame)}"/>' for run in runs]
    last = runs[-1][-1]
    if last.value is not None:
        parts.append(f'<path class="dot" d="M{frame.x(last.at)},{frame.y(last.value)}h.01"/>')
    return "".join([*parts, "</svg>"])


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers between two values, in steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    if raw <= 0 or not isfinite(raw):
        return []
    power = 10.0 ** floor(log10(raw))
    step = next(step * power for step in (1, 2, 5, 10) if raw <= step * power)
    return [round(number * step, 10) for number in range(ceil(low / step), floor(high / step) + 1)]


def time_ticks(start: float, end: float, most: int = 8) -> list[int]:
    """Return round moments between two, at most so many."""
    step = next((step for step in _TIME_STEPS if (end - start) / step < most), _TIME_STEPS[-1])
    return list(range(ceil(start / step) * step, floor(end) + 1, step))


def _starts(points: Sequence[PublishedReading], most: int) -> list[int]:
    """Return where some of the steps begin, evenly chosen, at most so many."""
    return [point.at for point in points[:: ceil(len(points) / most)]]


def axis_text(value: float, unit: str, lang: Lang) -> str:
    """Return a number beside an axis: without unit, and as short as it can be."""
    return amount(value, unit, lang)[0] if unit == "seconds" else compact(value, lang)


class Backdrop(NamedTuple):
    """What a course is held against."""

    target: float | None = None
    periods: Sequence[tuple[float, float]] = ()
    """From when to when alerts fired."""
    changes: Sequence[ChangeMarker] = ()
    earlier: Sequence[PublishedReading] = ()
    """The course a week before, with the times of now."""


PLAIN: Final = Backdrop()


def chart(
    points: Sequence[PublishedReading],
    step: float,
    unit: str,
    lang: Lang,
    label: str,
    days: Steps | None = None,
    behind: Backdrop = PLAIN,
    *,
    narrow: bool = False,
) -> str:
    """
    Return the large picture of a course: axes, band, line, and every point with its numbers for the pointer.

    With `days`, points are days or weeks, which are marked by their dates in that zone. A target has a line where it is
    within reach; times in which an alert fired are shaded, what went live or began is marked, and the week before is a
    thin line. A narrow one is for telephones: the same in half the width, with larger and fewer numbers.
    """
    width, height, left, bottom, top = 430.0 if narrow else 860.0, 300.0, 64.0, 30.0, 10.0
    most = 4 if narrow else 8
    frame = frame_of(points, width - left - 12, height - bottom - top)
    if frame is None:
        return ""
    earlier = [one for one in behind.earlier if frame.start <= one.at <= frame.end]
    before = [one.value for one in earlier if one.value is not None]
    frame = replace(frame, low=min([frame.low, *before]), high=max([frame.high, *before]))
    parts = [
        f'<svg class="chart {"narrow" if narrow else "wide"}" viewBox="0 0 {width:g} {height:g}" role="img"',
        f' aria-label="{label}"><g transform="translate({left:g} {top:g})">',
    ]
    for since, until in behind.periods:
        x, end = frame.x(max(since, frame.start)), frame.x(min(until, frame.end))
        if end > x:
            parts.append(f'<rect class="alerted" x="{x}" y="0" width="{end - x:.1f}" height="{frame.height:g}"/>')
    for tick in ticks(frame.low, frame.high):
        y = frame.y(tick)
        parts.append(f'<path class="grid" d="M0,{y}H{frame.width:g}"/>')
        parts.append(
            f'<text class="tick" x="-8" y="{y}" dy=".35em" text-anchor="end">{axis_text(tick, unit, lang)}</text>'
        )
    if behind.target is not None and frame.low <= behind.target <= frame.high:
        parts.append(f'<path class="goal-line" d="M0,{frame.y(behind.target)}H{frame.width:g}"/>')
    parts += [f'<path class="earlier" d="{path(run, frame)}"/>' for run in spans(earlier, step)]
    runs = spans(points, step)
    parts += [f'<path class="band" d="{shape}"/>' for run in runs if (shape := band(run, frame))]
    parts += [f'<path class="line" d="{path(run, frame)}"/>' for run in runs]
    parts += [
        f'<circle class="point" cx="{frame.x(point.at)}" cy="{frame.y(point.value)}" r="2.5"/>'
        for run in runs
        for point in run
        if point.value is not None
    ]
    parts += [
        f'<path class="changed" d="M{frame.x(one.at)},0V{frame.height:g}"><title>{html.escape(one.name)}</title></path>'
        for one in behind.changes
        if frame.start <= one.at <= frame.end
    ]
    form = "monthday" if days else "day" if frame.end - frame.start > 2 * 86_400 else "axis"
    for at in _starts(points, most) if days else time_ticks(frame.start, frame.end, most):
        x = frame.x(at)
        text = days.day(at)[5:] if days else utc_text(at)[5:16]
        parts.append(
            f'<path class="grid" d="M{x},{frame.height:g}v5"/><text class="tick" x="{x}" y="{frame.height + 20:g}"'
            f' text-anchor="middle" data-time="{iso(at)}" data-form="{form}">{text}</text>'
        )
    return "".join([*parts, "</g></svg>"])
