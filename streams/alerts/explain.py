"""
Which label values explain a change: the search behind the first line of an alert.

Every grouping of the KPI that divides the series further is decomposed into share and rate effects. A part is a cause
if two things hold: it explains much of the change, and the change is surer in it than in the whole. The second is what
tells a part that fell by itself from one that fell with all others: a drop of everything is diluted nowhere, so no
part's z can beat that of the whole; a drop of one part is diluted in the whole, so the part's z does.

That comparison is a scan statistic (Kulldorff 1997, Commun. Stat. 26): with many parts, the best of them looks good by
luck, so its likelihood ratio must win by a prior of one in so many; parts of several groupings are mostly the same
answers over again, so they count as the square root of their number. If none wins, the whole comes first: everywhere
alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import copysign, log, sqrt
from typing import Final, NamedTuple

from streams.alerts.compare import compare
from streams.alerts.decompose import decompose
from streams.alerts.facts import Facts, length_of, without
from streams.alerts.types import Contribution
from streams.kpis.accumulators import Acc, cleared, copy_acc, count_of, is_empty, subtract_acc
from streams.kpis.series import SEPARATOR, Labels, parse_series
from streams.kpis.significance import ztest_shares

NAMED: Final = 0.3
"""Part of the change that a cause must explain to be named first."""

LISTED: Final = 0.1
"""Part of the change that whatever is listed must explain."""

SURE: Final = 3.0
"""z value that whatever is listed must have."""

LEAST: Final = 10
"""Answers that whatever is listed must have, before or after."""

AT_MOST: Final = 5

_COUNTED = ("count", "sum")
_ALL = 0.99  # a part this large is the whole by another name
_ALIKE = 0.9  # two causes that differ by less than this are told apart by how specific they are
_REST = ""  # what carries none of the labels of a grouping


class Change(NamedTuple):
    """A series before and after."""

    earlier: Acc | None
    later: Acc | None


Reader = Callable[[str], Change]
"""Gives a series, by key, in the reference and in the window."""


class _Candidate(NamedTuple):
    part: Contribution
    z: float

    @property
    def weight(self) -> float:
        """How sure, times how much: of two that are as sure, the one that explains more comes first."""
        return self.z * min(1.0, self.part.explained)


def explain(
    facts: Facts, series: str, known: Iterable[str], read: Reader, *, minutes: tuple[int, int]
) -> list[Contribution]:
    """
    Return the label sets that explain the change of a series, the best explanation first.

    Args:
        facts: What kind of numbers they are.
        series: Key of the series that changed.
        known: Keys of series of its KPI; those that are no part of it do not matter.
        read: Gives their accumulators.
        minutes: How long reference and window were collected.

    Empty when there is nothing to compare with, or nothing changed. Labels of the series itself are not repeated; a
    contribution without labels is the series as a whole: no part of it stands out.
    """
    whole = read(series)
    if whole.earlier is not None and whole.later is None and facts.aggregator in _COUNTED:
        whole = Change(whole.earlier, cleared(whole.earlier))  # nothing is a number of events as well
    if whole.earlier is None or whole.later is None:
        return []
    labels = parse_series(series)[1]
    candidates: list[_Candidate] = []
    tried = 0
    total: Contribution | None = None
    for names, members in _groupings(labels, known).items():
        earlier, later = _sides(members, whole, read)
        change = decompose(facts, SEPARATOR.join(names), earlier, later, minutes=minutes)
        if change is None or not change.total:
            continue
        tried += len(members)
        if total is None:
            total = _whole(facts, whole, change.total, minutes)
        for part in change.parts:
            value = next(iter(part.labels.values()))
            own = Change(earlier.get(value), later.get(value))
            candidate = _candidate(facts, part, names, whole, own, minutes)
            if candidate is not None:
                candidates.append(candidate)
    return [] if total is None else _ranked(candidates, total, tried)


def baseline_of(window: str, kept: Sequence[str], *, aggregator: str) -> str | None:
    """
    Return the kept window to compare a window with, if its rule names none; None if no longer one is kept.

    Volumes follow the hours, so a count is compared with what came just before; all else with the day.
    """
    length = length_of(window)
    longer = sorted((name for name in kept if length_of(name) > length), key=length_of)
    if not longer:
        return None
    if aggregator in _COUNTED:
        return longer[0]
    day = [name for name in longer if length_of(name) <= 1440]
    return day[-1] if day else longer[0]


def change_of(longer: Acc | None, window: Acc | None) -> Change:
    """Return what a window holds, and what a longer one holds besides."""
    return Change(without(longer, window), window)


def _groupings(labels: Labels, known: Iterable[str]) -> dict[tuple[str, ...], dict[str, str]]:
    """Give, by the names of the labels they add, the series that lie within one: key by the values of those labels."""
    own = set(labels)
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for key in known:
        theirs = parse_series(key)[1]
        if len(theirs) > len(labels) and own.issubset(theirs):
            more = [pair for pair in theirs if pair not in own]
            names = tuple(name for name, _ in more)
            found.setdefault(names, {})[SEPARATOR.join(value for _, value in more)] = key
    return found


def _sides(members: Mapping[str, str], whole: Change, read: Reader) -> tuple[dict[str, Acc], dict[str, Acc]]:
    """Give the parts before and after; what carries none of the labels is a part of its own."""
    earlier: dict[str, Acc] = {}
    later: dict[str, Acc] = {}
    for value, key in members.items():
        part = read(key)
        if part.earlier is not None:
            earlier[value] = part.earlier
        if part.later is not None:
            later[value] = part.later
    for side, all_ in ((earlier, whole.earlier), (later, whole.later)):
        rest = None if all_ is None else _rest(all_, side.values())
        if rest is not None:
            side[_REST] = rest
    return earlier, later


def _rest(whole: Acc, parts: Iterable[Acc]) -> Acc | None:
    """Return what of a whole is in none of its parts."""
    rest = copy_acc(whole)
    for part in parts:
        try:
            subtract_acc(rest, part)
        except ValueError:  # a bin of a part that its whole does not have: windows as of different moments
            return None
    return None if is_empty(rest) or count_of(rest) < 0 else rest


def _whole(facts: Facts, whole: Change, total: float, minutes: tuple[int, int]) -> Contribution:
    """Return the change of the series itself."""
    one = decompose(facts, _REST, {_REST: whole.earlier or []}, {_REST: whole.later or []}, minutes=minutes)
    assert one is not None
    part = one.parts[0]
    part.labels, part.explained, part.rate_effect, part.share_effect = {}, 1.0, total, 0.0
    part.statistic = surety(facts, whole, minutes)
    return part


def surety(facts: Facts, change: Change, minutes: tuple[int, int]) -> float | None:
    """
    Return how sure a change is: the root of the likelihood ratio of a change to none, with its sign.

    Of shares and counts it is exact where few bad answers have become many, which a z test takes for surer the more
    answers it is diluted in. Of all else it is the z value. A sum keeps no spread, but mostly follows the number of its
    events.

    Args:
        facts: What kind of numbers they are.
        change: Before and after.
        minutes: How long both were collected.
    """
    if change.earlier is None or change.later is None:
        return None
    match facts.aggregator:
        case "ratio":
            return _of_shares(_pair(change.earlier), _pair(change.later))
        case "count" | "sum":
            return _of_rates((count_of(change.earlier), minutes[0]), (count_of(change.later), minutes[1]))
        case _:
            return compare(facts, change.earlier, change.later, minutes=minutes).z


def _pair(acc: Acc) -> tuple[int, int]:
    assert type(acc) is list
    return acc[1], acc[0]


def _of_shares(earlier: tuple[int, int], later: tuple[int, int]) -> float:
    """Return the surety that two shares differ, hits and trials given; as rates, where hits outnumber trials."""
    if earlier[0] > earlier[1] or later[0] > later[1]:
        return _of_rates(earlier, later)
    (k, n), (m, t) = earlier, later
    both = _log_likelihood(k + m, n + t)
    ratio = 2 * (_log_likelihood(k, n) + _log_likelihood(m, t) - both)
    return copysign(sqrt(max(0.0, ratio)), m * n - k * t)


def _of_rates(earlier: tuple[int, int], later: tuple[int, int]) -> float:
    """Return the surety that two Poisson rates differ, events and exposures given."""
    (k, span), (m, other) = earlier, later
    total = k + m
    if not total:
        return 0.0
    ratio = 2 * (_x_log(k, k * (span + other), total * span) + _x_log(m, m * (span + other), total * other))
    return copysign(sqrt(max(0.0, ratio)), m * span - k * other)


def _log_likelihood(hits: int, n: int) -> float:
    return _x_log(hits, hits, n) + _x_log(n - hits, n - hits, n)


def _x_log(x: int, over: int, under: int) -> float:
    return x * log(over / under) if x else 0.0


def _candidate(
    facts: Facts, part: Contribution, names: tuple[str, ...], whole: Change, change: Change, minutes: tuple[int, int]
) -> _Candidate | None:
    """Return a part that can be listed, with how sure its effect is."""
    value = next(iter(part.labels.values()))
    if value == _REST or part.explained < LISTED or max(part.n, part.baseline_n) < LEAST:
        return None
    assert whole.earlier is not None
    assert whole.later is not None
    n, later_n = count_of(whole.earlier), count_of(whole.later)
    if min(part.baseline_n / n if n else 1.0, part.n / later_n if later_n else 1.0) > _ALL:
        return None
    z = surety(facts, change, minutes)
    if facts.aggregator not in _COUNTED and abs(part.share_effect) > abs(part.rate_effect):
        z = ztest_shares(part.baseline_n, n, part.n, later_n)
    if z is None or abs(z) < SURE:
        return None
    part.labels = dict(zip(names, value.split(SEPARATOR), strict=True))
    part.statistic = z
    return _Candidate(part, abs(z))


def _ranked(candidates: Sequence[_Candidate], total: Contribution, tried: int) -> list[Contribution]:
    """Put the best explanation first, the whole if no part beats it, and leave out what says the same again."""
    needed = (total.statistic or 0.0) ** 2 + log(max(1, tried))
    causes = [c for c in candidates if c.part.explained >= NAMED and c.z**2 > needed]
    listed: list[Contribution] = []
    if causes:
        best = max(causes, key=lambda c: c.weight)
        alike = [c for c in causes if c.weight >= _ALIKE * best.weight]
        listed.append(max(alike, key=lambda c: (len(c.part.labels), c.weight)).part)
    else:
        listed.append(total)
    for candidate in sorted(candidates, key=lambda c: -c.weight):
        if len(listed) >= AT_MOST:
            break
        if not any(_overlap(candidate.part.labels, part.labels) for part in listed):
            listed.append(candidate.part)
    return listed


def _overlap(one: Mapping[str, str], two: Mapping[str, str]) -> bool:
    """Tell whether one label set lies within the other; the whole overlaps nothing."""
    if not one or not two:
        return False
    return one.items() <= two.items() or two.items() <= one.items()
