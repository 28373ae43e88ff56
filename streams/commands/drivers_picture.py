"""The picture of a ranking: how many answers a driver affects, and by how much."""

from pathlib import Path
from typing import Any, Final

from streams.commands.picture import PictureError, new_figure
from streams.drivers.results import Ranked, Ranking

SUFFIXES: Final = (".png", ".svg")
_KEPT, _REST, _GAIN = "#1f5f8b", "#a0a0a0", "#dddddd"


def draw_ranking(ranking: Ranking, title: str, unit: str, file: Path) -> int:
    """
    Draw the drivers that could be assessed into a file, PNG or SVG by its name; return how many are in it.

    To the right are drivers that many meet, far from the line in the middle those that matter much to whom they affect.
    Along a grey line the gain of the mean is the same.

    Raises:
        PictureError: matplotlib is not installed, or no driver could be assessed.
        OSError: The file cannot be written.
    """
    drawn = [one for one in ranking.drivers if one.effect is not None]
    if not drawn:
        raise PictureError("no driver could be assessed: nothing to draw")
    figure = new_figure(10, 6)
    axis = figure.subplots()
    shares = [100 * one.affected / ranking.n for one in drawn]
    axis.set_xlim(0, 1.25 * max(shares))
    for one, share in zip(drawn, shares, strict=True):
        _point(axis, one, share)
    ends = axis.get_ylim()
    _same_gains(axis, drawn, shares)
    axis.set_ylim(*ends)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_title(f"{title}: association, 95 % intervals; grey where not confirmed", loc="left", fontsize=10)
    axis.set_xlabel("answers affected, %")
    axis.set_ylabel(f"effect on them, {unit}")
    axis.grid(alpha=0.2)
    figure.savefig(file, format=file.suffix[1:], dpi=110)
    return len(drawn)


def _point(axis: Any, one: Ranked, share: float) -> None:
    effect, color = one.effect, _KEPT if one.kept else _REST
    if effect is None:
        return
    axis.errorbar(
        share, effect.value, [[effect.value - effect.lo], [effect.hi - effect.value]], fmt="o", color=color, capsize=3
    )
    axis.annotate(one.driver, (share, effect.value), (7, 4), textcoords="offset points", color=color, fontsize=9)


def _same_gains(axis: Any, drawn: list[Ranked], shares: list[float]) -> None:
    """Draw where the gain is that of the largest, half of it and a tenth."""
    largest = max(abs(one.gain.value) for one in drawn if one.gain)
    right = 1.25 * max(shares)
    places = [right * (place + 1) / 200 for place in range(200)]
    for part in (1.0, 0.5, 0.1):
        for sign in (-1, 1):
            axis.plot(places, [sign * 100 * part * largest / place for place in places], color=_GAIN, zorder=0)
