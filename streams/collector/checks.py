"""Which records of a request may go to Kafka: by the code that judges them behind it, for the same reasons."""

from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from streams.collector.access import Key
from streams.events.decode import Refusal, decode_batch, decode_one
from streams.events.intake import EARLIEST, FUTURE_TOLERANCE, Intake
from streams.events.limits import CONTRACT, RecordLimits, excess
from streams.events.refusal import explain, in_the_decoders_words, of_excess
from streams.events.types import Envelope
from streams.privacy.records import Protection, protect
from streams.producers.client import MAX_EVENT_BYTES
from streams.producers.foresight import foreseen

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRUE: Final = msgspec.Raw(b"true")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


_TIMELESS: Final = ("missing_field", "time")
EXPLAINED_FREE: Final = 20
"""Refusals that are explained in full in any request."""
EXPLAINED_BYTES: Final = 500
"""And one more for so many bytes of it."""
EXPLAINED_LONGEST: Final = 8_192
"""Longest event of which it is explained in full why it was refused."""
SLICE_RECORDS: Final = 16
SLICE_BYTES: Final = 65_536


class _Timed(msgspec.Struct):
    time: Any = msgspec.UNSET


_timed: Final = msgspec.json.Decoder(_Timed).decode


class _Named(msgspec.Struct):
    id: Any = None


_named: Final = msgspec.json.Decoder(_Named).decode


class Checked(NamedTuple):
    """The records of a request, in its order; an event is None where it was refused."""

    payloads: list[bytes]
    events: list[Envelope | None]
    refusals: dict[int, Refusal]

    def ids(self) -> list[str | None]:
        """Return the ids, also of refused events where one can be read."""
        return [
            _id_of(payload) if event is None else event.id
            for payload, event in zip(self.payloads, self.events, strict=True)
        ]


def without_personal_data(checked: Checked, protection: Protection | None) -> Checked:
    """Return records as they go to Kafka; one that breaks the contract without its personal data is refused by now."""
    found = protect(protection, [None if event is None else value for value, event in zip(*checked[:2], strict=True)])
    if not found.kinds:
        return checked
    payloads, events, refusals = list(checked.payloads), list(checked.events), dict(checked.refusals)
    for index in found.kinds:
        payload = found.values[index]
        event = decode_one(payload)
        payloads[index] = payload or b""
        if isinstance(event, Refusal):
            events[index], refusals[index] = None, msgspec.structs.replace(event, index=index)
        else:
            events[index] = event
    return Checked(payloads, events, refusals)


class Checking:
    """
    Decodes and validates the records of a request, slice by slice, and holds them against what their sender may send.

    An event that is right but for its missing time gets this one (`now`, Unix s), and says so in `timeimputed`.

    Refusing costs more than taking: to say why is a second reading, in Python. So of a request only so many refusals
    are explained with all details as its size can pay for; of the others it gets the decoder's words.
    """

    def __init__(self, key: Key, now: float, size: int, limits: RecordLimits = CONTRACT) -> None:
        self.checked = Checked([], [], {})
        self._key = key
        self._limits = limits
        self._now = now
        self._latest = _EPOCH + timedelta(seconds=now) + FUTURE_TOLERANCE
        self._explanations = EXPLAINED_FREE + size // EXPLAINED_BYTES

    def add(self, records: Sequence[bytes]) -> None:
        """Check the next records."""
        first = len(self.checked.payloads)
        payloads = list(records)
        # A record that is beyond a limit is not even read.
        read = [
            None if len(payload) > MAX_EVENT_BYTES or excess(payload, self._limits) else payload for payload in payloads
        ]
        events, refused = decode_batch(
            read, lambda index, value: self._explain(index, payloads[index] if value is None else value)
        )
        refusals = {refusal.index: refusal for refusal in refused}
        timeless = [index for index, found in refusals.items() if (found.reason, found.path) == _TIMELESS]
        for index in timeless:
            timed = _with_time(payloads[index], self._now)
            (event,), again = decode_batch([timed], self._explain)
            if event is None:
                refusals[index] = msgspec.structs.replace(again[0], index=index)
            else:
                payloads[index], events[index] = timed, event
                del refusals[index]
        for index, event in enumerate(events):
            if event is None:
                continue
            found = _of_size(index, payloads[index]) or self._key.refusal(index, event)
            if found is None and not EARLIEST <= event.time <= self._latest:
                found = _of_time(index, payloads[index], self._now)
            if found is not None:
                refusals[index], events[index] = found, None
        self.checked.payloads.extend(payloads)
        self.checked.events.extend(events)
        for index, found in refusals.items():
            self.checked.refusals[first + index] = msgspec.structs.replace(found, index=first + index)

    def _explain(self, index: int, value: bytes | None) -> Refusal:
        assert value is not None
        if (found := _of_size(index, value)) is not None:
            return found
        if (beyond := excess(value, self._limits)) is not None:
            return of_excess(index, beyond)
        if _is_timeless(value):
            return Refusal(index, *_TIMELESS, "nothing", "an RFC 3339 time with offset", "time is missing")
        if self._explanations > 0 and len(value) <= EXPLAINED_LONGEST:
            self._explanations -= 1
            return explain(index, value, self._limits)
        return _brief(index, value)


def warnings_of(
    events: Sequence[Envelope | None], now: float, retention_s: float, touchpoints: Container[str]
) -> dict[int, str]:
    """Say of right events what their senders will miss: by their place, those that `foreseen` says something of."""
    at = _EPOCH + timedelta(seconds=now)
    said = {
        index: foreseen(event, at, retention_s, touchpoints) for index, event in enumerate(events) if event is not None
    }
    return {
        index: "; ".join(f"{kind}: {text}" for kind, text in found.items()) for index, found in said.items() if found
    }


def slices(records: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Cut records into parts of which none takes long to check."""
    start = size = 0
    for place, record in enumerate(records):
        size += len(record)
        if size >= SLICE_BYTES or place - start + 1 >= SLICE_RECORDS:
            yield records[start : place + 1]
            start, size = place + 1, 0
    if start < len(records):
        yield records[start:]


def _is_timeless(value: bytes) -> bool:
    """Return whether it is an object without a time, or a blank one; only of such is all read that it holds."""
    try:
        at = _timed(value).time
        return (at is msgspec.UNSET or at == "") and bool(_members(value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _brief(index: int, value: bytes) -> Refusal:
    try:
        value.decode()
    except UnicodeDecodeError as error:
        said = f"the record is not UTF-8: byte {error.start}"
        return Refusal(index, "not_utf8", "", "", "UTF-8 text", said)
    return in_the_decoders_words(index, value)


def _with_time(payload: bytes, now: float) -> bytes:
    members = _members(payload)
    members["time"] = msgspec.Raw(msgspec.json.encode(datetime.fromtimestamp(now, UTC)))
    members["timeimputed"] = _TRUE
    return msgspec.json.encode(members)


def _of_size(index: int, payload: bytes) -> Refusal | None:
    size = len(payload)
    if size <= MAX_EVENT_BYTES:
        return None
    said = f"the event has {size} bytes"
    return Refusal(index, "too_large", "", f"{size} bytes", f"at most {MAX_EVENT_BYTES} bytes", said)


def _of_time(index: int, payload: bytes, now: float) -> Refusal | None:
    """Ask the intake itself, which knows the bounds and their words."""
    intake = Intake("door", retention_s=float("inf"), dedup_ids=1_000)
    intake.add([payload], [0], now)
    outcome = intake.close()
    return msgspec.structs.replace(outcome.bad[0].refusal, index=index) if outcome and outcome.bad else None


def _id_of(payload: bytes) -> str | None:
    try:
        found = _named(payload).id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, str) and len(found) <= 128 else None
