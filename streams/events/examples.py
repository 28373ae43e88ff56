"""
Example records of every type: the shortest and the fullest good one, and bad ones with what they are refused for.

Hand-written examples lie beside the generated ones in the schema folder and are held to the same promise.
"""

from typing import Any, Final

import msgspec

from streams.events.envelope import needs_of, schema_file, version_of
from streams.events.touchpoints import load_touchpoints
from streams.events.types import FieldInfo, data_fields

_TIME: Final = "2026-03-21T09:30:00+03:30"
_DUE: Final = "2026-03-24T18:00:00+03:30"

# Where the events of a family are met; the first part that fits the type's name decides.
_PLACES: Final = {
    "contact.ivr": ("call_center", "ivr"),
    "contact.message": ("call_center", "chat"),
    "contact.bot": ("web", "chat"),
    "contact.queue": ("call_center", "phone_queue"),
    "contact": ("call_center", "phone_agent"),
    "agent": ("call_center", "phone_agent"),
    "store": ("store", "store_checkout"),
    "app": ("app", "app_home"),
    "feature": ("app", "app_home"),
    "onboarding": ("app", "onboarding"),
    "review.read": ("web", "reviews"),
    "review": ("app", "app_review"),
    "ad": ("web", "advertisement"),
    "social": ("web", "social_media"),
    "referral": ("web", "referral"),
    "search": ("web", "search"),
    "product": ("web", "product_page"),
    "compare": ("web", "comparison"),
    "cart": ("web", "cart"),
    "checkout": ("web", "checkout"),
    "payment": ("web", "payment"),
    "order.placed": ("web", "checkout"),
    "order.return": ("web", "returns"),
    "order.refund": ("web", "returns"),
    "order": ("web", "delivery"),
    "promise": ("web", "delivery"),
    "ticket": ("call_center", "city_request"),
    "howto": ("web", "help_center"),
    "case": ("call_center", "phone_agent"),
    "tier": ("web", "loyalty_club"),
    "loyalty": ("web", "loyalty_club"),
    "offer": ("app", "offer"),
    "subscription": ("app", "subscription"),
    "survey": ("web", "post_purchase_survey"),
    "kano": ("web", "post_purchase_survey"),
    "": ("web", "session"),
}

_DATA: Final[dict[str, Any]] = {
    "action": "callback",
    "alert": "csat_fell",
    "alias": "device-5f0c2a",
    "amount": 1_250_000,
    "area": "Dorchester",
    "article": "change-delivery-address",
    "campaign": "nowruz",
    "carrier": "post",
    "case_id": "case-3071",
    "category": "headphones",
    "cause": "courier_late",
    "change": "choose-delivery-hour",
    "churn_risk": 0.35,
    "code": "51",
    "collector": "web-collector-1",
    "confidence": 0.82,
    "cost": 1_500,
    "currency": "IRR",
    "days_since": 2,
    "delay_h": 5.5,
    "department": "public_works",
    "device": "mobile",
    "disposition": "order_status",
    "duration_ms": 184.2,
    "element": "#pay",
    "emotion": "disappointment",
    "end": -0.4,
    "engine": "web_search",
    "entrance": "north",
    "entry": "/",
    "estimate": 80,
    "feature": "saved_cards",
    "field": "address",
    "form": "telephone_2026",
    "horizon_d": 30,
    "intent": "cancel_order",
    "kpi": "csat",
    "lang": "fa",
    "level": "second",
    "menu": "main",
    "merged_into": "customer-0117",
    "message": "payment gateway answered too late",
    "model": "lexicon-fa-1",
    "network": "instagram",
    "object": "delivery",
    "offer": "free_delivery",
    "owner": "recovery_team",
    "page": "/checkout",
    "path": "data.score",
    "plan": "monthly",
    "platform": "android",
    "points": 250,
    "polarity": -0.6,
    "position": 2,
    "predicted": 72.5,
    "previous": "silver",
    "price": 1_250_000,
    "priority": "high",
    "product": "sku-20417",
    "programme": "club",
    "quality": 87.5,
    "query": "هدفون بی‌سیم",
    "queue": "orders",
    "reason": "changed_mind",
    "referrer": "newsletter",
    "reward": "voucher",
    "risk": 0.31,
    "scale": 5,
    "score": 4,
    "search_id": "search-88",
    "service": "accounts",
    "shift_h": 24,
    "start": 0.2,
    "step": "address",
    "store": "cafe_bazaar",
    "strength": 0.7,
    "survey_id": "after_delivery",
    "tag": "newborn",
    "text": "بسته دیر رسید ولی پشتیبانی خوب بود",
    "tier": "gold",
    "title": "Checkout",
    "to_queue": "refunds",
    "topic": "delivery",
    "value": 1_250_000,
    "version": "5.1.6",
}
_ENUMS: Final = {
    "metric": "csat",
    "kind": "transactional",
    "subchannel": "chat",
    "state": "busy",
    "by": "customer",
    "reason": "abandoned",
    "outcome": "contained",
    "functional": "like",
    "dysfunctional": "dislike",
    "condition": "intact",
}


class BadExample(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """
    A record that is refused, with the reason and the path it is refused for.

    `record` is its JSON; `text` stands instead for one that is none.
    """

    reason: str
    path: str
    record: Any = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET


def record_of(example: BadExample) -> bytes:
    """Return the bytes of a bad example as a producer would send them."""
    if isinstance(example.text, str):
        return example.text.encode()
    return msgspec.json.encode(example.record)


def good(event_type: str) -> dict[str, dict[str, Any]]:
    """
    Make good records of a type, by name: `minimal` with what is mandatory, `full` with every field of the data.

    Raises:
        KeyError: There is no such type.
    """
    fields = data_fields(event_type)
    mandatory = {name: _value(field) for name, field in fields.items() if field.required}
    channel, touchpoint = _place(event_type)
    base = {
        "specversion": "1.0",
        "type": event_type,
        "id": f"{event_type.removeprefix('cx.').replace('.', '-')}-1",
        "source": f"/{channel}/{touchpoint}",
        "time": _TIME,
        "subject": "customer-0042",
        "channel": channel,
        **{name: f"{name}-1" for name in needs_of(event_type)},
    }
    attributes = {
        "touchpoint": touchpoint,
        "stage": _TOUCHPOINTS[touchpoint].stage,
        "segment": "gold",
        "region": "tehran",
    }
    found = {"minimal": {**base, "data": mandatory}}
    found["full"] = {
        **base,
        **attributes,
        "dataschema": schema_file(event_type, version_of(event_type)),
        "data": {name: _value(field) for name, field in fields.items()},
    }
    return found


def bad(event_type: str) -> dict[str, dict[str, Any]]:
    """
    Make bad records of a type, each wrapped with its reason and path: one lacks a field, one has a wrong value.

    Raises:
        KeyError: There is no such type.
    """
    record = good(event_type)["minimal"]
    fields = data_fields(event_type)
    lacking = next((name for name, field in fields.items() if field.required), None)
    attribute = next(iter(needs_of(event_type)), "subject")
    if lacking is None:
        without = {name: value for name, value in record.items() if name != attribute}
    else:
        without = {**record, "data": {name: value for name, value in record["data"].items() if name != lacking}}
    missing = f"data.{lacking}" if lacking else attribute
    field, reason, value = min(map(_spoil, fields.values()), key=lambda example: _TELLING.index(example[1]))
    wrong = {**record, "data": {**record["data"], field.name: value}}
    return {
        f"missing_field-{lacking or attribute}": _bad("missing_field", missing, without),
        f"{reason}-{field.name}": _bad(reason, f"data.{field.name}", wrong),
    }


_TOUCHPOINTS: Final = load_touchpoints()
# The most instructive spoilt value is shown: the first reason of these.
_TELLING: Final = ("bad_rating", "out_of_range", "bad_time", "not_in_enum", "wrong_type", "bad_length")


def _place(event_type: str) -> tuple[str, str]:
    name = event_type.removeprefix("cx.")
    return next(place for part, place in _PLACES.items() if name.startswith(part))


def _value(field: FieldInfo) -> Any:
    if field.kind == "bool":
        return not field.default
    if field.kind == "enum":
        preferred = _ENUMS.get(field.name)
        return preferred if preferred in field.values else field.values[0]
    if field.kind == "time":
        return _DUE if field.name == "due" else _TIME
    if field.name in _DATA and (field.kind == "text") == isinstance(_DATA[field.name], str):
        return _DATA[field.name]
    if field.kind == "numeric":
        return 3 if field.integer else 42.5
    return f"{field.name}-1"


def _spoil(field: FieldInfo) -> tuple[FieldInfo, str, Any]:
    if field.rating:
        return field, "bad_rating", "خیلی خوب"
    if field.values:
        return field, "not_in_enum", "unheard_of" if field.kind == "enum" else 1
    if field.kind == "numeric":
        return field, "out_of_range", (field.low or 0) - 1
    if field.kind == "time":
        return field, "bad_time", "2026-03-21 09:30:00"
    if field.kind == "bool":
        return field, "wrong_type", "yes"
    return field, "bad_length", "a" * (int(field.high or 0) + 1)


def _bad(reason: str, path: str, record: dict[str, Any]) -> dict[str, Any]:
    return {"reason": reason, "path": path, "record": record}
