"""What is sent of cases to others than the desk: events as channels send them, and messages for other systems."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from streams.events.types import ENVELOPE_FIELDS, data_fields
from streams.kpis.language.fields import OWN
from streams.loop.files import CaseChange
from streams.loop.rows import CaseRow
from streams.relations.facts import Fact, moment_of

CHANNEL: Final = "call_center"
"""Where events are sent of cases that came over no channel."""

_encode: Final = msgspec.json.Encoder().encode


def channel_of(event: Fact) -> str:
    """Return the channel over which an event of ours goes."""
    return str(event.values.get("channel", CHANNEL))


def encoded(subject: str, event: Fact) -> bytes:
    """Return an event of ours as its channel sends it: the same bytes each time."""
    attributes: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    data: dict[str, Any] = {}
    fields = data_fields(event.type)
    for name, value in event.values.items():
        if name in fields:
            data[name] = moment_of(int(value)) if fields[name].kind == "time" else value
        elif name in ENVELOPE_FIELDS:
            attributes[name] = value
        elif name.startswith(OWN):
            labels[name.removeprefix(OWN)] = value
    envelope: Mapping[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "time": moment_of(event.time),
        "subject": subject,
        **attributes,
        "channel": channel_of(event),
        **({"labels": labels} if labels else {}),
        "data": data,
    }
    return _encode(envelope)


class CaseMessage(msgspec.Struct, frozen=True, kw_only=True, tag="case", tag_field="about"):
    """
    A change of a case, as webhooks are sent it; times in milliseconds since 1970.

    Attributes:
        id: Names the change for ever: what comes again under the same id is the same.
        what: The type of the event that made it.
        refused: Whether it was not taken, since the case was another one by then.
        published: Unix s.
    """

    id: str
    what: str
    at: int
    refused: bool
    by: str
    published: float
    case: CaseRow


def message_of(change: CaseChange, row: CaseRow, published: float) -> CaseMessage:
    """Return the message of a change that an event has made."""
    event = change.event
    if event is None:
        raise ValueError(f"case {row.case_id}: no event has made this change")
    return CaseMessage(
        id=f"{event.source} {event.id}",
        what=event.type,
        at=event.time,
        refused=not change.taken,
        by=str(event.values.get("agentid", "")),
        published=published,
        case=row,
    )


decode_message: Final = msgspec.json.Decoder(CaseMessage).decode
