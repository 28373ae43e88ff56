"""The picture of a backtest: KPIs with their intervals, what they are compared with, incidents and firings."""

import base64
import html
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from streams.alerts.offline.backtest import Backtest, Track, name_of
from streams.commands.picture import PictureError, new_figure

SUFFIXES: Final = (".png", ".html", ".svg")
MOST: Final = 8
"""Series in a picture, those that fired first."""

_INK, _BAND, _BASELINE, _NOTIFIED, _HELD, _INCIDENT = "#1f5f8b", "#9cc3de", "#6b6b6b", "#c0392b", "#d9a441", "#f2d7b6"


def draw(test: Backtest, file: Path) -> int:
    """
    Draw what was replayed into a file, PNG, SVG or HTML by its name; return how many series are in it.

    Raises:
        PictureError: matplotlib is not installed, or there is nothing to draw.
        OSError: The file cannot be written.
    """
    tracks = _chosen(test)
    if not tracks:
        raise PictureError("no series has a value in this time: nothing to draw")
    figure = new_figure(14, 2.6 * len(tracks) + 0.6)
    axes = figure.subplots(len(tracks), 1, sharex=True, squeeze=False)[:, 0]
    for axis, track in zip(axes, tracks, strict=True):
        _panel(axis, test, track)
    axes[-1].set_xlabel("event time, UTC")
    form = "png" if file.suffix == ".png" else "svg"
    made = io.BytesIO()
    figure.savefig(made, format=form, dpi=110)
    content = made.getvalue()
    if file.suffix == ".html":
        content = _page(test, content)
    file.write_bytes(content)
    return len(tracks)


def _chosen(test: Backtest) -> list[Track]:
    """Return the series to draw: those that fired, then the wholes."""
    fired = {name_of(one.rule, one.labels): place for place, one in enumerate(test.firings)}
    drawable = [track for track in test.tracks.values() if any(one.value is not None for one in track.found)]
    drawable.sort(key=lambda track: (fired.get(name_of(track.rule, track.labels), len(fired)), len(track.labels)))
    return drawable[:MOST]


def _panel(axis: Any, test: Backtest, track: Track) -> None:
    name = name_of(track.rule, track.labels)
    times = [_time(minute + 1) for minute in track.minutes]
    blank = float("nan")
    value = [blank if one.value is None else one.value for one in track.found]
    low = [blank if one.lo is None else one.lo for one in track.found]
    high = [blank if one.hi is None else one.hi for one in track.found]
    for incident in test.incidents:
        if incident.concerns(track.rule, track.labels):
            axis.axvspan(_time(incident.since), _time(incident.until + 1), color=_INCIDENT, label="incident")
    axis.fill_between(times, low, high, color=_BAND, alpha=0.6, linewidth=0, label="95 % interval")
    axis.plot(times, value, color=_INK, linewidth=1.2, label=f"{track.rule.kpi.id} over {track.rule.window}")
    if any(one is not None for one in track.baseline):
        baseline = [blank if one is None else one for one in track.baseline]
        label = "target" if track.rule.target is not None else "compared with"
        axis.plot(times, baseline, color=_BASELINE, linewidth=1, linestyle="--", label=label)
    for one in test.firings:
        if name_of(one.rule, one.labels) == name:
            ended = test.end if one.ended is None else one.ended
            colour, label = (_HELD, "fired, held back") if one.notified is None else (_NOTIFIED, "fired")
            axis.axvspan(_time(one.began + 1), _time(ended + 1), color=colour, alpha=0.25, linewidth=0)
            axis.axvline(_time(one.began + 1), color=colour, linewidth=1.4, label=label)
    axis.set_title(f"{name}: {track.rule.method}", loc="left", fontsize=10)
    axis.set_ylabel(track.rule.kpi.unit)
    axis.set_xlim(_time(test.start), _time(test.end + 1))
    axis.grid(alpha=0.25)
    handles, labels = axis.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axis.legend(once.values(), once.keys(), loc="lower left", fontsize=7, ncols=len(once))


def _page(test: Backtest, svg: bytes) -> bytes:
    rows = []
    for one in test.firings:
        cells = (
            f"{_time(one.began + 1):%Y-%m-%d %H:%M}",
            "" if one.ended is None else str(one.ended - one.began),
            name_of(one.rule, one.labels),
            one.severity,
            one.held_by or "" if one.notified is None else "",
            one.why,
        )
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells))
    picture = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    title = f"Backtest, {_time(test.start):%Y-%m-%d %H:%M} to {_time(test.end + 1):%Y-%m-%d %H:%M} UTC"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:14px system-ui;margin:2rem}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
        "vertical-align:top}img{max-width:100%}</style>"
        f'<h1>{title}</h1><img alt="KPIs with intervals and firings" src="{picture}">'
        f"<table><tr><th>began<th>min<th>alert<th>severity<th>held by<th>why{''.join(rows)}</table></html>"
    ).encode()


def _time(minute: int) -> datetime:
    return datetime.fromtimestamp(minute * 60, UTC)


def unfit(file: Path) -> str | None:
    """Return why a file cannot be drawn into, None if it can."""
    listed: Sequence[str] = SUFFIXES
    return None if file.suffix in listed else f"{file.name!r}: expected a name that ends with {', '.join(listed)}"
