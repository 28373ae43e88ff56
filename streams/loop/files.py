"""What is kept of the cases of customers, and how it stands in the changelog of the desk."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Final, TypeAlias

import msgspec

from streams.kpis.rolling.watermarks import SourceReport
from streams.loop.case import PREFIX, Case, fold
from streams.loop.writes import CaseAnswer
from streams.relations.clocks import WorkingClock
from streams.relations.facts import Fact
from streams.value.valuations import NAMES, Floor, Valuation, Valuations

MOST_EVENTS: Final = 500
"""Events that are kept of a case; more of them are not taken in."""
MOST_FACTS: Final = 500
MOST_CASES: Final = 100
"""Cases of a customer; what is said of more of them is not taken in."""
MOST_ANSWERS: Final = 100
FENCE_KEY: Final = b"f"
SENT_KEY: Final = b"s"
_WORTH: Final = b"v/"

Record: TypeAlias = tuple[bytes, bytes | None]


class CaseFile(msgspec.Struct, array_like=True):
    """
    What is kept of one case.

    Attributes:
        events: What has happened to it, in the order in which it came.
        facts: Time, source and id of each fact that it is about.
        refused: Actions that were not taken, the newest of many, and their answers.
        changes: How often it has changed.
        wakes: When something has to be looked at though nothing comes, in milliseconds; None: never.
        unsaid: What of the worth of its customer its opening does not say, so that what was said last of it counts.
        worth: What was said last of it.
    """

    cause: str
    events: list[Fact] = []
    facts: list[tuple[int, str, str]] = []
    refused: list[tuple[Fact, CaseAnswer]] = []
    changes: int = 0
    wakes: int | None = None
    unsaid: list[str] = []
    worth: Valuation | None = None

    def case(self, clock_of: Callable[[str], WorkingClock | None]) -> Case | None:
        """Return the case as it stands; None: nobody has opened it yet."""
        return fold(self.events, clock_of)

    def knows(self, event: Fact) -> bool:
        """Return whether an event came before."""
        named = event.source, event.id
        known = chain(self.events, (one for one, _ in self.refused))
        return any((one.source, one.id) == named for one in known)

    def has_fact(self, fact: Fact) -> bool:
        """Return whether it is about a fact already."""
        named = fact.source, fact.id
        return any(one[1:] == named for one in self.facts)

    def knows_worth(self, opening: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of the worth of its customer: as its opening says it, else as it was said last."""
        last = dict.fromkeys(self.unsaid) | self.worth.said() if self.worth else {}
        return {name: last.get(name) if name in self.unsaid and last else opening.get(name) for name in NAMES}

    def revalue(self, one: Valuation | None) -> bool:
        """Take in what was said of its customer; tell whether that changes what the case shows."""
        if one is None or (self.worth is not None and (one.time, one.tie) <= (self.worth.time, self.worth.tie)):
            return False
        changed = any(getattr(one, name) != getattr(self.worth, name, None) for name in self.unsaid)
        if changed:
            self.worth = one
        return changed

    def refuse(self, event: Fact, answer: CaseAnswer) -> None:
        """Keep the answer to an action that is not taken."""
        self.refused = [*self.refused[1 - MOST_ANSWERS :], (event, answer)]


class CaseChange(msgspec.Struct, array_like=True, frozen=True):
    """
    Something that has happened to a case, and is to be told.

    Attributes:
        event: What has happened; None: it is about another fact as well.
        ours: It was decided here, so the event is to be sent.
        taken: Whether it counts; else it was refused.
    """

    case_id: str
    event: Fact | None
    ours: bool
    taken: bool = True


class CustomerFile(msgspec.Struct, array_like=True):
    """
    The cases of one customer.

    Attributes:
        step: The last step that has changed them.
        changes: What happened in it.
    """

    cases: dict[str, CaseFile] = {}
    step: int = 0
    changes: list[CaseChange] = []


class DeskFence(msgspec.Struct, array_like=True, frozen=True):
    """
    The last step that was begun, how far facts were read by then, and what their sources had said.

    Attributes:
        taken: By source, the last record of its ranges that were taken in.
    """

    step: int = 0
    position: int = -1
    watermark: float | None = None
    reports: dict[str, SourceReport] = {}
    floor: Floor | None = None
    taken: dict[str, int] = {}


class SavedDesk(msgspec.Struct):
    """What a changelog says; `sent` is the last step of which everything is sent."""

    customers: dict[str, CustomerFile]
    worths: dict[str, bytes]
    fence: DeskFence = msgspec.field(default_factory=DeskFence)
    sent: int = 0


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_file: Final = msgspec.msgpack.Decoder(CustomerFile).decode
_decode_fence: Final = msgspec.msgpack.Decoder(DeskFence).decode


def customer_record(subject: str, customer: CustomerFile | None) -> Record:
    """Return the record of a customer; without cases, what deletes it."""
    key = b"c/" + subject.encode()
    return (key, _encode(customer)) if customer is not None and (customer.cases or customer.changes) else (key, None)


def worth_records(worths: Valuations, step: int) -> Iterator[Record]:
    """Yield the records of what is new of the worth of customers."""
    for subject, value in worths.records(step):
        yield _WORTH + subject.encode(), value


def worth_tombstones(worths: Valuations) -> list[Record]:
    """Return what deletes the records of customers of whom nothing is known any more."""
    return [(_WORTH + subject.encode(), None) for subject in worths.tombstones()]


def fence_record(fence: DeskFence) -> Record:
    """Return the record of how far facts were read."""
    return FENCE_KEY, _encode(fence)


def sent_record(step: int) -> Record:
    """Return the record that says that all of a step is sent."""
    return SENT_KEY, _encode(step)


def read_back(records: Iterable[tuple[bytes, bytes]]) -> SavedDesk:
    """
    Sort records into what they say.

    Raises:
        ValueError: A key is none of ours.
    """
    saved = SavedDesk({}, {})
    for key, value in records:
        if key == FENCE_KEY:
            saved.fence = _decode_fence(value)
        elif key == SENT_KEY:
            saved.sent = msgspec.msgpack.decode(value, type=int)
        elif key.startswith(b"c/"):
            saved.customers[key[2:].decode()] = _decode_file(value)
        elif key.startswith(_WORTH):
            saved.worths[key[2:].decode()] = value
        else:
            raise ValueError(f"record {key!r} is none of the cases of a partition")
    return saved


def cause_of(event: Fact) -> str:
    """Return the cause that an opening names; empty: none."""
    return str(event.values.get("reason", "")) if event.type == f"{PREFIX}opened" else ""
