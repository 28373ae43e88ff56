"""
The inventory of personal data: `python -m streams.commands.privacy_page` writes it into docs/PRIVACY.md.

What becomes of a field is not described but tried: an event of each type is protected and made anonymous with a
telephone number in the field, by the code that workers and `cx forget` run.
"""

import re
from collections import defaultdict
from typing import Final

import msgspec

from streams.events.anonymous import ERASED, NOBODY, Anonymous
from streams.events.examples import good
from streams.events.types import ENVELOPE_FIELDS, EVENT_TYPES, data_fields
from streams.privacy.pseudonyms import PREFIX, Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.settings import Settings
from streams.shipped import CLONE
from streams.storage.emptied import ATTRIBUTES

_BEGIN: Final = "<!-- inventory: made by `make generate` -->\n"
_END: Final = "<!-- end of the inventory -->\n"
_PROBE: Final = "09120000012"
_SOMEBODY: Final = "customer-4711"
_PROTECTION: Final = Protection(Pseudonyms([SecretKey(b"0" * 32)]))

_PURPOSES: Final = {
    "person": "joins what one customer did; counts customers",
    "id": "joins the events of one matter; finds repeats",
    "text": "what customers and agents wrote, as evidence beside KPIs and alerts",
    "dimension": "what KPIs are split by",
}
_STORED: Final = {
    "person": "`events`, `cases`; state of relations and cases",
    "id": "`events`, `cases`",
    "text": "`events`; masked, in `alerts`",
    "dimension": "`events`, KPI tables, `alerts`",
}


def inventory() -> str:
    """Return the table, with a row for each field that may hold personal data; dimensions share rows."""
    fields: dict[str, set[str]] = defaultdict(set)
    fates: dict[str, tuple[str, str, str]] = {}
    for event_type in EVENT_TYPES:
        for name, kind in {**ENVELOPE_FIELDS, **data_fields(event_type)}.items():
            if kind.kind == "text" and kind.pattern is None and name not in {"source", "dataschema"}:
                fields[name].add(event_type)
                fate = _fate(event_type, name, in_data=kind.part == "data")
                fates[name] = max(fate, fates.get(name, fate), key=lambda one: one[0] != "dimension")
    rows = [
        "| field | of | what for | on its way in | after `cx forget` | stored in | kept for |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind_ in _PURPOSES:
        names = sorted(name for name, fate in fates.items() if fate[0] == kind_)
        groups: dict[str, list[str]] = defaultdict(list)
        for name in names:
            groups[fates[name][1] if kind_ == "dimension" else name].append(name)
        rows += [_row(group, fields, fates[group[0]]) for group in groups.values()]
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """Return the page with the inventory of today in the place of the one before."""
    between = re.escape(_BEGIN) + ".*?" + re.escape(_END)
    return re.sub(between, lambda _: f"{_BEGIN}\n{inventory()}\n{_END}", text, flags=re.DOTALL)


def _row(names: list[str], fields: dict[str, set[str]], fate: tuple[str, str, str]) -> str:
    kind, protected, erased = fate
    types = set().union(*(fields[name] for name in names))
    of = "every event" if len(types) == len(EVENT_TYPES) else ", ".join(f"`{one}`" for one in sorted(types)[:3])
    more = "" if len(types) <= 3 or of == "every event" else f" and {len(types) - 3} more"
    listed = ", ".join(f"`{name}`" for name in names)
    settings = Settings()
    kept = f"{settings.keep_events_days} days (`CX_KEEP_EVENTS_DAYS`)"
    if not set(names) & set(ATTRIBUTES):
        kept += ", or less (`CX_KEEP_TEXT_DAYS`)"
    if kind == "dimension":
        kept += f", KPIs up to {settings.keep_daily_days:,} days (`CX_KEEP_DAILY_DAYS`)"
    return f"| {listed} | {of}{more} | {_PURPOSES[kind]} | {protected} | {erased} | {_STORED[kind]} | {kept} |"


def _fate(event_type: str, name: str, *, in_data: bool) -> tuple[str, str, str]:
    """Return what sort of field it is, and what becomes of it when it comes in and when the person is forgotten."""
    event = {**good(event_type)["full"], "subject": _SOMEBODY}
    (event["data"] if in_data else event)[name] = _PROBE

    def held(payload: bytes | None) -> str:
        found = msgspec.json.decode(payload or b"")
        return str((found["data"] if in_data else found).get(name))

    [stored] = _PROTECTION.protect([msgspec.json.encode(event)]).values
    protected = held(stored)
    somebody = str(msgspec.json.decode(stored or b"")["subject"])
    erased = held(Anonymous({somebody: f"{NOBODY}x"}).payload(stored or b""))
    how = "pseudonym instead" if protected.startswith(PREFIX) else "masked: `[phone]` …"
    if name == "subject" or erased == protected:
        gone = "a name of nobody instead" if name == "subject" else "stays"
    else:
        gone = "gone" if erased == ERASED else "an id of nobody instead"
    if name in {"subject", "alias", "merged_into"}:
        return "person", how, gone
    if erased == ERASED:
        return "text", how, gone
    return ("dimension" if gone == "stays" else "id"), how, gone


if __name__ == "__main__":
    _FILE = CLONE / "docs" / "PRIVACY.md"
    _FILE.write_text(page(_FILE.read_text(encoding="utf-8")), encoding="utf-8")
