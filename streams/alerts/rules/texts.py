"""
Texts of alerts: labels and annotations written as templates, checked when rules are read.

Jinja2 in its sandbox. A name that does not exist is refused with its line before the first event; a template that fails
all the same gives a text that says so: an alert without a fine text is better than a fine text without an alert.

Texts are filled in while closed minutes wait, so no template can take long: without assignments, macros, ranges and
filters that pad, nothing grows beyond what is written, and loops share a number of steps.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import SandboxedEnvironment

from streams.events.visible import visible
from streams.kpis.language.expressions import suggest
from streams.wording.numbers import digits, value_text
from streams.wording.texts import Lang, Texts

LONGEST: Final = 4_000
"""Characters of one filled text; receivers cut or refuse longer ones."""

STEPS: Final = 1_000
"""Steps of all loops of one text together."""

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
    "baseline": "what the value is compared with; none as long as not all of that time is known",
    "baseline_n": "answers or trials in the baseline",
    "statistic": "what the method computed: z, the sum of a CUSUM, a burn rate",
    "threshold": "what the statistic or the value was held against",
    "target": "the target of the rule, or of the KPI",
    "unit": "unit of the KPI",
    "window": "window of the rule, e.g. `15 min`",
    "method": "method of the rule",
    "severity": "severity of this alert",
    "owner": "who is responsible",
    "runbook": "link of the rule's runbook",
    "at": "end of the judged minute, UTC, e.g. `2026-03-21 04:30`",
    "until": "the same by the clocks of `CX_ZONE`, e.g. `2026-03-21 08:00 (Asia/Tehran)`",
}
"""What templates can say, and what it is."""

FILTERS: Final[dict[str, str]] = {
    "show": "a value with its unit: `61.2 %`, `3 min 20 s`, `no data`",
    "number": "a number with thousands set apart: `12,345`",
}


class TextError(ValueError):
    """
    A template that cannot be right.

    Attributes:
        line: Its line, from 1.
    """

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@pass_context
def _show(context: Context, value: object) -> str:
    if value is not None and not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no value that has a unit")
    return value_text(value, str(context.get("unit", "")), _lang(context))


@pass_context
def _number(context: Context, value: object) -> str:
    lang = _lang(context)
    if value is None:
        return Texts(lang)["no_data"]
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return digits(f"{value:,}" if isinstance(value, int) else f"{value:,.2f}", lang)


def _lang(context: Context) -> Lang:
    return "fa" if context.get(LANG) == "fa" else "en"


class _Sandbox(SandboxedEnvironment):
    """The sandbox, without what makes a text or number without end of a short template."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Multiply and divide numbers only, and raise nothing to a power."""
        if operator != "**" and all(isinstance(side, int | float) for side in (left, right)):
            return left * right if operator == "*" else left % right
        raise SecurityError(f"{operator} works on numbers only, ** not at all")

    def wrap_str_format(self, value: Any) -> None:
        """Let `format` be a method like the others, which pad."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Of texts, leave out the methods that pad."""
        return super().is_safe_attribute(obj, attr, value) and (not isinstance(obj, str) or attr in _METHODS)


@pass_context
def _counted(context: Context, items: Iterable[object]) -> Iterator[object]:
    """Return the items of a loop as long as there are steps left for the whole text."""
    left = context.parent[_LEFT]
    for item in items:
        left[0] -= 1
        if left[0] < 0:
            raise SecurityError(f"loops take more than {STEPS} steps together")
        yield item


LANG: Final = " language"
_LEFT: Final = " steps left"
_COUNTED: Final = " counted"  # no template can write these
_METHODS: Final = frozenset({"upper", "lower", "title", "capitalize", "strip", "startswith", "endswith", "split"})
_FILTERS: Final = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items", "join", "last",
    "length", "list", "lower", "max", "min", "reverse", "round", "sort", "string", "sum", "title", "trim",
    "truncate", "unique", "upper", "urlencode",
)  # fmt: skip
_REFUSED: Final[Mapping[type[nodes.Node], str]] = {
    nodes.Assign: "set",
    nodes.AssignBlock: "set",
    nodes.With: "with",
    nodes.Macro: "macro",
    nodes.CallBlock: "call",
    nodes.FilterBlock: "filter",
    nodes.Block: "block",
    nodes.Extends: "extends",
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
}
"""Statements that texts do not need, and what they are written as."""

# Plain text for pagers, not HTML: escaping would put &lt; into messages.
_ENVIRONMENT: Final = _Sandbox(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
_ENVIRONMENT.filters = {name: _ENVIRONMENT.filters[name] for name in _FILTERS}
_ENVIRONMENT.filters |= {"show": _show, "number": _number, _COUNTED: _counted}
_ENVIRONMENT.globals.clear()


@dataclass(frozen=True, slots=True)
class Text:
    """A template that was checked."""

    source: str
    template: Template = field(repr=False, compare=False)

    def fill(self, variables: Mapping[str, object]) -> str:
        """Fill it in. Never raises: where it fails, the text says so and shows the template."""
        try:
            filled = _filled(self.template, variables)
        except Exception as error:  # noqa: BLE001 - whatever a template may do, alerts must go on
            filled = f"(this text failed: {type(error).__name__}: {error}; template: {self.source.strip()})"
        filled = visible(filled)
        return filled if len(filled) <= LONGEST else filled[: LONGEST - 1] + "…"


@lru_cache(maxsize=1024)
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
        tree, template = _compiled(source)
    except TemplateSyntaxError as error:
        known = ", ".join(sorted({*FILTERS, *_FILTERS}))
        hint = f"; known: {known}" if "filter" in str(error.message) else ""
        raise TextError(f"{error.message}{hint}", error.lineno) from None
    for name in sorted(find_undeclared_variables(tree) - VARIABLES.keys()):
        hint = suggest(name, VARIABLES) or f"; known: {', '.join(VARIABLES)}"
        raise TextError(f"unknown variable {name!r}{hint}", _line_of(tree, name))
    for label, line in _labels_in(tree):
        if label not in labels:
            hint = suggest(label, labels) or f"; labels of this rule: {', '.join(labels) or 'none'}"
            raise TextError(f"the series have no label {label!r}{hint}", line)
    try:
        _filled(template, _sample(labels))
    except Exception as error:  # noqa: BLE001 - templates can fail in any way, and each is reported with its place
        raise TextError(f"fails on plain numbers: {type(error).__name__}: {error}") from None
    return Text(source, template)


def moment(minute: int) -> str:
    """Write the end of a minute (unix seconds // 60), UTC."""
    return datetime.fromtimestamp((minute + 1) * 60, UTC).strftime("%Y-%m-%d %H:%M")


@lru_cache(maxsize=1024)
def _compiled(source: str) -> tuple[nodes.Template, Template]:
    """Compile a template once, however many rules with other labels have it."""
    tree = _bounded(_ENVIRONMENT.parse(source))
    return tree, Template.from_code(_ENVIRONMENT, _ENVIRONMENT.compile(tree), {})


def _bounded(tree: nodes.Template) -> nodes.Template:
    """
    Return a template whose loops count their steps.

    Raises:
        TemplateSyntaxError: It has statements that texts do not need.
    """
    for found in tree.find_all(tuple(_REFUSED)):
        name = _REFUSED[type(found)]
        raise TemplateSyntaxError(f"{{% {name} %}} is not for texts of alerts; they have if and for", found.lineno)
    for loop in list(tree.find_all(nodes.For)):
        if loop.recursive:
            raise TemplateSyntaxError("a loop cannot be recursive in a text of an alert", loop.lineno)
        loop.iter = nodes.Filter(loop.iter, _COUNTED, [], [], None, None, lineno=loop.lineno, environment=_ENVIRONMENT)
    return tree


def _filled(template: Template, variables: Mapping[str, object]) -> str:
    """Fill a template in, and no more of it than a text can have."""
    pieces, length = [], 0
    for piece in template.generate({**variables, _LEFT: [STEPS]}):
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST:
            break
    return "".join(pieces).strip()


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
