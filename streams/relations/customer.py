"""
The relations of one customer: a pure step from packed state, events and a watermark to packed state and results.

Each relation is a machine that goes through the events in order. `head` is its state as of the watermark. An event that
comes late is put where it belongs, the machine goes once more from `base`, its state as of the oldest moment that may
still change, and what it says now is compared with what was given out: so there is one way to work out results, and
revisions are differences.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

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

MOST_FACTS: Final = 300
"""Events of a customer that may still be revised; of more the oldest become final early."""
_MACHINES: Final[dict[type[Relation], Any]] = {
    SpanRelation: SpanMachine, LookbackRelation: LookbackMachine, StagesRelation: StagesMachine,
}  # fmt: skip


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
    late: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    forgotten: Counter[str] = field(default_factory=Counter)


class _Kept(msgspec.Struct, array_like=True):
    """
    What is kept of one relation.

    Attributes:
        version: Of the definition that it was made by.
        base: Its state as of `_Customer.final`; None: the same as `head`.
        given: What was said last of each matter that may still change.
    """

    version: str
    head: bytes = b""
    base: bytes | None = None
    wakes: int | None = None
    given: dict[str, Given] = {}

    @property
    def empty(self) -> bool:
        return not (self.head or self.base or self.given)


class _Customer(msgspec.Struct, array_like=True):
    """
    What is kept of one customer.

    Attributes:
        final: Up to here nothing changes any more; what comes for it is ignored.
        facts: Events behind it, in order of time, source and id; those ahead of the watermark too.
    """

    final: int
    facts: list[Fact] = []
    kept: dict[str, _Kept] = {}


_decode: Final = msgspec.msgpack.Decoder(_Customer).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def advance(  # noqa: D417 - the last two are told together
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
    customer = _decode(state) if state else _Customer(since - relations.revises_ms)
    step = CustomerStep()
    changed = _admit(relations, customer, facts, since, step)
    for relation in _concerned(relations, customer, changed, since, until):
        kept = _kept(customer, relation)
        mine = _facts_of(relation, customer.facts)
        if relation.id in changed:
            _replay(relation, kept, mine, customer.final, since, subject, step)
        _go_on(relation, kept, mine, since, until, subject, step)
    _finalize(relations, customer, until)
    return _packed(relations, customer, until, step)


def join(relations: Relations, subject: str, state: bytes, other: bytes, until: int) -> CustomerStep:
    """
    Make one customer of two whose keys turned out to belong to one person.

    Both must have been advanced to the same watermark. What follows from events of both is given out, what was said
    of one alone is taken back, as far as relations revise.

    Args:
        relations: The definitions.
        subject: The key that remains.
        state: Of the key that remains.
        other: Of the other key, which has no state from now on.
        until: The watermark of both.
    """
    customer = _decode(state) if state else _Customer(until - relations.revises_ms)
    joined = _decode(other) if other else _Customer(until - relations.revises_ms)
    step = CustomerStep()
    for one, than in ((customer, joined), (joined, customer)):
        _finalize(relations, one, until, least=than.final)
    known = {(fact.source, fact.id) for fact in customer.facts}
    customer.facts += [fact for fact in joined.facts if (fact.source, fact.id) not in known]
    customer.facts.sort(key=_order)
    for relation in relations.values():
        mine, theirs = _kept(customer, relation), _kept(joined, relation)
        mine.given |= theirs.given
        if relation.revises_ms:
            base = _joined(relation, mine.head if mine.base is None else mine.base, theirs.base, theirs.head)
            mine.base = base
            facts = _facts_of(relation, customer.facts)
            _replay(relation, mine, facts, customer.final, until, subject, step)
        else:
            mine.head = _joined(relation, mine.head, None, theirs.head)
            mine.wakes = _machine(relation, mine.head).wakes_at()
    _finalize(relations, customer, until)
    return _packed(relations, customer, until, step)


def open_matters(relations: Relations, state: bytes) -> Iterator[tuple[str, int]]:
    """Yield the relation and the opening, in milliseconds, of each matter of a customer that waits for its end."""
    for name, kept in (_decode(state).kept if state else {}).items():
        if name in relations and kept.version == relations[name].version:
            for opened in _machine(relations[name], kept.head).open():
                yield name, opened


def stages_of(relations: Relations, state: bytes) -> Iterator[tuple[str, str]]:
    """Yield the relation and the stage of each journey of a customer."""
    for name, kept in (_decode(state).kept if state else {}).items():
        machine = _machine(relations[name], kept.head) if name in relations else None
        if isinstance(machine, StagesMachine):
            for stage in machine.occupancy():
                yield name, stage


def _machine(relation: Relation, packed: bytes) -> Machine:
    return cast("Machine", _MACHINES[type(relation)](relation, packed))


def _order(fact: Fact) -> tuple[int, str, str]:
    return fact.time, fact.source, fact.id


def _kept(customer: _Customer, relation: Relation) -> _Kept:
    found = customer.kept.get(relation.id)
    if found is None or found.version != relation.version:
        found = customer.kept[relation.id] = _Kept(relation.version)
    return found


def _admit(
    relations: Relations, customer: _Customer, facts: Iterable[Fact], since: int, step: CustomerStep
) -> set[str]:
    """Put new events in their places; return the relations whose past changes by one that is late."""
    known = {(fact.source, fact.id) for fact in customer.facts}
    changed = set()
    for fact in facts:
        if (fact.source, fact.id) in known:
            continue
        known.add((fact.source, fact.id))
        lag = max(0, since - fact.time + 1)
        readers = relations.readers(fact)
        if lag:
            for relation in readers:
                step.late[relation.id] += 1
                if fact.time > customer.final and lag <= relation.revises_ms:
                    changed.add(relation.id)
                else:
                    step.ignored[relation.id] += 1
        if readers and fact.time > customer.final:
            customer.facts.append(msgspec.structs.replace(fact, lag=lag) if lag else fact)
    customer.facts.sort(key=_order)
    return changed


def _concerned(
    relations: Relations, customer: _Customer, changed: set[str], since: int, until: int
) -> Iterator[Relation]:
    """Yield the relations for which something happens in a step, in their order."""
    names = {
        relation.id for fact in customer.facts if since < fact.time <= until for relation in relations.readers(fact)
    }
    names |= {name for name, kept in customer.kept.items() if kept.wakes is not None and kept.wakes <= until} | changed
    return (relations[name] for name in sorted(names) if name in relations)


def _facts_of(relation: Relation, facts: Iterable[Fact]) -> list[Fact]:
    """Return the events that a relation reads and that came in time for it, in the order in which they count."""
    ranks = relation.ranks
    mine = [fact for fact in facts if fact.type in ranks and fact.lag <= relation.revises_ms]
    mine.sort(key=lambda fact: (fact.time, ranks[fact.type], fact.source, fact.id))
    return mine


def _go_on(
    relation: Relation, kept: _Kept, facts: Sequence[Fact], since: int, until: int, subject: str, step: CustomerStep
) -> None:
    """Go on in order, from one watermark to the next."""
    new = [fact for fact in facts if since < fact.time <= until]
    if not new and (kept.wakes is None or kept.wakes > until):
        return
    if kept.base is None and relation.revises_ms:
        kept.base = kept.head
    machine = _machine(relation, kept.head)
    for statement in play(machine, new, until):
        step.results += _restate(relation, kept, statement, subject)
    kept.head, kept.wakes = machine.pack(), machine.wakes_at()
    if machine.forgotten:
        step.forgotten[relation.id] += machine.forgotten


def _replay(
    relation: Relation, kept: _Kept, facts: Sequence[Fact], final: int, until: int, subject: str, step: CustomerStep
) -> None:
    """Go once more from the base to where we are, and give out what is different."""
    if kept.base is None:
        kept.base = kept.head
    machine = _machine(relation, kept.base)
    said = machine.standing()
    said |= {one.span: one for one in play(machine, [fact for fact in facts if final < fact.time <= until], until)}
    for span, given in sorted(kept.given.items()):
        if span not in said and given.statement.at > final:
            step.results += _restate(relation, kept, Statement(span, until, {}, None), subject)
    for _, statement in sorted(said.items()):
        given_now = kept.given.get(statement.span)
        if given_now is None or given_now.withdrawn or given_now.statement != statement:
            step.results += _restate(relation, kept, statement, subject)
    kept.head, kept.wakes = machine.pack(), machine.wakes_at()


def _restate(relation: Relation, kept: _Kept, statement: Statement, subject: str) -> Iterator[DerivedEvent]:
    """Yield what is to be sent so that a statement holds from now on."""
    former = kept.given.get(statement.span)
    if former is not None and not former.withdrawn:
        yield result_of(relation, former, withdrawn=True)
        kept.given[statement.span] = msgspec.structs.replace(former, withdrawn=True)
    if statement.data is not None:
        given = Given(statement, subject, 0 if former is None else former.revision + 1)
        kept.given[statement.span] = given
        yield result_of(relation, given)


def _joined(relation: Relation, mine: bytes, base: bytes | None, head: bytes) -> bytes:
    theirs = head if base is None else base
    if not theirs:
        return mine
    machine = _machine(relation, mine)
    machine.join(theirs)
    return machine.pack()


def _finalize(relations: Relations, customer: _Customer, until: int, least: int | None = None) -> None:
    """
    Move on the moment up to which nothing changes any more, and forget what was needed for that.

    It moves in strides, since each costs as much as a step; to `least` at once if that is given.
    """
    final = until - relations.revises_ms
    past = [fact.time for fact in customer.facts if fact.time <= until]
    if len(past) > MOST_FACTS:
        final = max(final, past[-MOST_FACTS // 2])
    elif least is not None:
        final = max(final, least)
    elif final < customer.final + relations.stride_ms:
        return
    final = max(final, customer.final)
    for name, kept in customer.kept.items():
        if name in relations:
            _finalize_one(relations[name], kept, customer.facts, final)
    customer.final = final
    customer.facts = [fact for fact in customer.facts if fact.time > final]


def _finalize_one(relation: Relation, kept: _Kept, facts: Iterable[Fact], final: int) -> None:
    if kept.base is not None:
        machine, mine = _machine(relation, kept.base), _facts_of(relation, facts)
        for _ in play(machine, [fact for fact in mine if fact.time <= final], final):
            """What it says was said when it went there first."""
        kept.base = machine.pack()
        # What has come and gone since leaves no trace in the head: the base must follow it, though they are equal now.
        idle = kept.base == kept.head and not any(fact.time > final for fact in mine)
        kept.base = None if idle else kept.base
    if kept.given:
        names = _machine(relation, kept.head).names()
        names |= _machine(relation, kept.base).names() if kept.base else frozenset()
        kept.given = {
            span: given
            for span, given in kept.given.items()
            if span in names or (relation.revises_ms and given.statement.at > final)
        }


def _packed(relations: Relations, customer: _Customer, until: int, step: CustomerStep) -> CustomerStep:
    customer.kept = {name: kept for name, kept in customer.kept.items() if name in relations and not kept.empty}
    if not customer.facts and not customer.kept:
        return step
    moments = [kept.wakes for kept in customer.kept.values() if kept.wakes is not None]
    moments += [fact.time for fact in customer.facts if fact.time > until][:1]
    given = (one.statement.at for kept in customer.kept.values() for one in kept.given.values())
    revisable = [*(fact.time for fact in customer.facts if fact.time <= until), *given]
    if max(revisable, default=0) > customer.final or any(one.base is not None for one in customer.kept.values()):
        # By then all that may still be revised is final, and is forgotten.
        moments.append(until + relations.revises_ms + relations.stride_ms)
    step.state, step.wakes_at = _encode(customer), min(moments, default=None)
    return step
