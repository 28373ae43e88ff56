"""
Texts of alerts: labels and annotations written as templates, checked when rules are read.

Jinja2 in its sandbox. A name that does not exist is refused with its line before the first event; a template that fails
all the same gives a text that says so: an alert without a fine text is better than a fine text without an alert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from streams.kpis.expressions import suggest

LONGEST: Final = 4_000
"""Characters of one filled text; receivers cut or refuse longer ones."""

VARIABLES: Final[dict[str, str]] = {
    "alert": "name of the rule",
    "name": "name of the KPI, as people say it",
    "kpi": "id of the KPI",
    "labels": "labels of the series, e.g. `labels.channel`; only those of the rule's `by`",
    "series": "the same as one text: `channel web`, or `overall`",
    "value": "value of the window, in the KPI's unit; none if there is no data",
    "n": "answers or trials in the window",
    "lo": "lower end of the interval of the value",
    "hi": "upper end of the interval of the value",
    "baseline": "what the value is compared with",
    "baseline_n": "answers or trials in the baseline",
    "statistic": "what the method computed: z, the sum of a CUSUM, a burn rate",
    "threshold": "what the statistic or the value was held against",
    "target": "the target of the rule, or of the KPI",
    "unit": "unit of the KPI",
    "window": "window of the rule",
    "method": "method of the rule",
    "severity": "severity of this alert",
    "owner": "who is responsible",
    "runbook": "link of the rule's runbook",
    "at": "end of the judged minute, UTC, e.g. `2026-03-21 04:30`",
}
"""What templates can say, and what it is."""

FILTERS: Final[dict[str, str]] = {
    "show": "a value with its unit: `61.2 %`, `3 min 20 s`, `no data`",
    "number": "a number with thousands set apart: `12,345`",
}

_DIGITS: Final = {"percent": 1, "points": 1, "score": 2, "fraction": 3, "count": 0, "currency": 0}


class TextError(ValueError):
    """
    A template that cannot be right.

    Attributes:
        line: Its line, from 1.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def show(value: object, unit: str) -> str:
    """Write a value with its unit as people do."""
    if value is None:
        return "no data"
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no value that has a unit")
    if unit == "percent":
        return f"{value:.1f} %"
    if unit == "seconds":
        return _seconds(value)
    text = f"{value:,.{_DIGITS.get(unit, 1)}f}"
    return text if unit in {"count", "fraction", "currency", ""} else f"{text} {unit}"


def _seconds(value: float) -> str:
    if abs(value) < 10:
        return f"{value:.1f} s"
    whole = round(value)
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (seconds if not hours else 0, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


@pass_context
def _show(context: Context, value: object) -> str:
    return show(value, str(context.get("unit", "")))


def _number(value: object) -> str:
    if value is None:
        return "no data"
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


class _Sandbox(SandboxedEnvironment):
    """The sandbox, without the two operators by which a short template makes a text or number without end."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Multiply numbers only, and raise nothing to a power."""
        if operator == "*" and all(isinstance(side, int | float) for side in (left, right)):
            return left * right
        raise SecurityError(f"{operator} works on numbers only, ** not at all")


# Plain text for pagers, not HTML: escaping would put &lt; into messages.
_ENVIRONMENT: Final = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
_ENVIRONMENT.filters |= {"show": _show, "number": _number}


@dataclass(frozen=True, slots=True)
class Text:
    """A template that was checked."""

    source: str
    template: Template = field(repr=False, compare=False)

    def fill(self, variables: Mapping[str, object]) -> str:
        """Fill it in. Never raises: where it fails, the text says so and shows the template."""
        try:
            filled = self.template.render(variables).strip()
        except Exception as error:  # noqa: BLE001 - whatever a template may do, alerts must go on
            filled = f"(this text failed: {type(error).__name__}: {error}; template: {self.source.strip()})"
        return filled if len(filled) <= LONGEST else filled[: LONGEST - 1] + "…"


def compile_text(source: str, labels: tuple[str, ...] = ()) -> Text:
    """
    Check a template, and make it ready to be filled.

    Args:
        source: The template.
        labels: Label names that the series have.

    Raises:
        TextError: It is no template, names something that does not exist, or fails on plain numbers.
    """
    try:
        tree = _ENVIRONMENT.parse(source)
        template = _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        hint = f"; filters of ours: {', '.join(FILTERS)}" if "filter" in str(error.message) else ""
        raise TextError(f"{error.message}{hint}", error.lineno) from None
    for name in sorted(find_undeclared_variables(tree) - VARIABLES.keys() - _ENVIRONMENT.globals.keys()):
        hint = suggest(name, VARIABLES) or f"; known: {', '.join(VARIABLES)}"
        raise TextError(f"unknown variable {name!r}{hint}", _line_of(tree, name))
    for label, line in _labels_in(tree):
        if label not in labels:
            hint = suggest(label, labels) or f"; labels of this rule: {', '.join(labels) or 'none'}"
            raise TextError(f"the series have no label {label!r}{hint}", line)
    try:
        template.render(_sample(labels))
    except Exception as error:  # noqa: BLE001 - templates can fail in any way, and each is told with its place
        raise TextError(f"fails on plain numbers: {type(error).__name__}: {error}") from None
    return Text(source, template)


def moment(minute: int) -> str:
    """Write the end of a minute (unix seconds // 60)."""
    return datetime.fromtimestamp((minute + 1) * 60, UTC).strftime("%Y-%m-%d %H:%M")


def series_text(labels: Mapping[str, str]) -> str:
    """Name a series by its labels."""
    return ", ".join(f"{name} {value}" for name, value in labels.items()) or "overall"


def _line_of(tree: nodes.Template, name: str) -> int:
    return min((found.lineno for found in tree.find_all(nodes.Name) if found.name == name), default=1)


def _labels_in(tree: nodes.Template) -> list[tuple[str, int]]:
    """Find the labels that a template names."""
    named = [
        (found.attr, found.lineno)
        for found in tree.find_all(nodes.Getattr)
        if _is_labels(found.node) and found.attr not in {"items", "get"}
    ]
    return named + [
        (str(found.arg.value), found.lineno)
        for found in tree.find_all(nodes.Getitem)
        if _is_labels(found.node) and isinstance(found.arg, nodes.Const)
    ]


def _is_labels(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Name) and node.name == "labels"


def _sample(labels: tuple[str, ...]) -> dict[str, object]:
    numbers = dict.fromkeys(("value", "lo", "hi", "baseline", "statistic", "threshold", "target"), 12.5)
    texts = dict.fromkeys(VARIABLES, "text")
    return {
        **texts,
        **numbers,
        "n": 1200,
        "baseline_n": 1200,
        "labels": dict.fromkeys(labels, "text"),
        "unit": "percent",
    }
