"""
Why a record was refused, said so that its sender can mend it: a reason from a closed list, the field, what came.

Decoding only says no. The explanation is found afterwards, field by field, with the very types the decoder uses.
`got` never repeats what customers wrote: it shows numbers, names and times, and for longer texts their length.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from streams.events.envelope import ZERO_BASED_METRICS, needs_of, schema_pattern, versions_of, whole_rating
from streams.events.foreign import looks_like, looks_like_json, not_json, why_no_json
from streams.events.limits import CONTRACT, Excess, RecordLimits, excess
from streams.events.scalars import LABEL_LENGTH, LABEL_NAME, MOST_LABELS, LabelName, LabelText
from streams.events.shown import cut, expectation, is_huge, nearest_name, nearest_type, show
from streams.events.types import (
    DERIVED_TYPES,
    ENVELOPE_FIELDS,
    EVENT_TYPES,
    Data,
    Envelope,
    FieldInfo,
    data_fields,
    data_of,
    derived_union,
    fields_of,
    struct_of,
    wire_union,
)
from streams.events.visible import spelled_out

Reason: TypeAlias = Literal[
    "null_record",
    "empty_record",
    "too_large",
    "too_deep",
    "too_many_values",
    "number_too_long",
    "not_utf8",
    "not_json",
    "not_an_object",
    "unknown_type",
    "missing_field",
    "wrong_type",
    "not_in_enum",
    "out_of_range",
    "bad_length",
    "bad_format",
    "bad_time",
    "bad_rating",
    "duplicate_key",
    "invalid",
    # Given by intake, which knows the clock.
    "time_too_old",
    "time_in_future",
    # Given by intake, which remembers what came: no fault of the record as such.
    "conflict",
    # Given by the store agent: valid and counted, but ClickHouse does not take its row.
    "refused_by_store",
]
REASONS: Final[tuple[str, ...]] = get_args(Reason)

_PATH: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_decode: Final = msgspec.json.Decoder(wire_union()).decode
_SCHEMA: Final = ENVELOPE_FIELDS["dataschema"]
_LABEL: Final = FieldInfo(
    name="labels", part="envelope", kind="text", required=False, nullable=False, low=1, high=LABEL_LENGTH
)
_NOT_READ: Final = object()


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """
    One refused record of a batch.

    `index` is its place in the batch, `path` the field (`data.score`; empty: the record as a whole),
    `got` and `expected` what came there and what may, `message` both in a sentence.
    """

    index: int
    reason: str
    path: str
    got: str
    expected: str
    message: str


class _Field(NamedTuple):
    """A field that is looked at by itself, in an object that holds nothing else."""

    name: str
    required: bool
    info: FieldInfo
    holder: type[msgspec.Struct]


class _Pairs(dict[str, Any]):
    """An object that remembers which of its keys came twice."""

    repeated: str | None = None


def explain(index: int, value: bytes | None, limits: RecordLimits = CONTRACT, *, derived: bool = False) -> Refusal:
    """
    Say why decoding under some limits refused `value`, as an event that was sent or derived.

    Never raises: what has no reason of its own is `invalid`, with the decoder's own words.
    """
    try:
        return next(_findings(index, value, limits, derived=derived))
    except RecursionError:
        return _too_deep(index, "nesting beyond the stack", limits)


def of_excess(index: int, beyond: Excess) -> Refusal:
    """Say which limit a record exceeds."""
    return Refusal(index, beyond.reason, "", beyond.got, beyond.expected, beyond.message)


def _findings(index: int, value: bytes | None, limits: RecordLimits, *, derived: bool) -> Iterator[Refusal]:
    if value is None:
        yield _refuse(index, "null_record", "", "null", "a JSON object", "the record has no value")
        return
    if not value or value.isspace():
        got = f"{len(value)} blanks" if value else "0 bytes"
        yield _refuse(index, "empty_record", "", got, "a JSON object", "the record is empty")
    if (beyond := excess(value, limits)) is not None:
        yield of_excess(index, beyond)
    yield from _of_json(index, value, derived=derived)


def _of_json(index: int, value: bytes, *, derived: bool) -> Iterator[Refusal]:
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        got = f"byte 0x{value[error.start]:02x} at {error.start}"
        message = f"the record is not UTF-8: {got}{_hint(looks_like(value))}"
        yield _refuse(index, "not_utf8", "", got, "UTF-8 text", message)
        return
    try:
        record = msgspec.json.decode(value)
    except msgspec.ValidationError:
        # A number beyond a float: which field it is in, the walk below finds out. What follows it was not read yet.
        record = _NOT_READ
    except msgspec.DecodeError as error:
        yield _not_json(index, value, _plain(error), error)
        return
    if record is _NOT_READ:
        try:
            record = json.loads(text)
            # This reader takes halves of surrogate pairs, which neither the walk nor a dead letter can carry.
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            yield _not_json(index, value, "JSON is malformed: half a surrogate pair", error)
            return
        except json.JSONDecodeError as error:
            yield _not_json(index, value, f"JSON is malformed: {error}", error)
            return
    if not isinstance(record, dict):
        got = show(record)
        message = f"the record is no object but {got}{_hint(looks_like_json(record))}"
        yield _refuse(index, "not_an_object", "", got, "a JSON object", message)
        return
    yield from _of_event(index, record, derived=derived)
    yield from _of_names(index, text)
    yield in_the_decoders_words(index, value, derived=derived)


def _of_names(index: int, text: str) -> Iterator[Refusal]:
    record = json.loads(text, object_pairs_hook=_pairs)
    for path, part in (("", record), ("data.", record.get("data"))):
        if isinstance(part, _Pairs) and part.repeated is not None:
            key = cut(part.repeated)
            yield _refuse(
                index, "duplicate_key", path + key, "the key twice", "the key once", f"{path}{key} came twice"
            )


def _not_json(index: int, value: bytes, got: str, error: Exception) -> Refusal:
    message = f"the record is not JSON: {not_json(value, error)}"
    return _refuse(index, "not_json", "", got, "a JSON object", message)


def _hint(words: str) -> str:
    return f"; it looks like {words}" if words else ""


def _of_event(index: int, record: Mapping[str, Any], *, derived: bool) -> Iterator[Refusal]:
    name = record.get("type")
    if "type" not in record:
        missing = _missing(index, "type", "an event type", record, ENVELOPE_FIELDS)
        yield msgspec.structs.replace(missing, message=missing.message + _hint(looks_like_json(record)))
        return
    if not isinstance(name, str):
        yield _refuse(index, "wrong_type", "type", show(name), "text", f"type is {show(name)}, not text")
        return
    if name in (EVENT_TYPES if derived else DERIVED_TYPES):
        message = f"{name} is {'sent by channels, not derived' if derived else 'derived of other events, not sent'}"
        yield _refuse(index, "unknown_type", "type", name, "a derived type" if derived else "a type to send", message)
        return
    if name not in (DERIVED_TYPES if derived else EVENT_TYPES):
        near = nearest_type(name[:128])
        hint = f" (did you mean {near}?)" if near else ""
        got = cut(name)
        yield _refuse(
            index, "unknown_type", "type", got, near or "a known event type", f"there is no event type {got}{hint}"
        )
        return
    yield from _of_fields(index, "", record, _envelope_of(struct_of(name)))
    yield from _of_labels(index, record.get("labels"))
    data = record.get("data")
    if "data" not in record:
        yield _missing(index, "data", "an object", record, ENVELOPE_FIELDS)
    elif not isinstance(data, dict):
        yield _refuse(index, "wrong_type", "data", show(data), "an object", f"data is {show(data)}, not an object")
    else:
        fields = _data_of(name, data_of(name))
        yield from _of_fields(index, "data.", data, fields)
        if "score" in fields and fields["score"].info.rating:
            yield from _of_rating(index, data)


@cache
def _envelope_of(struct: type[Envelope]) -> Mapping[str, _Field]:
    schema = msgspec.structs.replace(_SCHEMA, pattern=schema_pattern(struct.type, versions_of(struct.type)))
    known = {name: fields_of(struct.type)[name] for name in needs_of(struct.type)}
    return _fields_of(struct, {**ENVELOPE_FIELDS, **known, "dataschema": schema})


@cache
def _data_of(event_type: str, data: type[Data]) -> Mapping[str, _Field]:
    return _fields_of(data, data_fields(event_type))


def _fields_of(struct: type[msgspec.Struct], fields: Mapping[str, FieldInfo]) -> dict[str, _Field]:
    return {
        field.encode_name: _Field(
            field.encode_name, field.required, fields[field.encode_name], _holder(field.encode_name, field.type)
        )
        for field in msgspec.structs.fields(struct)
        if field.encode_name in fields
    }


@cache
def _holder(name: str, type_: Any) -> type[msgspec.Struct]:
    """Return what holds one field: read in one, a value costs a fraction of what it does by its bare type."""
    return msgspec.defstruct("Holder", [(name, type_)])


def _of_fields(index: int, prefix: str, part: Mapping[str, Any], fields: Mapping[str, _Field]) -> Iterator[Refusal]:
    for name, required, info, holder in fields.values():
        path = prefix + name
        if name not in part:
            if required:
                yield _missing(index, path, expectation(info), part, fields)
            continue
        if info.rating:
            if whole_number(part[name]) is None:
                got = show(part[name])
                yield _refuse(index, "bad_rating", path, got, expectation(info), f"{path} is {got}: not a whole number")
            continue
        try:
            msgspec.convert({name: part[name]}, holder)
        except msgspec.ValidationError:
            yield _of_value(index, path, part[name], info)


def _of_labels(index: int, labels: Any) -> Iterator[Refusal]:
    if labels is None:
        return
    got = show(labels)
    if not isinstance(labels, dict):
        yield _refuse(index, "wrong_type", "labels", got, "an object", f"labels is {got}, not an object")
        return
    if len(labels) > MOST_LABELS:
        expected = f"at most {MOST_LABELS} names"
        yield _refuse(index, "bad_length", "labels", got, expected, f"labels is {got}, expected {expected}")
        return
    for name, value in labels.items():
        if not _reads(LabelName, name):
            got, expected = show(name), f"names like {LABEL_NAME}"
            yield _refuse(
                index, "bad_format", "labels", got, expected, f"labels has the name {got}, expected {expected}"
            )
        elif not _reads(LabelText, value):
            yield _of_value(index, f"labels.{name}", value, _LABEL)


def _reads(type_: Any, value: Any) -> bool:
    try:
        msgspec.convert({"value": value}, _holder("value", type_))
    except msgspec.ValidationError:
        return False
    return True


def _of_value(index: int, path: str, value: Any, info: FieldInfo) -> Refusal:
    expected = expectation(info)
    got = show(value)
    reason: Reason = "wrong_type"
    if info.kind == "time":
        reason = "bad_time"
    elif info.kind == "numeric" and isinstance(value, int | float) and not isinstance(value, bool):
        beyond = (info.low is not None and value < info.low) or (info.high is not None and value > info.high)
        if info.values:
            reason = "not_in_enum"
        elif beyond or abs(value) == float("inf"):
            reason = "out_of_range"
    elif info.kind == "enum" and isinstance(value, str):
        reason = "not_in_enum"
    elif info.kind == "text" and isinstance(value, str):
        too_short = len(value) < (info.low or 0)
        too_long = info.high is not None and len(value) > info.high
        reason = "bad_length" if too_short or too_long else "bad_format"
        got = f"text of {len(value)} characters" if reason == "bad_length" else got
    return _refuse(index, reason, path, got, expected, f"{path} is {got}, expected {expected}")


def _of_rating(index: int, data: Mapping[str, Any]) -> Iterator[Refusal]:
    scale, zero_based = data["scale"], data.get("metric") in ZERO_BASED_METRICS
    if zero_based and scale != 10:
        yield _refuse(
            index, "not_in_enum", "data.scale", str(scale), "10", f"{data['metric']} is asked on the scale of 10"
        )
    score = whole_number(data["score"])
    lowest = 0 if zero_based else 1
    if score is not None and not lowest <= score <= scale:
        expected = f"{lowest} to {scale}"
        got = show(score)
        yield _refuse(
            index, "out_of_range", "data.score", got, expected, f"data.score is {got}, its scale goes from {expected}"
        )


def bad_time(at: datetime, earliest: datetime, latest: datetime) -> Refusal:
    """Say that a time is outside the bounds that the clock sets."""
    early = at < earliest
    got = at.isoformat()
    expected = f"not before {earliest.isoformat()}" if early else f"not after {latest.isoformat()}"
    reason: Reason = "time_too_old" if early else "time_in_future"
    return _refuse(0, reason, "time", got, expected, f"time {got} is out of bounds: expected {expected}")


def whole_number(value: Any) -> int | None:
    """Read a rating off any JSON value; None if it holds none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str) or is_huge(value):
        return None
    return whole_rating(value)


def _refuse(index: int, reason: Reason, path: str, got: str, expected: str, message: str) -> Refusal:
    return Refusal(index, reason, spelled_out(path), spelled_out(got[:200]), expected, spelled_out(message))


def _too_deep(index: int, got: str, limits: RecordLimits) -> Refusal:
    expected = f"at most {limits.depth} levels"
    return _refuse(index, "too_deep", "", got, expected, f"the record is nested too deep: {got}")


def _missing(
    index: int, path: str, expected: str, part: Mapping[str, Any], known: Mapping[str, _Field | FieldInfo]
) -> Refusal:
    name = path.rpartition(".")[2]
    near = nearest_name(name, (key for key in part if key not in known))
    hint = f" (there is {near})" if near else ""
    return _refuse(index, "missing_field", path, "nothing", expected, f"{path} is missing{hint}")


def conflicting(source: str, event_id: str) -> Refusal:
    """Say that an event repeats source and id of one that said something else."""
    return Refusal(
        index=0,
        reason="conflict",
        path="id",
        got=show(event_id),
        expected="an id that its source gives to one event alone",
        message=f"source {show(source)} has sent something else with the id {show(event_id)} before, and that counts",
    )


def in_the_decoders_words(index: int, value: bytes, *, derived: bool = False) -> Refusal:
    """Say in a few words why decoding refused `value`, which is within the limits; costs as much as to decode it."""
    try:
        msgspec.json.decode(value, type=derived_union()) if derived else _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        found = _PATH.search(str(error))
        path = found["path"] if found else ""
        return _refuse(index, "invalid", path, "", "", _plain(error))
    return _refuse(index, "invalid", "", "", "", "decoding refused the record once, and accepts it now")


def _pairs(pairs: list[tuple[str, Any]]) -> _Pairs:
    found = _Pairs(pairs)
    if len(found) < len(pairs):
        found.repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
    return found


def _plain(error: Exception) -> str:
    return why_no_json(error)[:200]
