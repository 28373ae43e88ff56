"""Fields that events carry and no event type has: taken and stored, but in no KPI. Most are misspelt."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.events.types import ENVELOPE_FIELDS, EVENT_TYPES, data_fields
from streams.storage.connection import FAILURES, explain

SAMPLED: Final = 2_000
"""Events of each type that are looked at, of those stored last."""

_STRUCTURE: Final = frozenset({"data", "datacontenttype", "labels"})
"""Attributes that are no fields, but known."""

_ASKED: Final = """
    SELECT type, found.1, found.2, count() FROM (
        SELECT type, payload, data FROM events
        WHERE ingested_at > (SELECT max(ingested_at) FROM events) - INTERVAL 1 DAY
        LIMIT {sampled:UInt32} BY type
    )
    ARRAY JOIN arrayConcat(
        arrayMap(name -> ('envelope', name), arrayDistinct(JSONExtractKeys(payload))),
        arrayMap(name -> ('data', name), arrayDistinct(JSONExtractKeys(data)))) AS found
    GROUP BY ALL"""


@dataclass(frozen=True, slots=True)
class UnknownField:
    """
    A field that no event of a type has.

    Attributes:
        path: Where it stands, e.g. `data.talk_secs`.
        events: Events of the sample that carry it.
        meant: The known field with the most similar name; empty: none is similar.
    """

    type: str
    path: str
    events: int
    meant: str

    def __str__(self) -> str:
        hint = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.path} of {self.type} ({self.events:,} events){hint}"


def unknown_fields(client: Client) -> list[UnknownField]:
    """
    Return the unknown fields of the events stored on the last day, those of most events first.

    At most `SAMPLED` events of each type are looked at.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    try:
        rows = client.query(_ASKED, parameters={"sampled": SAMPLED}).result_rows
    except FAILURES as error:
        raise explain(error, "looking for unknown fields") from error
    found = [one for row in rows if (one := _unknown(*row)) is not None]
    return sorted(found, key=lambda one: (-one.events, one.type, one.path))


def _unknown(event_type: str, place: str, field: str, events: int) -> UnknownField | None:
    if event_type not in EVENT_TYPES:
        return None
    inside, envelope = data_fields(event_type).keys(), ENVELOPE_FIELDS.keys() | _STRUCTURE
    if field in (inside if place == "data" else envelope):
        return None
    here, there = (inside, envelope) if place == "data" else (envelope, inside)
    prefix, other = ("data.", "") if place == "data" else ("", "data.")
    meant = _nearest(field, here)
    if meant:
        return UnknownField(event_type, prefix + field, events, prefix + meant)
    # A field that stands outside of `data`, or inside instead of beside it.
    meant = field if field in there else _nearest(field, there, 0.85)
    return UnknownField(event_type, prefix + field, events, other + meant if meant else "")


def _nearest(field: str, known: Iterable[str], alike: float = 0.7) -> str:
    """Return the known name that is written most alike, at least so much of 1; empty: none is."""
    plain = {"".join(char for char in name.casefold() if char.isalnum()): name for name in sorted(known)}
    near = difflib.get_close_matches("".join(char for char in field.casefold() if char.isalnum()), plain, 1, alike)
    return plain[near[0]] if near else ""
