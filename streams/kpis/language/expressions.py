"""
The little language of KPI definitions: conditions and values over the fields of one event.

It reads like Python: `metric == 'csat' and score >= top_box(scale)`, `talk_s + hold_s + wrapup_s`.
One tree, two back ends that must agree on every event: Python source for the fold, ClickHouse SQL for verifying.

What is missing:
    A comparison with a missing field is false, whatever the operator, so `not (score > 5)` is true without a score.
    A calculation with a missing field is missing, as is a division by zero.
    `x is None` and `x is not None` ask for it; `coalesce(x, 0)` fills it in.

All arithmetic is in IEEE doubles, in both back ends.
"""

import ast
import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, TypeAlias, cast, get_args

from streams.kpis.language.fields import Field, Kind
from streams.kpis.language.steps import WEEKDAYS, known_zones
from streams.kpis.language.tree import (
    Among,
    Arithmetic,
    Call,
    Choice,
    Compare,
    Holds,
    Joined,
    Literally,
    Missing,
    Name,
    Node,
    Not,
    Param,
    TimePart,
    kind_of,
    names_in,
)
from streams.kpis.language.writing import write_python, write_sql

TextFunction: TypeAlias = Literal["contains", "starts_with", "ends_with"]
TimeFunction: TypeAlias = Literal["hour_of_day", "minute_of_day", "day_of_week"]


class ExpressionError(ValueError):
    """The text is no expression of the language, or cannot mean anything on the events it is for."""


_FIRST_DAY: Final = date(1970, 1, 1)
_COMPARISONS: Final[dict[type[ast.cmpop], str]] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip
_ARITHMETIC: Final[dict[type[ast.operator], str]] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


_SYNONYMS: Final = {
    "mean": ("average", "avg", "arithmetic_mean"),
    "quantile": ("percentile", "percentiles", "median", "p50", "p90", "p95", "p99"),
    "ratio": ("rate", "proportion", "percentage", "conversion"),
    "sum": ("total", "add"),
    "count": ("number", "events", "n"),
    "distinct": ("unique", "uniq", "nunique", "count_distinct", "cardinality"),
    "percent": ("%", "pct", "percentage"),
    "seconds": ("s", "sec", "secs", "minutes", "minute", "min"),
    "milliseconds": ("ms", "msec", "millis"),
    "currency": ("money", "amount", "usd", "eur", "irr"),
    "up": ("higher", "high", "increase", "higher_is_better", "maximize"),
    "down": ("lower", "low", "decrease", "lower_is_better", "minimize"),
    "days": ("weeks", "months"),
    "none": ("neutral",),
    "groupings": ("group_by", "groupby", "by", "dimensions", "labels"),
    "where": ("filter", "condition", "when", "if"),
    "value": ("field", "measure", "metric"),
    "hits": ("numerator", "successes", "success"),
    "of": ("denominator", "population", "base", "source_events"),
    "name": ("title", "label"),
    "question": ("description", "help"),
    "floor": ("threshold", "static"),
    "absence": ("no_data", "nodata", "silence"),
    "seasonal": ("anomaly", "baseline"),
    "contains": ("includes", "has", "like", "match"),
    "starts_with": ("startswith", "prefix", "begins_with"),
    "ends_with": ("endswith", "suffix"),
    "hour_of_day": ("hour", "hours"),
    "minute_of_day": ("time_of_day", "minute"),
    "day_of_week": ("weekday", "dayofweek", "dow"),
    "coalesce": ("ifnull", "nvl", "default"),
}
"""What people say who know the word of another tool."""


def meant(word: str, known: Iterable[object]) -> str | None:
    """Return the known word that a word is another name or a misspelling of, None if there is none."""
    options = [str(one) for one in known]
    same = (one for one in options if word.lower() in _SYNONYMS.get(one, ()))
    return next(same, None) or next(iter(difflib.get_close_matches(word, options, n=1)), None)


def suggest(word: str, known: Iterable[object]) -> str:
    """Return `; did you mean …?` for another name or a misspelling of a known word, else nothing."""
    near = meant(str(word), known)
    return f"; did you mean {near!r}?" if near else ""


FUNCTIONS: Final = {
    "top_box": "top_box(scale)",
    "coalesce": "coalesce(value, instead)",
    "contains": "contains(text, 'a')",
    "starts_with": "starts_with(text, ['a', 'b'])",
    "ends_with": "ends_with(text, 'a')",
    "hour_of_day": "hour_of_day(time, 'Asia/Tehran')",
    "minute_of_day": "minute_of_day(time, 'Asia/Tehran')",
    "day_of_week": "day_of_week(time, 'Asia/Tehran')",
    "since": "since(time, '2026-03-21', 'Asia/Tehran')",
}
"""How each function is called."""

LANGUAGE: Final = "comparisons, `in [..]`, `and`, `or`, `not`, `is None`, `a if b else c`, + - * / and " + ", ".join(
    FUNCTIONS.values()
)
"""What there is, for who wrote something else."""


DEEPEST: Final = 40
"""Steps within steps in an expression, at most: Python compiles no source with more than 200 brackets in brackets."""

_TOO_DEEP: Final = f"is nested deeper than {DEEPEST} steps: put it in several KPIs, or say it with fewer"


class _ExpressionReader:
    """Turns Python's syntax tree into ours, checking each step against the fields and parameters at hand."""

    def __init__(self, text: str, fields: Mapping[str, Field], params: Mapping[str, Param]) -> None:
        self._text = text
        self._fields = fields
        self._params = params
        self._depth = 0

    def condition(self, node: ast.expr) -> Node:
        read = self.read(node)
        self._expect(read, Kind.BOOL, node)
        return read

    def number(self, node: ast.expr) -> Node:
        read = self.read(node)
        self._expect(read, Kind.NUMBER, node)
        return read

    def read(self, node: ast.expr) -> Node:
        if self._depth == DEEPEST:
            raise self._error(node, _TOO_DEEP)
        self._depth += 1
        read = self._read(node)
        self._depth -= 1
        return read

    def _read(self, node: ast.expr) -> Node:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                if not isinstance(value, str) and abs(value) > sys.float_info.max:
                    raise self._error(node, "is too large")
                return Literally(value)
            case ast.Name(id=name):
                return self._name(name, node)
            case ast.BoolOp(op=op, values=items):
                word: Literal["and", "or"] = "and" if isinstance(op, ast.And) else "or"
                return Joined(word, tuple(self.condition(item) for item in items))
            case ast.UnaryOp(op=ast.Not(), operand=item):
                return Not(self.condition(item))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as item):
                value = cast("Literally", self.number(item)).value
                return Literally(-cast("float", value))
            case ast.UnaryOp(op=ast.USub(), operand=item):
                return Arithmetic("-", Literally(0), self.number(item))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                sign = cast("Literal['+', '-', '*', '/']", _ARITHMETIC[type(op)])
                return Arithmetic(sign, self.number(left), self.number(right))
            case ast.IfExp(test=test, body=then, orelse=otherwise):
                return self._choice(test, then, otherwise, node)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                pairs = [self._compare(a, op, b) for a, op, b in zip(sides, ops, others, strict=False)]
                return pairs[0] if len(pairs) == 1 else Joined("and", tuple(pairs))
            case ast.Call(func=ast.Name(id=function), args=args, keywords=[]):
                return self._call(function, args, node)
            case _:
                raise self._error(node, f"is not part of the language, which has {LANGUAGE}")

    def _name(self, name: str, node: ast.expr) -> Node:
        if name in self._params:
            return Literally(self._params[name])
        if name not in self._fields:
            known = [one for one in (*self._fields, *self._params) if one != "time"]
            hint = suggest(name, known) or f"; they have {', '.join(known)}" * bool(known)
            raise self._error(node, f"is no field of these events{hint}")
        if self._fields[name].kind is Kind.TIME:
            asked = ", ".join(FUNCTIONS[part] for part in (*get_args(TimeFunction), "since"))
            raise self._error(node, f"is a time, which is asked by {asked}")
        return Name(self._fields[name])

    def _choice(self, test: ast.expr, then: ast.expr, otherwise: ast.expr, node: ast.expr) -> Node:
        choice = Choice(self.condition(test), self.read(then), self.read(otherwise))
        if kind_of(choice.then) is not kind_of(choice.otherwise):
            raise self._error(node, f"gives {kind_of(choice.then)} or {kind_of(choice.otherwise)}: make it one kind")
        return choice

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Node:
        if isinstance(op, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise self._error(right, "cannot follow 'is': only None can")
            return Missing(self.read(left), negated=isinstance(op, ast.IsNot))
        item = self.read(left)
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
                raise self._error(right, "cannot follow 'in': write a list such as ['a', 'b']")
            values = tuple(self._listed(element, item) for element in right.elts)
            return Among(item, values, negated=isinstance(op, ast.NotIn))
        other = self.read(right)
        self._alike(item, other, right)
        if not isinstance(op, ast.Eq | ast.NotEq) and kind_of(item) is not Kind.NUMBER:
            raise self._error(left, f"is {kind_of(item)}: only numbers have an order")
        sign = cast("Literal['==', '!=', '<', '<=', '>', '>=']", _COMPARISONS[type(op)])
        return Compare(sign, item, other)

    def _listed(self, element: ast.expr, item: Node) -> Param:
        read = self.read(element)
        if not isinstance(read, Literally):
            raise self._error(element, "cannot stand in a list: only literals and parameters can")
        self._alike(item, read, element)
        return read.value

    def _call(self, function: str, args: list[ast.expr], node: ast.expr) -> Node:
        if function == "top_box" and len(args) == 1:
            scale = self.number(args[0])
            if not (isinstance(scale, Name) and scale.field.whole):
                raise self._error(args[0], "is no number of points: top_box needs a field such as scale")
            return Call("top_box", (scale,))
        if function == "coalesce" and len(args) == 2:
            items = (self.read(args[0]), self.read(args[1]))
            self._expect(items[1], kind_of(items[0]), args[1])
            return Call("coalesce", items)
        if function in get_args(TextFunction) and len(args) == 2:
            return self._holds(cast("TextFunction", function), args[0], args[1])
        if function in get_args(TimeFunction) and len(args) == 2:
            return self._time_part(cast("TimeFunction", function), args[0], args[1])
        if function == "since" and len(args) == 3:
            return self._since(*args)
        if function in FUNCTIONS:
            raise self._error(node, f"is called otherwise: {FUNCTIONS[function]}")
        hint = suggest(function, FUNCTIONS)
        raise self._error(node, f"calls no known function: there are {', '.join(FUNCTIONS.values())}{hint}")

    def _holds(self, how: "TextFunction", text: ast.expr, sought: ast.expr) -> Node:
        item = self.read(text)
        self._expect(item, Kind.TEXT, text)
        texts = []
        for element in sought.elts if isinstance(sought, ast.List | ast.Tuple) else [sought]:
            read = self.read(element)
            if not (isinstance(read, Literally) and isinstance(read.value, str) and read.value):
                raise self._error(element, "is no text to look for: write one such as 'a', or a list of them")
            texts.append(read.value)
        if not texts:
            raise self._error(sought, "holds no text to look for: write a list such as ['a', 'b']")
        return Holds(how, item, tuple(texts))

    def _since(self, time: ast.expr, day: ast.expr, zone: ast.expr) -> Node:
        read = self.read(day)
        text = read.value if isinstance(read, Literally) else None
        try:
            first = date.fromisoformat(text if isinstance(text, str) else "")
        except ValueError:
            raise self._error(day, "is no day: write one such as '2026-03-21'") from None
        return Compare(">=", self._time_part("day", time, zone), Literally((first - _FIRST_DAY).days))

    def _time_part(self, part: "TimeFunction | Literal['day']", time: ast.expr, zone: ast.expr) -> Node:
        if not (isinstance(time, ast.Name) and time.id in self._fields and self._fields[time.id].kind is Kind.TIME):
            raise self._error(time, f"is no time of these events: write {FUNCTIONS.get(part, FUNCTIONS['since'])}")
        read = self.read(zone)
        name = read.value if isinstance(read, Literally) else None
        if not isinstance(name, str) or name not in known_zones():
            hint = suggest(str(name), known_zones()) or "; e.g. 'Asia/Tehran'"
            raise self._error(zone, f"is no time zone{hint}")
        return TimePart(part, Name(self._fields[time.id]), name)

    def _alike(self, left: Node, right: Node, node: ast.expr) -> None:
        """Refuse to compare different kinds, and a field with a value it can never have."""
        if kind_of(left) is not kind_of(right):
            raise self._error(node, f"is {kind_of(right)} where {kind_of(left)} is needed")
        for side, other in ((left, right), (right, left)):
            if isinstance(side, TimePart) and side.part == "day_of_week" and isinstance(other, Literally):
                if other.value not in WEEKDAYS:
                    raise self._error(node, f"is no day of the week: one of {', '.join(WEEKDAYS)}")
            elif isinstance(side, Name) and isinstance(other, Literally) and side.field.values:
                listed = side.field.values
                if other.value not in listed:
                    names = ", ".join(map(str, listed))
                    hint = suggest(str(other.value), listed)
                    raise self._error(node, f"is never a value of {side.field.name} ({names}){hint}")

    def _expect(self, read: Node, kind: Kind, node: ast.expr) -> None:
        if kind_of(read) is not kind:
            raise self._error(node, f"is {kind_of(read)} where {kind} is needed")

    def _error(self, node: ast.expr, problem: str) -> ExpressionError:
        written = ast.get_source_segment(self._text, node) or self._text
        return ExpressionError(f"{written!r} {problem}")


@dataclass(frozen=True, slots=True)
class Expression:
    """
    A condition or value, read once and checked.

    Attributes:
        text: As it counts: parameters filled in, layout removed.
    """

    text: str
    tree: Node

    @property
    def kind(self) -> Kind:
        """What kind of value it gives."""
        return kind_of(self.tree)

    @property
    def fields(self) -> frozenset[str]:
        """The names of the fields it reads."""
        return frozenset(field.name for field in names_in(self.tree))

    def to_sql(self, column_of: Callable[[str], str]) -> str:
        """
        Write it for ClickHouse: a condition is never NULL, a value is NULL where it is missing.

        Args:
            column_of: Gives a Nullable SQL expression for a field: Float64 or Int64, String, Bool.
        """
        return write_sql(self.tree, column_of)

    def to_python(self, reference: Callable[[str], str], known: Mapping[Node, str] | None = None) -> str:
        """
        Write it as a Python expression: a condition gives a bool, a value gives None where it is missing.

        Args:
            reference: Gives Python source that reads a field.
            known: Source for parts of the tree that are computed already.
        """
        return write_python(self.tree, reference, known or {})


TRUE: Final = Expression("True", Literally(True))


def _fill(tree: ast.Expression, params: Mapping[str, Param]) -> str:
    class Filler(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return ast.Constant(params[node.id]) if node.id in params else node

    return ast.unparse(ast.fix_missing_locations(Filler().visit(tree)))


def parse(text: str, kind: Kind, fields: Mapping[str, Field], params: Mapping[str, Param]) -> Expression:
    """
    Read a text as a condition (`Kind.BOOL`) or value over the given fields.

    Raises:
        ExpressionError: Not part of the language, an unknown field, or kinds that do not fit; says what would.
    """
    # Brackets make the line breaks of a long text legal.
    body = f"({text.strip()})"
    try:
        tree = ast.parse(body, mode="eval")
    except SyntaxError as error:
        place = (error.offset or 2) - 1
        raise ExpressionError(f"{text.strip()!r} cannot be read near character {place}: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise ExpressionError(f"{text.strip()[:40]!r}… {_TOO_DEEP}") from error
    reader = _ExpressionReader(body, fields, params)
    node = reader.condition(tree.body) if kind is Kind.BOOL else reader.read(tree.body)
    if kind_of(node) is not kind:
        raise ExpressionError(f"{text.strip()!r} is {kind_of(node)} where {kind} is needed")
    return Expression(_fill(tree, params), node)
