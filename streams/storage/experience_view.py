"""The view `experience`, written from the type of its events: every answer beside what was lived through before it."""

# ruff: noqa: S608 - the statement is made of checked definitions; every literal is escaped

from typing import Final

from streams.events.derived import DerivedField, shipped
from streams.kpis.language.writing import sql_literal

TYPE: Final = "cx.experience.joined"
_TYPES: Final = {"number": "Float64", "whole": "Int64", "text": "String", "flag": "Bool", "time": "String"}
_PLACE: Final = {
    "time": "when it was said",
    "customer": "pseudonymous customer key",
    "channel": "web, app, store or call_center",
    "touchpoint": "empty: not given",
    "stage": "journey stage; empty: not given",
    "segment": "customer segment; empty: not given",
    "region": "empty: not given",
    "unitid": "shop, site or team; empty: not given",
    "agentid": "who served; empty: not given",
    "orderid": "empty: not given",
    "contactid": "empty: not given",
    "sessionid": "empty: not given",
}


def experience_view() -> str:
    """Write the view from the fields of the shipped type."""
    [joined] = [one for one in shipped() if one.name == TYPE]
    shape = ", ".join(f"{field.name} {_type(field)}" for field in joined.fields)
    columns = ",\n    ".join(f"said.{field.name} AS {field.name}" for field in joined.fields)
    place = ", ".join("subject AS customer" if name == "customer" else name for name in _PLACE)
    comments = {**_PLACE, **{field.name: field.description for field in joined.fields}}
    described = ",\n    ".join(f"COMMENT COLUMN {name} {sql_literal(text)}" for name, text in comments.items())
    matter = "(JSONExtractString(data, 'span'), JSONExtractUInt(data, 'revision'))"
    stored = f"FROM events WHERE type = {sql_literal(TYPE)} AND"
    return f"""-- Written by `cx kpis docs` from the relation `experience`.
CREATE OR REPLACE VIEW experience AS
SELECT
    {place},
    {columns}
FROM
(
    SELECT *, JSONExtract(data, {sql_literal(f"Tuple({shape})")}) AS said
    {stored} NOT synthetic AND NOT JSONExtractBool(data, 'withdrawn')
        AND {matter} NOT IN
            (SELECT {matter} {stored} JSONExtractBool(data, 'withdrawn'))
)
COMMENT 'Every answer, review and text of a customer, beside what the customer had lived through before it';

ALTER TABLE experience
    {described};
"""


def _type(field: DerivedField) -> str:
    plain = _TYPES[field.kind]
    return f"Nullable({plain})" if field.optional else plain
