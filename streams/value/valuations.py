"""
What `cx.customer.valued` said last of each customer, kept beside what is decided about them.

Pure. Of each customer the newest few are kept, by their own times, in whatever order they come and however often. What
is saved takes effect with the number of its step: a record of a step that was not finished says what was known before
it, so that whoever reads the same once more knows no more than the first time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias
from zlib import crc32

import msgspec

from streams.kpis.language.fields import Field, Kind

VALUED: Final = "cx.customer.valued"
VALUED_FIELDS: Final = ("tier", "churn_risk", "clv")
"""What is read of it."""
PREFIX: Final = "customer_"
NAMES: Final = ("tier", "churn_risk", "value")
CUSTOMER_FIELDS: Final[Mapping[str, Field]] = {
    PREFIX + name: Field(PREFIX + name, Kind.TEXT if name == "tier" else Kind.NUMBER, "data", optional=True)
    for name in NAMES
}
"""What conditions may ask of the customer of an event."""
MOST_CUSTOMERS: Final = 100_000
"""Customers of a partition; of more, those are forgotten of whom nothing was said for longest."""
_ROOM: Final = MOST_CUSTOMERS // 10
KEPT: Final = 3
_DAY_MS: Final = 86_400_000
HOLDS_MS: Final = 365 * _DAY_MS
"""How long it holds."""
_FORGETS_MS: Final = 400 * _DAY_MS
_SWEEPS_MS: Final = 30 * _DAY_MS

Record: TypeAlias = tuple[bytes, bytes | None]
Floor: TypeAlias = tuple[int, int]
"""What is older was forgotten: a time in milliseconds, and what orders customers of one moment."""


class Valuation(msgspec.Struct, array_like=True, frozen=True):
    """
    What one event said.

    Attributes:
        time: When, in milliseconds since 1970.
        tie: Orders those of one moment: a hash of what names the event.
        tier: By lifetime value.
        churn_risk: Probability to leave; None: no model may be used.
        value: Lifetime value so far.
    """

    time: int
    tie: int
    tier: str | None = None
    churn_risk: float | None = None
    value: float | None = None

    def said(self) -> dict[str, Any]:
        """Return what it says, by the names of cases."""
        return {name: found for name in NAMES if (found := getattr(self, name)) is not None}

    def fields(self) -> dict[str, Any]:
        """Return the same by the names of conditions."""
        return {PREFIX + name: found for name, found in self.said().items()}


def valuation_of(time: int, name: str, values: Mapping[str, Any]) -> Valuation:
    """Return what an event of a name said."""
    return Valuation(
        time, crc32(name.encode("utf-8", "surrogatepass")), values.get("tier"), values.get("churn_risk"),
        values.get("clv"),
    )  # fmt: skip


class _Saved(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a customer as of a step, and what was before it; the newest last."""

    step: int
    now: msgspec.Raw
    before: msgspec.Raw


_encode: Final = msgspec.msgpack.Encoder().encode
_read: Final = msgspec.msgpack.Decoder(list[Valuation]).decode
_decode_saved: Final = msgspec.msgpack.Decoder(_Saved).decode
_NONE: Final = _encode([])


class Valuations:
    """
    What is known of the customers of one partition.

    Attributes:
        floor: What is older was forgotten; to be saved where it says that the step is finished.
    """

    def __init__(self, most: int = MOST_CUSTOMERS) -> None:
        self._most = most
        self._known: dict[str, bytes] = {}
        self._before: dict[str, bytes] = {}
        """What customers of whom something is new were worth by what is saved."""
        self._gone: set[str] = set()
        """Whose records are still there."""
        self._swept: int | None = None
        self.floor: Floor | None = None
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def changed(self) -> bool:
        """Whether something has to be saved."""
        return bool(self._before or self._gone)

    def restore(self, records: Iterable[tuple[str, bytes]], step: int, floor: Floor | None) -> None:
        """Take over what was saved, by customer, with the last step that was finished, and the floor as of it."""
        self.floor = floor
        for subject, value in records:
            saved = _decode_saved(value)
            packed = bytes(saved.now if saved.step <= step else saved.before)
            if saved.step > step:
                self._before[subject] = packed
            found = _read(packed)
            if found and self._is_kept(subject, found[-1].time):
                self._known[subject] = packed
            elif subject not in self._before:
                self._gone.add(subject)

    def take(self, subject: str, one: Valuation) -> bool:
        """Take in what was said; tell whether it is the newest of the customer, and new."""
        known = self._known.get(subject, _NONE)
        found = _read(known)
        if one in found or not self._is_kept(subject, one.time):
            return False
        after = sorted([*found, one], key=lambda each: (each.time, each.tie, repr(each)))[-KEPT:]
        if one not in after:
            return False
        self._before.setdefault(subject, known)
        self._known[subject] = _encode(after)
        self._gone.discard(subject)
        if len(self._known) > self._most:
            self._make_room()
        return after[-1] is one

    def as_of(self, subject: str, time: int) -> Valuation | None:
        """Return what was known of a customer at a time; None: nothing, or too long ago."""
        known = self._known.get(subject)
        found = [one for one in _read(known) if one.time <= time] if known else []
        return found[-1] if found and time - found[-1].time <= HOLDS_MS else None

    def newest(self, subject: str) -> Valuation | None:
        """Return what is known of a customer by now; None: nothing."""
        known = self._known.get(subject)
        return _read(known)[-1] if known else None

    def expire(self, until: int) -> None:
        """Forget what was said long before a moment, now and then."""
        if self._swept is None or until - self._swept >= _SWEEPS_MS:
            self._swept = until
            self._forget_below((until - _FORGETS_MS, 0))

    def erase(self, is_erased: Callable[[str, int], bool]) -> None:
        """Forget what was said of customers, by their name and its time."""
        for subject in [one for one in self._known if is_erased(one, 0)]:
            known = self._known[subject]
            found, before = _read(known), _read(self._before.get(subject, known))
            left = [one for one in found if not is_erased(subject, one.time)]
            if not left:
                self._drop(subject)
            elif left != found:
                self._known[subject] = _encode(left)
                self._before[subject] = _encode([one for one in before if not is_erased(subject, one.time)])

    def records(self, step: int) -> Iterator[tuple[str, bytes | None]]:
        """Yield what is to be saved of a step, by customer: before it is said that the step is finished."""
        for subject, before in self._before.items():
            now = self._known.get(subject)
            yield subject, None if now is None else _encode(_Saved(step, msgspec.Raw(now), msgspec.Raw(before)))
        self._before = {}

    def take_forgotten(self) -> int:
        """Return how many customers had no room since the last call."""
        found, self._forgotten = self._forgotten, 0
        return found

    def tombstones(self) -> list[str]:
        """Return whose records are to be deleted: after it is said that the step is finished."""
        gone, self._gone = sorted(self._gone), set()
        return gone

    def _make_room(self) -> None:
        oldest = sorted(self._place(subject, _read(known)[-1].time) for subject, known in self._known.items())
        self._forgotten += self._forget_below(oldest[min(_ROOM, len(oldest) // 2)])

    def _forget_below(self, floor: Floor) -> int:
        self.floor = floor if self.floor is None else max(self.floor, floor)
        gone = [one for one, known in self._known.items() if not self._is_kept(one, _read(known)[-1].time)]
        for subject in gone:
            self._drop(subject)
        return len(gone)

    def _drop(self, subject: str) -> None:
        del self._known[subject]
        self._before.pop(subject, None)
        self._gone.add(subject)

    def _is_kept(self, subject: str, time: int) -> bool:
        return self.floor is None or self._place(subject, time) >= self.floor

    @staticmethod
    def _place(subject: str, time: int) -> Floor:
        return time, crc32(subject.encode("utf-8", "surrogatepass"))
