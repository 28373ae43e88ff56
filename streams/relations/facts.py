"""What relations remember of events: the fields that some relation reads, and the order in which they count."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from streams.events.types import Envelope, fields_of
from streams.kpis.language.fields import OWN

Value: TypeAlias = str | int | float | bool
Values: TypeAlias = dict[str, Value]

ORIGIN: Final = (
    "channel", "touchpoint", "stage", "sessionid", "journeyid", "orderid", "contactid", "unitid", "agentid",
    "segment", "region", "experiment", "variant", "synthetic", "traceid",
)  # fmt: skip
"""Attributes of an event that its derived event has as well."""


class Fact(msgspec.Struct, array_like=True, frozen=True):
    """
    One event as relations see it.

    Attributes:
        time: When it happened, in milliseconds since 1970.
        lag: By how much it came after its step, in milliseconds; 0: it came in time.
        values: Its fields that relations read, times in milliseconds; those it lacks are left out.
    """

    time: int
    source: str
    id: str
    type: str
    values: Values
    lag: int = 0


LINKED: Final = "cx.identity.linked"
MERGED: Final = "cx.identity.merged"

_TESTS: Final = "synthetic".ljust(129)
"""Stands before the key of a customer that tests made up: longer than any subject, so that none is like it."""


def customer_of(subject: str, *, synthetic: bool) -> str:
    """Return whose matters an event is about: what tests send never meets what customers do, also under their key."""
    return _TESTS + subject if synthetic else subject


def subject_of(customer: str) -> str:
    """Return the subject of the events of a customer, from what `customer_of` gives."""
    return customer.removeprefix(_TESTS)


def is_made_up(customer: str) -> bool:
    """Return whether tests made up what is known of a customer."""
    return customer.startswith(_TESTS)


def milliseconds(moment: datetime) -> int:
    """Return a moment in whole milliseconds since 1970."""
    span = moment - _EPOCH
    return (span.days * 86_400 + span.seconds) * 1000 + span.microseconds // 1000


def moment_of(time: int) -> datetime:
    """Return the moment of so many milliseconds since 1970."""
    return datetime.fromtimestamp(time // 1000, UTC).replace(microsecond=time % 1000 * 1000)


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Reader:
    """
    Makes facts of events.

    Attributes:
        fields: What is read of each event type; of other types nothing is.
    """

    def __init__(self, fields: Mapping[str, Iterable[str]]) -> None:
        self.fields = {name: tuple(sorted(set(wanted))) for name, wanted in fields.items()}
        self._reads = {name: _reading(name, wanted) for name, wanted in self.fields.items()}
        self._labels = {name: _labels_wanted(wanted) for name, wanted in self.fields.items()}

    def fact(self, event: Envelope) -> Fact | None:
        """Return what relations remember of an event, None if none reads its type."""
        reads = self._reads.get(event.type)
        if reads is None:
            return None
        names, get, times = reads
        values = {name: value for name, value in zip(names, get(event), strict=True) if value is not None}
        for name in times:
            if name in values:
                values[name] = milliseconds(values[name])
        if self._labels[event.type]:
            values.update({OWN + name: value for name, value in (event.labels or {}).items()})
        return Fact(milliseconds(event.time), event.source, event.id, event.type, values)


def _labels_wanted(wanted: Iterable[str]) -> bool:
    """Whether own labels are read: all of them are, where any is or a derived event is to have them."""
    return any(name.startswith(OWN) or name == "labels" for name in wanted)


class _FieldsOfType(NamedTuple):
    """Which fields are read of a type, what gets all of them at once, and which of them are times."""

    names: Sequence[str]
    get: Callable[[Envelope], Iterable[Any]]
    times: Sequence[str]


def _reading(event_type: str, wanted: Iterable[str]) -> _FieldsOfType:
    known = fields_of(event_type)
    names = [name for name in wanted if name in known]
    paths = [f"data.{name}" if known[name].part == "data" else name for name in names]
    times = [name for name in names if known[name].kind == "time"]
    # One path gives its value alone.
    return _FieldsOfType(
        names, attrgetter(*paths) if len(paths) > 1 else lambda e: [attrgetter(one)(e) for one in paths], times
    )


def with_fields(fact: Fact, also: Mapping[str, Value]) -> Fact:
    """Return a fact with what is known beside it."""
    return msgspec.structs.replace(fact, values={**fact.values, **also})


def merged(readers: Iterable[Reader]) -> Reader:
    """Return what makes facts for several at once."""
    wanted: dict[str, set[str]] = {}
    for reader in readers:
        for name, fields in reader.fields.items():
            wanted.setdefault(name, set()).update(fields)
    return Reader(wanted)


def origin_of(fact: Fact) -> Values:
    """Return what a derived event takes over from the event that it is made of."""
    return {name: value for name, value in fact.values.items() if name in _ORIGIN or name.startswith(OWN)}


_ORIGIN: Final = frozenset(ORIGIN)
