"""The AsyncAPI 3.0 document: which topic carries what, for people and tools that want to send or listen."""

from collections.abc import Collection, Mapping
from typing import Any, Final

import yaml

from streams.events.refusal import REASONS
from streams.events.touchpoints import CHANNELS

_JSON: Final = "application/cloudevents+json; charset=utf-8"
_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_NUMBER: Final = {"type": ["number", "null"]}
_SECONDS: Final = {"type": "number", "description": "Unix seconds"}


class _Plain(yaml.SafeDumper):
    """Writes equal parts out in full: not every reader of AsyncAPI follows YAML aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def document(schemas: Mapping[str, str], sent: Collection[str]) -> str:
    """
    Write the document as YAML.

    `schemas` gives the path of each event type's schema, seen from the document; `sent` are the types that channels
    send, all others are derived of them.
    """
    text: str = yaml.dump(_document(schemas, sent), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)
    return "# Generated from the event types; do not edit.\n" + text


def _document(schemas: Mapping[str, str], sent: Collection[str]) -> dict[str, Any]:
    events = {_name(event_type): _message(event_type, path) for event_type, path in schemas.items()}
    messages = {name: _reference(f"components/messages/{name}") for name in events}
    of_channels = {_name(event_type) for event_type in sent}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "CX Streams",
            "version": "1.0.0",
            "description": "Touchpoint events in, customer-experience KPIs out.",
        },
        "defaultContentType": _JSON,
        "channels": {
            "touchpoints": {
                "address": "cx.touchpoints.{channel}",
                "title": "Touchpoint events, one topic per channel",
                "description": "Keyed by subject, so that the events of one customer keep their order.",
                "parameters": {"channel": {"enum": list(CHANNELS), "description": "where the customer was met"}},
                "messages": {name: message for name, message in messages.items() if name in of_channels},
            },
            "derived": {
                "address": "cx.touchpoints.derived",
                "title": "What happened between the events of one customer",
                "description": "Keyed by subject. What is said of a matter may be taken back: the same event comes "
                "with data.withdrawn, and another revision after it. Relations of your own add types.",
                "messages": {name: message for name, message in messages.items() if name not in of_channels},
            },
            "dead_letters": {
                "address": "cx.dead_letters",
                "title": "Refused records",
                "description": "Keyed by topic/partition/offset. One that comes twice is the same one.",
                "messages": {"dead_letter": _reference("components/messages/dead_letter")},
            },
            "kpis": {
                "address": "cx.kpis",
                "title": "KPI values",
                "description": "Values are cumulative and revisioned: one that comes twice replaces itself.",
                "messages": {"kpi_record": _reference("components/messages/kpi_record")},
            },
            "alerts": {
                "address": "cx.alerts",
                "title": "Transitions of alerts",
                "description": "Every change of state of every alert, in order per alert; one that comes twice has the "
                "same id. Webhooks are sent the same, but only when an alert fires or ends that nothing holds back.",
                "messages": {"alert": _reference("components/messages/alert")},
            },
        },
        "operations": {
            "take_in": _operation("receive", "touchpoints", "Validate, deduplicate and measure what channels report"),
            "derive": _operation("send", "derived", "Say what became of carts, contacts, promises and so on"),
            "refuse": _operation("send", "dead_letters", "Say what was refused, and why"),
            "publish": _operation("send", "kpis", "Publish what was measured"),
            "alert": _operation("send", "alerts", "Say what is wrong, how sure that is, and what explains it"),
        },
        "components": {
            "messages": {**events, "dead_letter": _dead_letter(), "kpi_record": _kpi_record(), "alert": _alert()}
        },
    }


def _reference(path: str) -> dict[str, str]:
    return {"$ref": f"#/{path}"}


def _operation(action: str, channel: str, summary: str) -> dict[str, Any]:
    return {"action": action, "channel": _reference(f"channels/{channel}"), "summary": summary}


def _message(event_type: str, path: str) -> dict[str, Any]:
    return {"name": event_type, "contentType": _JSON, "payload": {"$ref": f"./{path}"}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


def _dead_letter() -> dict[str, Any]:
    payload = _object(
        {
            "topic": _TEXT,
            "partition": _COUNT,
            "offset": _COUNT,
            "reason": {"type": "string", "enum": list(REASONS)},
            "path": {"type": "string", "description": "the field, such as data.score; empty: the record as a whole"},
            "got": _TEXT,
            "expected": _TEXT,
            "message": _TEXT,
            "payload": {"type": "string", "contentEncoding": "base64", "description": "the bytes as sent"},
            "code_version": _TEXT,
            "at": _SECONDS,
        }
    )
    return {"name": "dead_letter", "contentType": "application/json", "payload": payload}


def _kpi_record() -> dict[str, Any]:
    series = {"kpi": _TEXT, "labels": {"type": "object", "additionalProperties": _TEXT}}
    minute = _object(
        {
            **series,
            "minute": {**_SECONDS, "description": "start of the minute, Unix seconds"},
            "part": _COUNT,
            "revision": _COUNT,
            "n": _COUNT,
            "fields": {"type": "array", "items": {"type": "integer"}},
            "bins": {"type": "object", "additionalProperties": {"type": "integer"}},
        }
    )
    value = _object(
        {
            **series,
            "window": {"type": "string", "enum": ["1m", "5m", "15m", "1h", "24h", "total"]},
            "at": {**_SECONDS, "description": "end of the window, Unix seconds"},
            "value": {**_NUMBER, "description": "null where nothing was observed, never 0 instead"},
            "n": _COUNT,
            "lo": {**_NUMBER, "description": "lower end of the 95 % interval"},
            "hi": {**_NUMBER, "description": "upper end of the 95 % interval"},
            "definition": _TEXT,
            "maturity": {"type": "string", "enum": ["open", "closed"]},
            "revision": _COUNT,
        }
    )
    payload = _object(
        {"at": _SECONDS, "minutes": {"type": "array", "items": minute}, "values": {"type": "array", "items": value}}
    )
    return {"name": "kpi_record", "contentType": "application/json", "payload": payload}


def _alert() -> dict[str, Any]:
    labels = {"type": "object", "additionalProperties": _TEXT}
    state = {"type": "string", "enum": ["inactive", "pending", "firing", "resolved"]}
    contributor = {
        **dict.fromkeys(("value", "baseline", "statistic"), _NUMBER),
        **dict.fromkeys(("n", "baseline_n"), _COUNT),
        "rate_effect": {"type": "number", "description": "share x change of the value: what it does worse"},
        "share_effect": {"type": "number", "description": "change of the share: what there is more or less of"},
        "explained": {"type": "number", "description": "part of the whole's change; 1 is all of it"},
    }
    movement = {
        "kpi": _TEXT,
        **dict.fromkeys(("value", "baseline", "statistic"), _NUMBER),
        "unit": _TEXT,
        "note": _TEXT,
    }
    evidence = _object(
        {
            **dict.fromkeys(("method", "unit", "window", "definition", "maturity"), _TEXT),
            "value": {**_NUMBER, "description": "of the window; null where nothing was observed, never 0 instead"},
            "lo": {**_NUMBER, "description": "lower end of the 95 % interval"},
            "hi": {**_NUMBER, "description": "upper end of the 95 % interval"},
            **dict.fromkeys(("baseline", "statistic", "threshold", "target"), _NUMBER),
            **dict.fromkeys(("n", "baseline_n"), _COUNT),
            "contributors": {"type": "array", "items": _object({"labels": labels, **contributor})},
            "movements": {"type": "array", "items": _object({"labels": labels, **movement})},
            "verbatims": {"type": "array", "items": _TEXT},
            "links": labels,
        }
    )
    payload = _object(
        {
            "id": {"type": "string", "description": "names the transition for ever; the same when it is repeated"},
            "at": {**_SECONDS, "description": "end of the judged minute, Unix seconds of event time"},
            "published": {**_SECONDS, "description": "when it was sent first, Unix seconds"},
            "seq": _COUNT,
            **dict.fromkeys(("rule", "kpi"), _TEXT),
            "labels": labels,
            "old": state,
            "new": state,
            "minute": {**_COUNT, "description": "the judged minute, Unix seconds // 60"},
            "why": {"type": "string", "description": "OLD => NEW: the reason, with numbers"},
            "severity": {"type": "string", "enum": ["page", "ticket", "info"]},
            "owner": _TEXT,
            "alert_labels": labels,
            "annotations": labels,
            "inhibited_by": {"type": ["string", "null"], "description": "what holds it back; null: nothing"},
            "evidence": evidence,
            "episode": {"type": "string", "description": "the same from leaving inactive until coming back"},
        }
    )
    return {"name": "alert", "contentType": "application/json", "payload": payload}


def _name(event_type: str) -> str:
    return event_type.removeprefix("cx.").replace(".", "_")
