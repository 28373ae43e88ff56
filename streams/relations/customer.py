"""
The relations of one customer: a pure step from packed state, events and a watermark to packed state and results.

Each relation is a machine that goes through the events in order. `head` is its state as of the watermark. An event that
comes late is put where it belongs, the machine goes once more from `base`, its state as of the oldest moment that may
still change, and what it says now is compared with what was given out: so there is one way to work out results, and
revisions are differences.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from streams.relations.catalogue import Relations
from streams.relations.definition import Relation
from streams.relations.facts import Fact
from streams.relations.kinds import LookbackRelation, SpanRelation, StagesRelation
from streams.relations.lookbacks import LookbackMachine
from streams.relations.machine import Machine, Statement, play
from streams.relations.results import DerivedEvent, Given, result_of
from streams.relations.spans import SpanMachine
from streams.relations.stages import StagesMachine
from streams.relations.state import CustomerState, RelationState, packed_given, read_fact, read_given, read_state

MOST_FACTS: Final = 300
"""Events of a customer that may still be revised; of more the oldest become final early."""
CLAIMED_MS: Final = 90 * 86_400_000
"""For so long it is remembered that a customer was said to have another key."""
_MACHINES: Final[dict[type[Relation], Callable[[Any, bytes], Machine]]] = {
    SpanRelation: SpanMachine, LookbackRelation: LookbackMachine, StagesRelation: StagesMachine,
}  # fmt: skip

_Fresh: TypeAlias = dict[int, tuple[Fact, Sequence[Relation]]]
"""Events that came in a step, by the identity of the bytes that are kept of them, and who reads them."""


@dataclass
class CustomerStep:
    """
    What one step of one customer comes to.

    Attributes:
        state: To be kept for the next step; empty: nothing is known of the customer.
        wakes_at: The next moment at which the customer needs a step though nothing comes, in milliseconds.
        results: Derived events, in the order in which they are to be sent.
        late: Events that came after their step, by relation.
        ignored: Those of them that were too late to change anything.
        forgotten: What had no room or was open for too long, by relation.
    """

    state: bytes = b""
    wakes_at: int | None = None
    results: list[DerivedEvent] = field(default_factory=list)
    late: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)

    def follow(self, other: "CustomerStep") -> None:
        """Go on with another step of the same customer."""
        self.state, self.wakes_at = other.state, other.wakes_at
        self.add(other)

    def add(self, other: "CustomerStep") -> None:
        """Add what another step gave out."""
        self.results += other.results
        for mine, theirs in (
            (self.late, other.late),
            (self.ignored, other.ignored),
            (self.forgotten, other.forgotten),
        ):
            for relation, number in theirs.items():
                _count(mine, relation, number)


def advance(  # noqa: D417 - the last two are explained together
    relations: Relations, subject: str, state: bytes, facts: Iterable[Fact], since: int, until: int
) -> CustomerStep:
    """
    Take one step of one customer.

    To be called for each customer of whom something came, or whose `wakes_at` is not after `until`.

    Args:
        relations: The definitions.
        subject: The customer's key.
        state: As the last step of this customer gave it, or empty.
        facts: What came since; in any order, and again what came before.
        since, until: The watermarks before and after the step: what happened up to `until` is complete.

    Returns:
        What it comes to; the same whenever it is worked out again.
    """
    customer = read_state(state, since - relations.revises_ms)
    step = CustomerStep()
    changed: set[str] = set()
    fresh = _admit(relations, customer, facts, since, step, changed)
    news = _news(relations, customer, since, until, changed, fresh)
    names = {name for name, kept in customer.kept.items() if kept.wakes is not None and kept.wakes <= until}
    names |= changed
    names.update(news)
    for name in sorted(names):
        relation, new = relations.by_id.get(name), news.get(name, ())
        if relation is None:
            continue
        if name in changed:
            _replay(relation, customer, since, subject, step)
        if new or name in customer.kept:
            _go_on(relation, customer, new, until, subject, step)
    _finalize(relations, customer, until)
    return _packed(relations, customer, until, step)


def join(relations: Relations, subject: str, state: bytes, others: Sequence[bytes], until: int) -> CustomerStep:
    """
    Make one customer of several whose keys turned out to belong to one person.

    All must have been advanced to the same watermark. What follows from events of all is given out, what was said
    of one alone is taken back, as far as relations revise.

    Args:
        relations: The definitions.
        subject: The key that remains.
        state: Of the key that remains.
        others: Of the other keys, which have no state from now on.
        until: The watermark of all.
    """
    customer, *joined = keys = [read_state(one, until - relations.revises_ms) for one in (state, *others)]
    step, final = CustomerStep(), max(one.final for one in keys)
    for one in keys:
        _finalize(relations, one, until, least=final)
    for other in joined:
        for fact in other.unpacked():
            customer.add(fact)
        customer.newest = max(customer.newest, other.newest)
        customer.claimed = max(customer.claimed, other.claimed)
    for relation in relations.values():
        mine = customer.of(relation)
        for theirs in (other.of(relation) for other in joined):
            mine.given |= theirs.given
            if relation.revises_ms:
                mine.base = _joined(relation, mine.head if mine.base is None else mine.base, theirs.base, theirs.head)
            else:
                mine.head = _joined(relation, mine.head, None, theirs.head)
                mine.wakes = _machine(relation, mine.head).wakes_at()
        if relation.revises_ms:
            _replay(relation, customer, until, subject, step)
    _finalize(relations, customer, until)
    return _packed(relations, customer, until, step)


def claim(relations: Relations, state: bytes, until: int, claimed: int, joined: int = 0) -> CustomerStep:
    """Remember of a customer at a watermark when they were last said to have another key, and so many more keys."""
    customer = read_state(state, until - relations.revises_ms)
    customer.claimed = max(customer.claimed, claimed)
    customer.joined += joined
    return _packed(relations, customer, until, CustomerStep())


def rank_of(state: bytes) -> tuple[int, int]:
    """Return how many keys were joined to a customer, and when they were last said to have another one."""
    if not state:
        return 0, 0
    customer = read_state(state)
    return customer.joined, customer.claimed


def open_matters(relations: Relations, state: bytes) -> Iterator[tuple[str, int]]:
    """Yield the relation and the opening, in milliseconds, of each matter of a customer that waits for its end."""
    for name, kept in read_state(state).kept.items():
        if name in relations and kept.version == relations[name].version:
            for opened in _machine(relations[name], kept.head).open():
                yield name, opened


def stages_of(relations: Relations, state: bytes) -> Iterator[tuple[str, str]]:
    """Yield the relation and the stage of each journey of a customer."""
    for name, kept in read_state(state).kept.items():
        machine = _machine(relations[name], kept.head) if name in relations else None
        if isinstance(machine, StagesMachine):
            for stage in machine.occupancy():
                yield name, stage


def _machine(relation: Relation, packed: bytes) -> Machine:
    return _MACHINES[type(relation)](relation, packed)


def _count(counts: dict[str, int], name: str, number: int = 1) -> None:
    counts[name] = counts.get(name, 0) + number


def _admit(
    relations: Relations,
    customer: CustomerState,
    facts: Iterable[Fact],
    since: int,
    step: CustomerStep,
    changed: set[str],
) -> _Fresh:
    """Put new events in their places, and name the relations whose past changes by one that is late."""
    fresh: _Fresh = {}
    ignored = set()
    for fact in facts:
        readers = relations.readers(fact)
        lag = max(0, since - fact.time + 1)
        if fact.time <= customer.final:
            if (fact.source, fact.id) in ignored:
                continue
            ignored.add((fact.source, fact.id))
        elif readers:
            packed = customer.add(msgspec.structs.replace(fact, lag=lag) if lag else fact)
            if packed is None:
                continue
            if not lag:
                fresh[id(packed)] = fact, readers
        for relation in readers if lag else ():
            _count(step.late, relation.id)
            if fact.time > customer.final and lag <= relation.revises_ms:
                changed.add(relation.id)
            else:
                _count(step.ignored, relation.id)
    return fresh


def _news(
    relations: Relations, customer: CustomerState, since: int, until: int, changed: set[str], fresh: _Fresh
) -> dict[str, list[Fact]]:
    """Return what each relation reads in a step, in the order in which it counts, if it begins or changes anything."""
    news: dict[str, list[Fact]] = {}
    begins: set[str] = set()
    for packed in customer.facts[customer.past(since) : customer.past(until)]:
        found = fresh.get(id(packed))
        if found is None:  # it came before, ahead of the watermark
            fact = read_fact(packed)
            found = fact, relations.readers(fact)
        fact, readers = found
        for relation in readers:
            name = relation.id
            if name in news:
                news[name].append(fact)
            else:
                news[name] = [fact]
            if fact.type in relation.begins:
                begins.add(name)
    for name in [*news]:
        relation, kept, new = relations.by_id[name], customer.kept.get(name), news[name]
        known = kept is not None and kept.version == relation.version and kept.head
        if not (known or name in changed or name in begins):
            del news[name]
        elif len(new) > 1:
            new.sort(key=relation.order)
    return news


def _facts_of(relation: Relation, facts: Iterable[Fact]) -> list[Fact]:
    """Return the events that a relation reads and that came in time for it, in the order in which they count."""
    mine = [fact for fact in facts if fact.type in relation.ranks and fact.lag <= relation.revises_ms]
    if len(mine) > 1:
        mine.sort(key=relation.order)
    return mine


def _go_on(
    relation: Relation, customer: CustomerState, new: Sequence[Fact], until: int, subject: str, step: CustomerStep
) -> None:
    """Go on in order, from one watermark to the next."""
    kept = customer.of(relation)
    if not new and (kept.wakes is None or kept.wakes > until):
        return
    if kept.base is None and relation.revises_ms:
        kept.base = kept.head
    machine = _machine(relation, kept.head)
    for statement in play(machine, new, until):
        step.results += _restate(relation, customer, statement, subject)
    kept.head, kept.wakes = machine.pack(), machine.wakes_at()
    if machine.forgotten:
        _count(step.forgotten, relation.id, machine.forgotten)


def _replay(relation: Relation, customer: CustomerState, until: int, subject: str, step: CustomerStep) -> None:
    """Go once more from the base to where we are, and give out what is different."""
    kept, final = customer.of(relation), customer.final
    if kept.base is None:
        kept.base = kept.head
    facts = _facts_of(relation, customer.unpacked(customer.past(final), customer.past(until)))
    machine = _machine(relation, kept.base)
    said = machine.standing()
    said |= {one.span: one for one in play(machine, facts, until)}
    for span, packed in sorted(kept.given.items()):
        if span not in said and read_given(packed).statement.at > final:
            step.results += _restate(relation, customer, Statement(span, until, {}, None), subject)
    for _, statement in sorted(said.items()):
        packed_now = kept.given.get(statement.span)
        given = None if packed_now is None else read_given(packed_now)
        if given is None or given.withdrawn or given.statement != statement:
            step.results += _restate(relation, customer, statement, subject)
    kept.head, kept.wakes = machine.pack(), machine.wakes_at()


def _restate(relation: Relation, customer: CustomerState, statement: Statement, subject: str) -> Iterator[DerivedEvent]:
    """Yield what is to be sent so that a statement holds from now on."""
    given, span = customer.kept[relation.id].given, statement.span
    former = read_given(given[span]) if span in given else None
    if former is not None and not former.withdrawn:
        yield result_of(relation, former, withdrawn=True)
        given[span] = packed_given(msgspec.structs.replace(former, withdrawn=True))
    if statement.data is not None:
        now = Given(statement, subject, 0 if former is None else former.revision + 1)
        given[span] = packed_given(now)
        customer.newest = max(customer.newest, statement.at)
        yield result_of(relation, now)


def _joined(relation: Relation, mine: bytes, base: bytes | None, head: bytes) -> bytes:
    theirs = head if base is None else base
    if not theirs:
        return mine
    machine = _machine(relation, mine)
    machine.join(theirs)
    return machine.pack()


def _finalize(relations: Relations, customer: CustomerState, until: int, least: int | None = None) -> None:
    """
    Move on the moment up to which nothing changes any more, and forget what was needed for that.

    It moves in strides, since each costs as much as a step; to `least` at once if that is given.
    """
    final = until - relations.revises_ms
    past = customer.past(until)
    if past > MOST_FACTS:
        final = max(final, customer.times[past - MOST_FACTS // 2])
    elif least is not None:
        final = max(final, least)
    elif final < customer.final + relations.stride_ms:
        return
    final = max(final, customer.final)
    gone = customer.past(final)
    facts: list[Fact] | None = None
    for name, kept in customer.kept.items():
        if name not in relations.by_id:
            continue
        if kept.base or (gone and kept.base is not None):  # an empty one to which nothing comes stays as it is
            facts = customer.unpacked() if facts is None else facts
            _move_base(relations[name], kept, facts, final)
        if kept.given:
            _forget_given(relations[name], kept, final)
    customer.final = final
    del customer.times[:gone], customer.facts[:gone]


def _move_base(relation: Relation, kept: RelationState, facts: Iterable[Fact], final: int) -> None:
    machine, mine = _machine(relation, kept.base or b""), _facts_of(relation, facts)
    # What it says was said when it went there first.
    play(machine, [fact for fact in mine if fact.time <= final], final)
    kept.base = machine.pack()
    # What has come and gone since leaves no trace in the head: the base must follow it, though they are equal now.
    idle = kept.base == kept.head and not any(fact.time > final for fact in mine)
    kept.base = None if idle else kept.base


def _forget_given(relation: Relation, kept: RelationState, final: int) -> None:
    names = _machine(relation, kept.head).names()
    names |= _machine(relation, kept.base).names() if kept.base else frozenset()
    kept.given = {
        span: given
        for span, given in kept.given.items()
        if span in names or (relation.revises_ms and read_given(given).statement.at > final)
    }


def _packed(relations: Relations, customer: CustomerState, until: int, step: CustomerStep) -> CustomerStep:
    changes = bool(customer.facts)  # they may still come into a base that is empty, and go again
    customer.kept = {
        name: kept
        for name, kept in customer.kept.items()
        if name in relations.by_id and (kept.head or kept.base or kept.given or (changes and kept.base is not None))
    }
    if customer.claimed and customer.claimed + CLAIMED_MS <= until:
        customer.claimed = customer.joined = 0
    if not customer.facts and not customer.kept and not customer.claimed:
        return step
    past = customer.past(until)
    moments = [kept.wakes for kept in customer.kept.values() if kept.wakes is not None]
    moments += customer.times[past : past + 1]
    moments += [customer.claimed + CLAIMED_MS] if customer.claimed else []
    newest = max(customer.newest, customer.times[past - 1] if past else 0)
    if newest > customer.final or any(one.base is not None for one in customer.kept.values()):
        # By then all that may still be revised is final, and is forgotten.
        moments.append(until + relations.revises_ms + relations.stride_ms)
    step.state, step.wakes_at = customer.packed(), min(moments, default=None)
    return step
