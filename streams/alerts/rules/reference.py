"""
The tables of docs/RULES.md, made from what rules are read by, so that the page cannot tell of keys that do not exist.

The prose is written by hand; each table stands between two marks of its name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec

from streams.alerts.detectors import DETECTORS
from streams.alerts.rules.defaults import COMPARED_WITH, LIMIT
from streams.alerts.rules.parsing import GROUP_ALLOWED, RULE_ALLOWED, RULE_REQUIRED
from streams.alerts.rules.rules import NoData
from streams.alerts.rules.texts import FILTERS, VARIABLES

KEYS: Final[dict[str, tuple[str, str, str]]] = {
    "alert": ("name", "", "Name of the rule: letters, digits, underscores; one of a kind."),
    "kpi": ("id", "", "The KPI it judges; `cx kpis list` shows them."),
    "method": ("name", "", "How trouble is distinguished from noise; see Methods."),
    "severity": ("`page`, `ticket`, `info`", "", "Wake somebody, look at it today, know of it."),
    "by": ("labels", "the whole", "One of the KPI's groupings; each series is judged on its own."),
    "where": ("label: [values]", "all", "Series to judge, by values of labels that `by` has."),
    "window": ("window", "", "The rolling window that is judged; a burn rate has its own two."),
    "lengthen": (
        "window",
        "",
        "How long the window may become while it holds fewer than `min_n`; of a `floor`.",
    ),
    "params": ("mapping", "", "Parameters of the method; see Methods."),
    "min_n": (
        "number",
        "the KPI's own",
        "Answers the window must hold; for a page no less than the KPI asks for. A `cusum` counts bad answers instead.",
    ),
    "min_denominator": (
        "number",
        str(COMPARED_WITH),
        "The same for what the window is compared with: baseline, short window of a burn rate.",
    ),
    "for": ("duration", "0", "How long trouble must last, in event time, before it fires."),
    "keep_firing_for": ("duration", "0", "How long it fires on after the trouble ended."),
    "recover": (
        "above, below, for",
        "no more trouble",
        "Value to be reached again, and for how long; apart from the target, or alerts at the edge come and go.",
    ),
    "no_data": (
        "action, for, limit",
        f"{NoData().action}, {NoData().for_minutes}m, {NoData().limit_minutes // 1440}d",
        "Nothing came `for` so long, and ten are missing: `ok` ends it, `alert` fires. `limit`: of firing unjudged.",
    ),
    "maturity": (
        "`immediate`, `provisional`, `matured`",
        "the KPI's",
        "Which values are judged; only there to be sure: it must be the KPI's.",
    ),
    "inhibit_by": (
        "[parent, pipeline, refused]",
        "parent, pipeline; `absence`: none",
        "What keeps it from being sent: the KPI fires for a larger whole; its channel is ill; its records are refused.",
    ),
    "mute": ("names", "none", "Calendars in which it is not sent; it is judged all the same, and sent afterwards."),
    "severity_by": ("label: {value: severity}", "", "Other severities for single values of a label in `by`."),
    "owner": ("text", "the KPI's", "Who answers for it. A page must name one, in the rule or its group."),
    "runbook": ("link or path", "", "What to do. A page must have one."),
    "dashboard": ("link", "", "Where to look; without one, the dashboard of the KPI."),
    "labels": ("name: template", "", "Added to the labels of the series; routing in Alertmanager goes by them."),
    "annotations": (
        "name: template",
        "summary, description",
        "Texts of the alert; of names in `_fa` in Persian.",
    ),
    "limit": ("number", str(LIMIT), "Alerts of this rule that may be sent at once; further ones are held."),
    "replace": ("true", "", "Takes the place of the rule of this name in a file read before."),
}
"""Kind of value, what holds without the key, and what it is for, by key of a rule."""

GROUP_KEYS: Final[dict[str, str]] = {
    "name": "Name of the group, one of a kind.",
    "rules": "Its rules.",
    "owner": "Owner of those of its rules that name none.",
    "labels": "Labels of all its rules; a rule's own go before them.",
    "mute": "Calendars in which all its rules keep quiet.",
}

CALENDAR_KEYS: Final[dict[str, str]] = {
    "name": "Its name, one of a kind.",
    "zone": "Time zone of all its times, e.g. `Asia/Tehran`.",
    "country": "ISO code of the country whose public holidays and weekend count, e.g. `IR`.",
    "weekend": "Days of rest, where the country's are not meant.",
    "first_day": "First day of the week; without it, the one after the weekend.",
    "when": "Its times: those that meet any of the conditions. Without it, it only tells hours of the week apart.",
}

CONDITION_KEYS: Final[dict[str, str]] = {
    "times": "`22:00-07:00`; a night belongs to the day on which it begins.",
    "weekdays": "`friday`, `saturday-wednesday`, `weekend`, `workdays`.",
    "dates": "`2026-03-20..2026-04-02`, or each year `03-20..04-02`.",
    "holidays": "`true`: public holidays only; `false`: all days but them.",
}


def tables() -> dict[str, str]:
    """Return all tables by name, as Markdown."""
    keys = [
        (f"`{key}`" + (" (required)" if key in RULE_REQUIRED else ""), *KEYS[key])
        for key in (*RULE_REQUIRED, *RULE_ALLOWED)
    ]
    return {
        "rule": _table(("key", "value", "without it", "what it is for"), keys),
        "group": _table(("key", "what it is for"), _rows(GROUP_KEYS, ("name", "rules", *GROUP_ALLOWED))),
        "calendar": _table(("key", "what it is for"), _rows(CALENDAR_KEYS, CALENDAR_KEYS)),
        "condition": _table(("key", "what it is for"), _rows(CONDITION_KEYS, CONDITION_KEYS)),
        "variables": _table(("name", "what it is"), _rows(VARIABLES, VARIABLES)),
        "filters": _table(("filter", "what it writes"), _rows(FILTERS, FILTERS)),
        "methods": "\n\n".join(_method(name) for name in DETECTORS),
    }


def filled(page: str) -> str:
    """
    Return a page with its tables as they should be.

    Raises:
        ValueError: The page lacks the marks of a table, or has some of a table that does not exist.
    """
    made = tables()
    found = re.findall(r"<!-- table: (\w+) -->", page)
    if sorted(found) != sorted(made):
        raise ValueError(f"the page has marks for {', '.join(found) or 'no table'}; expected {', '.join(made)}")
    return re.sub(
        r"<!-- table: (\w+) -->.*?<!-- end -->",
        lambda mark: f"<!-- table: {mark[1]} -->\n{made[mark[1]]}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


def _method(name: str) -> str:
    kind = DETECTORS[name]
    text = " ".join((kind.__doc__ or "").split())
    rows = []
    for field in msgspec.structs.fields(kind):
        default = "" if field.default is None else str(field.default)
        rows.append((f"`{field.encode_name}`", "required" if field.required else default, _described(field.type)))
    return f"### `{name}`\n\n{text}\nFor KPIs of kind {', '.join(kind.aggregators)}.\n\n" + _table(
        ("parameter", "default", "what it is"), rows
    )


def _described(annotation: Any) -> str:
    """Return the description in a parameter's annotation, its outermost one."""
    return next((part.description for part in reversed(get_args(annotation)) if getattr(part, "description", "")), "")


def _rows(text: Mapping[str, str], names: Any) -> list[tuple[str, ...]]:
    return [(f"`{name}`", text[name]) for name in names]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
