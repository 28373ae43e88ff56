"""
JSON Schemas of all event types, generated from the structs, for producers who do not write Python.

    schemas/envelope/1.json                       attributes of every event; grows, never breaks
    schemas/events/survey/answered/1-0-0.json     one type, one version: never changed once published
    schemas/examples/survey/answered/1-0-0/good/  records that are accepted
    schemas/examples/survey/answered/1-0-0/bad/   records that are refused, with the reason and the field
    schemas/asyncapi.yaml                         the topics that carry them

Versions are SchemaVer, MODEL-REVISION-ADDITION. A schema says a little less than decoding: a rating written as text
is held against its scale by decoding only.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from streams.events import asyncapi, compatibility, examples
from streams.events.decode import decode_stored
from streams.events.derived import shipped
from streams.events.envelope import ZERO_BASED_METRICS, needs_of, schema_file, schema_pattern, version_of, versions_of
from streams.events.refusal import Refusal
from streams.events.scalars import OwnLabels
from streams.events.types import ENVELOPE_FIELDS, EVENT_TYPES, FieldInfo, data_fields, data_of, fields_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ENVELOPE: Final = "envelope/1.json"
PUBLISHED: Final = (*EVENT_TYPES, *sorted(one.name for one in shipped()))
"""The event types that there are schemas of: all but those of a user's own relations."""

_TIME_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})$"
_RATING_PATTERN: Final = "^([0-9]|[۰-۹]|[٠-٩]){1,3}$"
_JSON_TYPES: Final = {"text": "string", "enum": "string", "time": "string", "bool": "boolean"}


def schema_path(event_type: str) -> str:
    """Return the path of a type's current schema below the schema folder."""
    return schema_file(event_type, version_of(event_type))


def envelope_schema() -> dict[str, Any]:
    """Describe the attributes that all events share."""
    return {
        "$schema": DIALECT,
        "title": "Envelope of a touchpoint event",
        "description": "CloudEvents 1.0 in structured JSON. Unknown attributes are ignored.",
        "type": "object",
        "required": [name for name, field in ENVELOPE_FIELDS.items() if field.required] + ["data"],
        "properties": {
            **{
                name: {"type": "string", "description": field.description} if name == "type" else _property(field)
                for name, field in ENVELOPE_FIELDS.items()
            },
            "labels": _own_labels(),
            "data": {"type": "object"},
        },
    }


def _own_labels() -> dict[str, Any]:
    """Describe the map of own labels as the decoder takes it; null is as good as none."""
    described = msgspec.json.schema(OwnLabels)
    return {**described, "type": ["object", "null"]}


def event_schema(event_type: str) -> dict[str, Any]:
    """
    Describe the events of one type.

    Raises:
        KeyError: There is no such type.
    """
    fields, needed = data_fields(event_type), needs_of(event_type)
    data: dict[str, Any] = {
        "type": "object",
        "required": [name for name, field in fields.items() if field.required],
        "properties": {name: _property(field) for name, field in fields.items()},
    }
    if "score" in fields and fields["score"].rating:
        data["allOf"] = list(_rating_rules(fields))
    return {
        "$schema": DIALECT,
        "title": event_type,
        "description": " ".join((data_of(event_type).__doc__ or "").split()),
        "x-schemaver": version_of(event_type),
        # Wrapped, since older dialects ignore what stands beside a reference.
        "allOf": [{"$ref": "../" * schema_path(event_type).count("/") + ENVELOPE}],
        **({"required": [*needed]} if needed else {}),
        "properties": {
            "type": {"const": event_type},
            "dataschema": {"pattern": schema_pattern(event_type, versions_of(event_type))},
            **{name: _property(fields_of(event_type)[name]) for name in needed},
            "data": data,
        },
    }


def generated() -> dict[str, str]:
    """Return the text of every generated file by its path below the schema folder."""
    files = {ENVELOPE: _json(envelope_schema()), "asyncapi.yaml": asyncapi.document(schema_paths(), EVENT_TYPES)}
    for event_type in PUBLISHED:
        files[schema_path(event_type)] = _json(event_schema(event_type))
        folder = f"examples/{_folder(event_type)}/{version_of(event_type)}"
        for name, record in examples.good(event_type).items():
            files[f"{folder}/good/{name}.json"] = _json(record)
        for name, example in examples.bad(event_type).items():
            files[f"{folder}/bad/{name}.json"] = _json(example)
    return files


def schema_paths() -> dict[str, str]:
    """Return the path of every type's current schema, by type."""
    return {event_type: schema_path(event_type) for event_type in PUBLISHED}


def write(root: Path) -> list[str]:
    """
    Write the generated files below `root`, the schema folder; files of earlier versions stay.

    Returns:
        The paths of the files that were changed.

    Raises:
        OSError: A file cannot be written.
    """
    changed = []
    for path, text in generated().items():
        file = root / path
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        changed.append(path)
    return changed


def check(root: Path) -> list[str]:
    """
    Compare the folder with what the types say, and hold every example, also hand-written ones, against decoding.

    Returns:
        What is wrong; empty if nothing is.
    """
    problems = []
    for path, text in generated().items():
        file = root / path
        if not file.exists():
            problems.append(f"{path}: missing; generate the schemas")
        elif file.read_text(encoding="utf-8") != text:
            problems.append(f"{path}: differs from the types; generate the schemas, as a new version if published")
    return problems + check_versions(root) + check_examples(root)


def check_versions(root: Path) -> list[str]:
    """Compare the versions in the folder with those that events may name in `dataschema`."""
    known = {schema_file(event_type, version) for event_type in PUBLISHED for version in versions_of(event_type)}
    there = {file.relative_to(root).as_posix() for file in (root / "events").rglob("*.json")}
    return [f"{path}: no type has this version; register it as an earlier one" for path in sorted(there - known)] + [
        f"{path}: an earlier version of its type, but not there" for path in sorted(known - there - {*generated()})
    ]


def check_examples(root: Path) -> list[str]:
    """
    Decode every example of every type's current version.

    A good one must be accepted; a bad one must be refused for the very reason, at the very path, that it states.
    """
    problems = []
    for event_type in PUBLISHED:
        folder = root / "examples" / _folder(event_type) / version_of(event_type)
        for kind in ("good", "bad"):
            files = sorted((folder / kind).glob("*.json"))
            if not files:
                problems.append(f"examples of {event_type}: there is no {kind} one")
            for file in files:
                name = file.relative_to(root).as_posix()
                problem = _good(file, event_type) if kind == "good" else _bad(file)
                if problem:
                    problems.append(f"{name}: {problem}")
    return problems


def check_compatibility(root: Path, published: Mapping[str, str]) -> list[str]:
    """
    Hold the folder against what was published (text by path), and versions against their predecessors.

    Published versions are immutable, the envelope only grows, and a version number must announce its changes.
    """
    current = {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in sorted(root.rglob("*.json"))
    }
    return compatibility.problems(current, published)


def problems(root: Path, published: Mapping[str, str] | None = None) -> list[str]:
    """Run all checks of the schema folder; the comparison with what was published only if it is given."""
    found = check(root)
    return found if published is None else found + check_compatibility(root, published)


def _good(file: Path, event_type: str) -> str:
    event = decode_stored(file.read_bytes())
    if isinstance(event, Refusal):
        return f"refused as {event.reason} at {event.path or 'the record'}: {event.message}"
    return "" if event.type == event_type else f"is of type {event.type}"


def _bad(file: Path) -> str:
    try:
        example = msgspec.json.decode(file.read_bytes(), type=examples.BadExample)
    except msgspec.MsgspecError as error:
        return f"is not readable: {error}"
    event = decode_stored(examples.record_of(example))
    if not isinstance(event, Refusal):
        return "was accepted"
    if (event.reason, event.path) != (example.reason, example.path):
        return f"states {example.reason} at {example.path!r}, but was refused as {event.reason} at {event.path!r}"
    return ""


def _folder(event_type: str) -> str:
    return "/".join(event_type.split(".")[1:])


def _property(field: FieldInfo) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if field.rating:
        return {
            "description": "whole number, as number or as text in ASCII, Persian or Arabic-Indic digits",
            "anyOf": [
                {"type": "integer", "minimum": int(field.low or 0), "maximum": int(field.high or 0)},
                {"type": "string", "pattern": _RATING_PATTERN},
            ],
        }
    name = _JSON_TYPES.get(field.kind) or ("integer" if field.integer else "number")
    found["type"] = [name, "null"] if field.nullable else name
    if field.description:
        found["description"] = field.description
    if field.values:
        found["enum"] = [*field.values, None] if field.nullable else list(field.values)
    if field.kind == "time":
        found |= {"format": "date-time", "pattern": _TIME_PATTERN}
    low, high = ("minLength", "maxLength") if field.kind == "text" else ("minimum", "maximum")
    if field.low is not None:
        found[low] = _plain(field.low)
    if field.high is not None:
        found[high] = _plain(field.high)
    if field.pattern:
        found["pattern"] = field.pattern
    if field.default is not None:
        found["default"] = field.default
    return found


def _rating_rules(fields: dict[str, FieldInfo]) -> Iterator[dict[str, Any]]:
    for points in fields["scale"].values:
        yield {
            "if": {"properties": {"scale": {"const": points}}, "required": ["scale"]},
            "then": {"properties": {"score": {"maximum": points}}},
        }
    if "metric" not in fields:
        yield {"properties": {"score": {"minimum": 1}}}
        return
    yield {
        "if": {"properties": {"metric": {"enum": sorted(ZERO_BASED_METRICS)}}, "required": ["metric"]},
        "then": {"properties": {"scale": {"const": 10}}},
        "else": {"properties": {"score": {"minimum": 1}}},
    }


def _plain(number: float) -> float:
    return int(number) if number == int(number) else number


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
