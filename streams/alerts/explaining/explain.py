"""
Which label values explain a change: the search behind the first line of an alert.

Every grouping of the KPI that divides the series further is decomposed into share and rate effects. A part is a cause
if two things hold: it explains much of the change, and the change is surer in it than in the whole. The second is what
tells a part that fell by itself from one that fell with all others: a drop of everything is diluted nowhere, so no
part's z can beat that of the whole; a drop of one part is diluted in the whole, so the part's z does. And where all but
the part surely fell as well, it fell with the others, only deeper.

That comparison is a scan statistic (Kulldorff 1997, Commun. Stat. 26): with many parts, the best of them looks good by
luck, so its likelihood ratio must win by a prior of one in so many; parts of several groupings are mostly the same
answers over again, so they count as the square root of their number. What was not there before is rare, and likelier
the cause than what always was: it is held against its likes alone. Of several that win, the surest is the likeliest,
and of those that are as sure the one with the most labels; but not one that fell with what lies around it, such as one
topic of a queue of which the others fell too. If none wins, the whole comes first: everywhere alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import copysign, log, sqrt
from typing import Final, Literal, NamedTuple, TypeAlias

from streams.alerts.explaining.decompose import decompose
from streams.alerts.explaining.likelihood import BeforeAfter, likelihood_z
from streams.alerts.facts import Facts, length_of, without
from streams.alerts.types import Contribution
from streams.kpis.aggregators import ADDITIVE, measure
from streams.kpis.arithmetic.accumulators import Acc, cleared, copy_acc, count_of, is_empty, merge_acc, subtract_acc
from streams.kpis.arithmetic.significance import ztest_shares
from streams.kpis.language.series import SEPARATOR, Labels, parse_series

NAMED: Final = 0.3
"""Part of the change that a cause must explain to be named first."""

LISTED: Final = 0.1
"""Part of the change that whatever is listed must explain."""

SURE: Final = 3.0
"""z value that whatever is listed must have."""

LEAST: Final = 10
"""Answers that whatever is listed must have, before or after."""

LEAST_EVENTS: Final = 5
"""Events of a count that whatever is listed must have: they are what is counted, and no sample of it."""

SCARCE: Final = 100
"""Answers below which a part that has grown manifold since has no past of its own to be held against."""

AT_MOST: Final = 5

_GROWN = 5
_WEIGHED = ("ratio", "mean", "nps")
_ALL = 0.99  # a part this large is the whole by another name
_ALIKE = 0.95  # two causes that are as sure but for this are ranked by how specific they are
_NEARLY = 0.9  # who explains as much is the cause even if the rest moved a little, too
_REST = ""  # what carries none of the labels of a grouping


Reader = Callable[[str], BeforeAfter]
"""Gives a series, by key, in the reference and in the window."""


_Kind: TypeAlias = Literal["rate", "mix", "new"]


class _Candidate(NamedTuple):
    part: Contribution
    z: float
    kind: _Kind
    rest: float
    """How sure it is that all that is not in it changed the same way."""
    own: BeforeAfter

    @property
    def weight(self) -> float:
        """How sure, times how much: by this what is no cause of its own is listed."""
        return self.z * min(1.0, self.part.explained)

    @property
    def stands_out(self) -> bool:
        """Return whether the rest did not change with it; a mix has its answers from the rest, which says nothing."""
        return self.kind == "mix" or self.rest < SURE or self.part.explained >= _NEARLY


def explain(
    facts: Facts, series: str, known: Iterable[str], read: Reader, *, minutes: tuple[int, int], surer: float = 0.0
) -> list[Contribution]:
    """
    Return the label sets that explain the change of a series, the best explanation first.

    Args:
        facts: What kind of numbers they are.
        series: Key of the series that changed.
        known: Keys of series of its KPI; those that are no part of it do not matter.
        read: Gives their accumulators.
        minutes: How long reference and window were collected.
        surer: What the likelihood ratio of a part must win by besides, in natural-log units: where little is known.

    Empty when there is nothing to compare with, or nothing changed. Labels of the series itself are not repeated; a
    contribution without labels is the series as a whole: no part of it stands out.
    """
    whole = read(series)
    if whole.earlier is not None and whole.later is None and facts.aggregator in ADDITIVE:
        whole = BeforeAfter(whole.earlier, cleared(whole.earlier))  # nothing is a number of events as well
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
        found = []
        for part in change.parts:
            value = next(iter(part.labels.values()))
            own = BeforeAfter(earlier.get(value), later.get(value))
            if facts.aggregator in ADDITIVE:  # what there never was before, such as a new code of failures
                nothing = cleared(whole.earlier)
                own = BeforeAfter(own.earlier or nothing, own.later or nothing)
            candidate = _candidate(facts, part, names, whole, own, change.total, minutes)
            if candidate is not None:
                found.append(candidate)
        # What is less because there is more of something else made way for it, and is no reason of its own.
        grown = max((c.part.explained for c in found if not _share_fell(c.part, whole)), default=0.0)
        candidates += [
            c for c in found if not (c.kind == "mix" and _share_fell(c.part, whole) and c.part.explained <= grown)
        ]
    if total is None:
        return []

    def around(part: _Candidate, larger: _Candidate) -> float:
        return _rest_z(facts, larger.own, part.own, minutes)

    return _ranked(candidates, total, tried, around, surer)


def baseline_of(window: str, kept: Sequence[str], *, aggregator: str) -> str | None:
    """
    Return the kept window to compare a window with, if its rule names none; None if no longer one is kept.

    Volumes follow the hours, so a count is compared with what came just before; all else with the day.
    """
    length = length_of(window)
    longer = sorted((name for name in kept if length_of(name) > length), key=length_of)
    if not longer:
        return None
    if aggregator in ADDITIVE:
        return longer[0]
    day = [name for name in longer if length_of(name) <= 1440]
    return day[-1] if day else longer[0]


def change_of(longer: Acc | None, window: Acc | None) -> BeforeAfter:
    """Return what a window holds, and what a longer one holds besides."""
    return BeforeAfter(without(longer, window), window)


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


def _sides(members: Mapping[str, str], whole: BeforeAfter, read: Reader) -> tuple[dict[str, Acc], dict[str, Acc]]:
    """Return the parts before and after; what carries none of the labels is a part of its own."""
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


def _whole(facts: Facts, whole: BeforeAfter, total: float, minutes: tuple[int, int]) -> Contribution:
    """Return the change of the series itself."""
    one = decompose(facts, _REST, {_REST: whole.earlier or []}, {_REST: whole.later or []}, minutes=minutes)
    assert one is not None
    part = one.parts[0]
    part.labels, part.explained, part.rate_effect, part.share_effect = {}, 1.0, total, 0.0
    part.statistic = likelihood_z(facts, whole, minutes)
    return part


def _candidate(
    facts: Facts,
    part: Contribution,
    names: tuple[str, ...],
    whole: BeforeAfter,
    own: BeforeAfter,
    total: float,
    minutes: tuple[int, int],
) -> _Candidate | None:
    """Return a part that can be listed, with how sure its effect is."""
    value = next(iter(part.labels.values()))
    least = LEAST_EVENTS if facts.aggregator in ADDITIVE else LEAST
    if value == _REST or max(part.n, part.baseline_n) < least:
        return None
    assert whole.earlier is not None
    assert whole.later is not None
    n, later_n = count_of(whole.earlier), count_of(whole.later)
    if min(part.baseline_n / n if n else 1.0, part.n / later_n if later_n else 1.0) > _ALL:
        return None
    kind: _Kind = "rate"
    against = own
    rest = _rest_z(facts, whole, own, minutes)
    scarce = part.baseline_n < SCARCE and _GROWN * part.baseline_n * later_n < part.n * n
    if scarce and own.later is not None and facts.aggregator in _WEIGHED:
        # It has no past to speak of: what it does differently from all others before is its own effect.
        kind, against = "new", BeforeAfter(whole.earlier, own.later)
        before = measure(facts.aggregator, whole.earlier, facts.scale, unit=facts.unit).value
        part.rate_effect = part.n / later_n * ((part.value or 0.0) - (before or 0.0))
        part.share_effect, part.explained = 0.0, part.rate_effect / total
    z = likelihood_z(facts, against, minutes)
    if facts.aggregator not in ADDITIVE and part.share_effect:
        # Both may have changed, what it does and how much there is of it: the surer of the two, for its size, counts.
        mix = _mix_z(facts, part, whole, against)
        if abs((mix or 0.0) * part.share_effect) > abs((z or 0.0) * part.rate_effect):
            kind, z = "mix", mix
    if z is None or abs(z) < SURE or part.explained < LISTED:
        return None
    part.labels = dict(zip(names, value.split(SEPARATOR), strict=True))
    part.statistic = z
    return _Candidate(part, abs(z), kind, rest, own)


def _mix_z(facts: Facts, part: Contribution, whole: BeforeAfter, own: BeforeAfter) -> float | None:
    """Return how sure the effect of another share is: surely another share, of what surely is unlike the rest."""
    assert whole.earlier is not None
    assert whole.later is not None
    share = ztest_shares(part.baseline_n, count_of(whole.earlier), part.n, count_of(whole.later))
    mine, all_ = _together(own), _together(whole)
    rest = _rest(all_, [mine]) if mine is not None and all_ is not None else None
    unlike = likelihood_z(facts, BeforeAfter(rest, mine), (1, 1))
    if not share or not unlike:
        return None
    return copysign(1 / sqrt(1 / share**2 + 1 / unlike**2), share)


def _rest_z(facts: Facts, whole: BeforeAfter, own: BeforeAfter, minutes: tuple[int, int]) -> float:
    """Return how sure it is that all but a part changed as the whole did: negative, if the other way."""
    earlier, later = (
        None if all_ is None else _rest(all_, [] if mine is None else [mine])
        for all_, mine in zip(whole, own, strict=True)
    )
    if facts.aggregator in ("ratio", "nps") and any(side and min(side) < 0 for side in (earlier, later)):
        return 0.0  # more hits than there are: it lies beside the whole, or across it
    rest = likelihood_z(facts, BeforeAfter(earlier, later), minutes) or 0.0
    return rest if (likelihood_z(facts, whole, minutes) or 0.0) > 0 else -rest


def _together(change: BeforeAfter) -> Acc | None:
    """Return what was before and after, as one."""
    if change.earlier is None or change.later is None:
        return change.earlier if change.later is None else change.later
    both = copy_acc(change.earlier)
    merge_acc(both, change.later)
    return both


def _share_fell(part: Contribution, whole: BeforeAfter) -> bool:
    assert whole.earlier is not None
    assert whole.later is not None
    return part.n * count_of(whole.earlier) < part.baseline_n * count_of(whole.later)


def _ranked(
    candidates: Sequence[_Candidate],
    total: Contribution,
    tried: int,
    around: Callable[[_Candidate, _Candidate], float],
    surer: float,
) -> list[Contribution]:
    """Put the best explanation first, the whole if no part beats it, and leave out what says the same again."""
    new = sum(c.kind == "new" for c in candidates)
    whole = (total.statistic or 0.0) ** 2
    beating = [
        c
        for c in candidates
        if c.part.explained >= NAMED
        and c.stands_out
        and c.z**2 > whole + log(new if c.kind == "new" else max(1, tried)) + 2 * surer
    ]
    causes = [
        c
        for c in beating
        if not any(_lies_within(c, larger) and around(c, larger) >= SURE for larger in beating if larger is not c)
    ]
    best = max((c.z for c in causes), default=0.0)
    alike = [c for c in causes if c.z >= _ALIKE * best]
    listed = [max(alike, key=lambda c: (len(c.part.labels), c.z)).part if alike else total]
    for candidate in sorted(candidates, key=lambda c: -c.weight):
        if len(listed) >= AT_MOST:
            break
        if not any(_overlap(candidate.part.labels, part.labels) for part in listed):
            listed.append(candidate.part)
    return listed


def _lies_within(part: _Candidate, larger: _Candidate) -> bool:
    """Return whether a part can be one of several in a larger one by other labels that explains more."""
    return (
        part.kind == larger.kind == "rate"
        and part.part.labels.keys().isdisjoint(larger.part.labels)
        and part.part.n < larger.part.n
        and part.part.baseline_n < larger.part.baseline_n
        and part.part.explained < _NEARLY * larger.part.explained
    )


def _overlap(one: Mapping[str, str], two: Mapping[str, str]) -> bool:
    """Return whether one label set lies within the other; the whole overlaps nothing."""
    if not one or not two:
        return False
    return one.items() <= two.items() or two.items() <= one.items()
