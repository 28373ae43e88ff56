"""
Results worked out once more, for verifying: from a customer's whole history at once, by looking forward and back in it.

Shares the definitions with what runs live, and none of its machinery: no steps, no packed states, no revisions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from streams.relations import clocks
from streams.relations.definition import Relation, Take
from streams.relations.facts import Fact, Values, origin_of
from streams.relations.kinds import MOVED, LookbackRelation, SpanRelation, StagesRelation
from streams.relations.machine import name_of
from streams.relations.results import DerivedEvent
from streams.relations.takes import seconds, taken

History = list[Fact]
Found = tuple[Sequence[Fact], Fact, int, dict[str, Any]]
"""The events that a result rests on, the one that it is named by, when it became so, and what it says."""

FOREVER: Final = 1 << 62


@dataclass(frozen=True)
class Recounted:
    """
    What a relation says of a matter.

    Attributes:
        first: The event that it is named by.
        inside: The events that it rests on.
        history: All that may have to do with it.
    """

    result: DerivedEvent
    first: Fact
    inside: Sequence[Fact]
    history: Sequence[Fact]


def recount(relation: Relation, subject: str, facts: Iterable[Fact], until: int) -> Iterator[Recounted]:
    """
    Yield all that holds of a customer as of a watermark.

    Args:
        relation: What is asked.
        subject: The customer's key.
        facts: All events of the customer, each once, in any order; others than the relation reads are left out.
        until: Up to when everything is known, in milliseconds; `FOREVER`: all waiting is over.
    """
    for key, history in _histories(relation, facts, until):
        for inside, first, at, said in _results(relation, history, until):
            data = {**said, **relation.key_data(key)}
            plain = {name: value for name, value in data.items() if value is not None}
            span, origin = name_of(relation.id, first), origin_of(first)
            result = DerivedEvent(relation.id, relation.emits, span, 0, False, at, subject, origin, plain)
            yield Recounted(result, first, [*inside], history)


def _histories(relation: Relation, facts: Iterable[Fact], until: int) -> Iterator[tuple[tuple[Any, ...], History]]:
    """Yield what tells matters apart, and the events up to a moment that have to do with each, in order."""
    groups: dict[tuple[Any, ...], History] = {}
    for fact in facts:
        if fact.type in relation.events and fact.time <= until and (key := relation.key_of(fact.values)) is not None:
            groups.setdefault(key, []).append(fact)
    for key, history in groups.items():
        history.sort(key=relation.order)
        yield key, history


@dataclass(frozen=True)
class OpenMatter:
    """
    A matter that waits for its end.

    Attributes:
        due: When it ends by itself, in milliseconds; None: it does not.
        kept: What is kept of it so far, and the stage that a journey is in.
    """

    relation: str
    key: Values
    due: int | None
    kept: dict[str, Any]
    inside: Sequence[Fact]


def still_open(relation: Relation, facts: Iterable[Fact], until: int) -> Iterator[OpenMatter]:
    """Yield what waits for its end as of a watermark, of one customer's events as in `recount`."""
    for key, history in _histories(relation, facts, until):
        named = dict(zip(relation.by, key, strict=True))
        if isinstance(relation, SpanRelation):
            for span in _followed(relation, history, until):
                if span.open:
                    due = span.due if relation.expires else None
                    yield OpenMatter(relation.id, named, due, span.kept(until), span.inside)
        elif isinstance(relation, StagesRelation):
            for journey, seen in _journeys(relation, history):
                due = journey[seen[-1][1]].time + relation.expires.after_ms
                if due > until:
                    yield OpenMatter(relation.id, named, due, {"stage": [*relation.stages][seen[-1][0]]}, journey)


def _results(relation: Relation, history: History, until: int) -> Iterator[Found]:
    if isinstance(relation, SpanRelation):
        return _spans(relation, history, until)
    if isinstance(relation, StagesRelation):
        return _stages(relation, history, until)
    assert isinstance(relation, LookbackRelation)
    return _lookbacks(relation, history)


def _come_to(take: Take, events: Iterable[Fact], now: int) -> Any:
    return taken(take.take, [(one.time, take.value_of(one)) for one in events if take.meets(one)], now)


def _before(take: Take, history: History, place: int) -> Any:
    now = history[place].time
    past = [fact for fact in history[:place] if fact.time >= now - take.before_ms]
    return _come_to(take, [*past, history[place]] if take.itself else past, now)


def _lookbacks(relation: LookbackRelation, history: History) -> Iterator[Found]:
    for place, fact in enumerate(history):
        if relation.at.meets(fact):
            said = {take.name: _before(take, history, place) for take in relation.keeps}
            seen = [one for one in history[:place] if any(_sees(take, one, fact.time) for take in relation.keeps)]
            yield [*seen, fact], fact, fact.time, said


def _sees(take: Take, fact: Fact, now: int) -> bool:
    return fact.time >= now - take.before_ms and take.meets(fact)


Seen = list[tuple[int, int]]
"""The stages of a journey as they were seen, each with the place of its event in the journey."""


def _journeys(relation: StagesRelation, history: History) -> Iterator[tuple[History, Seen]]:
    """Yield each journey: its events, and the stages seen in it."""
    journey: History = []
    seen: Seen = []
    for fact in history:
        if seen and journey[seen[-1][1]].time + relation.expires.after_ms < fact.time:
            yield journey, seen
            journey, seen = [], []
        stage = next((at for at, one in enumerate(relation.stages.values()) if one.meets(fact)), None)
        if stage is not None or seen:
            journey.append(fact)
        if stage is not None:
            seen.append((stage, len(journey) - 1))
    if seen:
        yield journey, seen


def _stages(relation: StagesRelation, history: History, until: int) -> Iterator[Found]:
    names = [*relation.stages]
    for journey, seen in _journeys(relation, history):
        for place in range(1, len(seen)):
            (former, _), (stage, at) = seen[place - 1], seen[place]
            if stage != former:
                fact, before = journey[at], {one for one, _ in seen[:place]}
                yield (
                    journey[: at + 1],
                    fact,
                    fact.time,
                    {
                        **_where(relation, journey[: at + 1], seen[:place], fact.time),
                        "outcome": MOVED,
                        "to_stage": names[stage],
                        "skipped": len(set(range(former + 1, stage)) - before),
                        "backward": stage < former,
                        "first": stage not in before,
                        "highest": names[max(*before, stage)],
                    },
                )
        last = journey[seen[-1][1]].time
        if last + relation.expires.after_ms <= until:
            done = relation.completes and names.index(relation.completes) in {stage for stage, _ in seen}
            outcome = {"outcome": "completed" if done else relation.expires.outcome}
            said = {**_where(relation, journey, seen, last), **outcome}
            yield journey, journey[0], last + relation.expires.after_ms, said


def _where(relation: StagesRelation, journey: History, seen: Seen, now: int) -> dict[str, Any]:
    """Return what is said of the stage that a journey is in."""
    names, (stage, place) = [*relation.stages], seen[-1]
    for other, at in reversed(seen):
        if other != stage:
            break
        place = at
    return {
        "from_stage": names[stage], "stayed_s": seconds(now - journey[place].time), "skipped": 0, "backward": False,
        "first": False, "opened": journey[0].time, "highest": names[max(at for at, _ in seen)],
        **{take.name: _come_to(take, journey, now) for take in relation.keeps},
    }  # fmt: skip


def _spans(relation: SpanRelation, history: History, until: int) -> Iterator[Found]:
    for span in _followed(relation, history, until):
        if span.outcome:
            yield span.inside, span.inside[0], span.ended, span.said()


def _followed(relation: SpanRelation, history: History, until: int) -> list["_Span"]:
    """Return all spans of a history as they are at a moment."""
    spans: list[_Span] = []
    expires = relation.expires
    for place, fact in enumerate(history):
        for span in spans:
            span.wait(fact.time - 1)
        waiting = [span for span in spans if span.open]
        for span in waiting:
            span.go_on(fact)
        over = [span for span in reversed(spans) if span.outcome]
        if over and not waiting:
            max(over, key=lambda span: span.ended).come_back(fact)
        due = not (expires and expires.at) or expires.at in fact.values
        if due and relation.opens.meets(fact) and (relation.each or not any(span.open for span in spans)):
            before = {take.name: _before(take, history, place) for take in relation.keeps if take.before_ms}
            spans.append(_Span(relation, [fact], before, history[:place]))
    for span in spans:
        span.wait(until)
    return spans


@dataclass
class _Span:
    """A matter: the events inside it, and what was before."""

    relation: SpanRelation
    inside: History
    before: dict[str, Any]
    past: History
    outcome: str = ""
    ended: int = 0
    rested: int = 0
    forgotten: bool = False
    started: int = field(init=False)
    last: int = field(init=False)
    due: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.last = self.inside[0].time
        self.due = self._deadline(self.inside[0])

    @property
    def open(self) -> bool:
        return not self.outcome and not self.forgotten

    def _deadline(self, fact: Fact) -> int | None:
        deadline, time = self.relation.deadline, fact.time
        if deadline is None:
            return None
        if deadline.after_ms:
            return clocks.after(self.relation.clock, time, deadline.after_ms)
        at = fact.values.get(deadline.at)
        if at is None:
            return None
        return max(int(at), time) if self.relation.expires else int(at)

    def kept(self, now: int) -> Values:
        """Return what is kept of it."""
        return {
            take.name: self.before[take.name]
            if take.before_ms and not take.goes_on
            else _come_to(take, [*self._past(take), *self.inside], now)
            for take in self.relation.keeps
        }

    def _past(self, take: Take) -> Iterator[Fact]:
        """Yield what came before the opening, as far as a take that goes on reaches back."""
        since = self.inside[0].time - take.before_ms
        return (fact for fact in self.past if take.goes_on and fact.time >= since)

    def wait(self, until: int) -> None:
        """Let its deadline pass, if it does so by a moment."""
        expires = self.relation.expires
        if not self.open:
            return
        if expires and self.due is not None:
            if self.due <= until:
                self.outcome, self.ended = expires.outcome, self.due
        else:
            self.forgotten = self.inside[0].time + self.relation.forgets_ms <= until

    def go_on(self, fact: Fact) -> None:
        """Take the next event while it is open."""
        relation, former = self.relation, self.kept(fact.time)
        for outcome, splits in relation.splits.items():
            if splits.meets(fact, former):
                self.outcome, self.ended = outcome, fact.time
                return
        self.inside.append(fact)
        deadline = relation.deadline
        if relation.touches and relation.touches.meets(fact, former):
            self.last = fact.time
            self.due = self._deadline(fact) if relation.by_silence else self.due
        if relation.restarts and relation.restarts.meets(fact, former):
            self.started = fact.time
            if deadline and deadline.after_ms and not relation.by_silence:
                self.due = self._deadline(fact)
        if deadline and deadline.moves and deadline.moves.meets(fact, former):
            self.due = self._deadline(fact) or self.due
        self._close(fact)

    def _close(self, fact: Fact) -> bool:
        kept = self.kept(fact.time)
        found = next((name for name, closes in self.relation.closes.items() if closes.meets(fact, kept)), "")
        if found:
            self.outcome, self.ended, self.last = found, fact.time, fact.time
        return bool(found)

    def come_back(self, fact: Fact) -> None:
        """Take the next event when it is over: a closing that comes later, or an event that takes one back."""
        relation, expires, now = self.relation, self.relation.expires, fact.time
        if (
            expires
            and expires.reopens_ms
            and self.outcome == expires.outcome
            and now <= self.ended + expires.reopens_ms
        ):
            self.inside.append(fact)
            if not self._close(fact):
                self.inside.pop()
        elif relation.reopens and relation.reopens.meets(fact) and now <= self.ended + relation.reopens_ms:
            self.rested += clocks.elapsed(relation.clock, self.ended, now)
            self.outcome, self.ended, self.last = "", 0, now
            if expires and self.due is not None:
                self.due = self._deadline(fact) if relation.by_silence else max(self.due, now)
            self.inside.append(fact)

    def said(self) -> dict[str, Any]:
        """Return what is said of it."""
        relation = self.relation
        until = self.ended if self.outcome in relation.closes or relation.touches is None else self.last
        worked = clocks.elapsed(relation.clock, self.started, until)
        by_rule = {
            "last": (relation.touches, self.last),
            "started": (relation.restarts, self.started),
            "elapsed_s": (relation.clock, seconds(max(0, until - self.started))),
            "worked_s": (relation.reopens, seconds(worked - self.rested)),
            "due": (self.due is not None, self.due),
            "left_s": (self.due is not None, seconds((self.due or 0) - self.ended)),
        }
        return {
            "outcome": self.outcome,
            "opened": self.inside[0].time,
            "duration_s": seconds(worked),
            **{name: value for name, (wanted, value) in by_rule.items() if wanted},
            **self.kept(self.ended),
        }
