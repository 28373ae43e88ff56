"""Which records of a request may go to Kafka: by the code that judges them behind it, for the same reasons."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from streams.collector.access import Key
from streams.events.decode import Refusal, decode_batch
from streams.events.intake import EARLIEST, FUTURE_TOLERANCE, Intake
from streams.events.types import Envelope
from streams.producers.client import MAX_EVENT_BYTES

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TRUE: Final = msgspec.Raw(b"true")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


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


def check(records: Sequence[bytes], key: Key, now: float) -> Checked:
    """
    Decode and validate records, and hold them against what their sender may send.

    An event that is right but for its missing time gets this one (`now`, Unix s), and says so in `timeimputed`.
    """
    payloads = list(records)
    events, refused = decode_batch(payloads)
    refusals = {refusal.index: refusal for refusal in refused}
    timeless = [index for index, found in refusals.items() if (found.reason, found.path) == ("missing_field", "time")]
    for index in timeless:
        timed = _with_time(payloads[index], now)
        (event,), again = decode_batch([timed])
        if event is None:
            refusals[index] = msgspec.structs.replace(again[0], index=index)
        else:
            payloads[index], events[index] = timed, event
            del refusals[index]
    latest = _EPOCH + timedelta(seconds=now) + FUTURE_TOLERANCE
    for index, event in enumerate(events):
        if event is None:
            continue
        found = _of_size(index, payloads[index]) or key.refusal(index, event)
        if found is None and not EARLIEST <= event.time <= latest:
            found = _of_time(index, payloads[index], now)
        if found is not None:
            refusals[index], events[index] = found, None
    return Checked(payloads, events, refusals)


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
