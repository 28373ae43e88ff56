"""The expression language: both back ends against an evaluator that shares no code with them."""

import ast
import json
import math
import operator
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from streams.events import derived
from streams.kpis.language.expressions import DEEPEST, ExpressionError, parse
from streams.kpis.language.fields import Field, Kind, all_fields, fields_of
from streams.kpis.language.tree import TOP_BOX
from streams.kpis.language.writing import PYTHON_NAMES

ANSWERED = fields_of("cx.survey.answered")
LEFT = fields_of("cx.contact.queue_left")

FIELDS = {
    "wait": Field("wait", Kind.NUMBER, "data", optional=True),
    "talk": Field("talk", Kind.NUMBER, "data"),
    "scale": Field("scale", Kind.NUMBER, "data", whole=True, optional=True),
    "score": Field("score", Kind.NUMBER, "data", whole=True, optional=True),
    "queue": Field("queue", Kind.TEXT, "data", optional=True),
    "late": Field("late", Kind.BOOL, "data", optional=True),
}

BOX = {3: 3, 4: 3, 5: 4, 6: 5, 7: 6, 10: 8}
COMPARISONS = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


def evaluate(node: ast.expr, event: dict[str, Any]) -> Any:
    """Say what an expression means, as slowly and plainly as possible; None is missing."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return event[node.id]
        case ast.BoolOp(op=ast.And()):
            return all(evaluate(item, event) or False for item in node.values)
        case ast.BoolOp():
            return any(evaluate(item, event) or False for item in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not (evaluate(node.operand, event) or False)
        case ast.UnaryOp():
            value = evaluate(node.operand, event)
            return None if value is None else -value
        case ast.IfExp():
            return evaluate(node.body if evaluate(node.test, event) else node.orelse, event)
        case ast.BinOp():
            left, right = evaluate(node.left, event), evaluate(node.right, event)
            if left is None or right is None or (isinstance(node.op, ast.Div) and right == 0):
                return None
            signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
            return signs[type(node.op)](float(left), float(right))
        case ast.Compare(ops=[ast.Is()]):
            return evaluate(node.left, event) is None
        case ast.Compare(ops=[ast.IsNot()]):
            return evaluate(node.left, event) is not None
        case ast.Compare(ops=[ast.In() | ast.NotIn() as op], comparators=[ast.List(elts=elements)]):
            value = evaluate(node.left, event)
            inside = value in [evaluate(element, event) for element in elements]
            return value is not None and inside is isinstance(op, ast.In)
        case ast.Compare():
            sides = [evaluate(side, event) for side in (node.left, *node.comparators)]
            return all(
                None not in (a, b) and COMPARISONS[type(op)](a, b)
                for a, op, b in zip(sides, node.ops, sides[1:], strict=False)
            )
        case ast.Call(func=ast.Name(id="top_box"), args=[item]):
            return BOX.get(evaluate(item, event))
        case ast.Call(func=ast.Name(id="coalesce"), args=[first, second]):
            value = evaluate(first, event)
            return evaluate(second, event) if value is None else value
    raise AssertionError(ast.dump(node))


class Sentences:
    """Random sentences of the language."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def condition(self, depth: int = 3) -> str:
        pick = self.random.choice
        if depth == 0:
            return pick(["late", "wait > 20", "queue == 'a'", "score in [4, 5]", "wait is None", "late is not None"])
        number, condition = (lambda: self.number(depth - 1)), (lambda: self.condition(depth - 1))
        return self.random.choice([
            lambda: f"({condition()} and {condition()})",
            lambda: f"({condition()} or {condition()})",
            lambda: f"(not {condition()})",
            lambda: f"({number()} {pick(['<', '<=', '>', '>=', '==', '!='])} {number()})",
            lambda: f"(1 <= {number()} < {pick(['5', '20.5'])})",
            lambda: f"(queue {pick(['==', '!='])} {self.text()})",
            lambda: f"(queue {pick(['in', 'not in'])} ['a', {self.text()}])",
            lambda: f"(late == {pick(['True', 'False'])})",
            lambda: f"({number()} {pick(['in', 'not in'])} [0, 0.5, 20])",
            lambda: f"({number()} is {pick(['', 'not '])}None)",
            lambda: "(score >= top_box(scale))",
            lambda: f"(coalesce(queue, {self.text()}) == 'b')",
            lambda: f"(coalesce(late, {pick(['True', 'False'])}))",
        ])()  # fmt: skip

    def number(self, depth: int = 3) -> str:
        pick = self.random.choice
        if depth == 0:
            return pick(["wait", "talk", "score", "scale", "0", "-0.0", "2", "0.5", "-1", "top_box(scale)"])
        number = lambda: self.number(depth - 1)  # noqa: E731
        return self.random.choice([
            lambda: f"({number()} {pick('+-*/')} {number()})",
            lambda: f"coalesce({number()}, {number()})",
            lambda: f"({number()} if {self.condition(depth - 1)} else {number()})",
            lambda: f"(-{number()})",
            number,
        ])()  # fmt: skip

    def text(self) -> str:
        return repr(self.random.choice(["a", "b", "it's", "back\\slash", "صف"]))

    def event(self) -> dict[str, Any]:
        pick = self.random.choice
        return {
            "wait": pick([None, 0.0, 0.1, 5.0, 20.0, 20.5, 1e9]),
            "talk": pick([0.0, 0.3, 7.0, 1e-3]),
            "scale": pick([None, 3, 4, 5, 6, 7, 10]),
            "score": pick([None, 0, 1, 3, 4, 5, 8, 10]),
            "queue": pick([None, "a", "b", "it's", "back\\slash", "صف"]),
            "late": pick([None, True, False]),
        }


def sentences(seed: int, many: int) -> Iterator[tuple[str, Kind]]:
    made = Sentences(seed)
    for n in range(many):
        yield (made.condition(), Kind.BOOL) if n % 2 else (made.number(), Kind.NUMBER)


def python_of(text: str, kind: Kind) -> Callable[[dict[str, Any]], Any]:
    source = parse(text, kind, FIELDS, {}).to_python(lambda name: f"event[{name!r}]")
    return eval(f"lambda event: {source}", dict(PYTHON_NAMES))


def same(left: Any, right: Any) -> bool:
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right) and (left is None) == (right is None)


@pytest.mark.slow
def test_python_means_what_the_language_says() -> None:
    """Every random sentence gives in Python what the plain evaluator gives, whatever is missing."""
    made = Sentences(7)
    events = [made.event() for _ in range(40)]
    for text, kind in sentences(11, 1500):
        tree, python = ast.parse(text, mode="eval").body, python_of(text, kind)
        for event in events:
            got, meant = python(event), evaluate(tree, event)
            if kind is Kind.BOOL:
                assert got is True or got is False, text
                meant = bool(meant)
            assert same(got, meant), (text, event, got, meant)


@pytest.mark.slow
def test_sql_means_what_the_language_says() -> None:
    """ClickHouse gives for every random sentence and event what the plain evaluator gives, to the last bit."""
    chdb = pytest.importorskip("chdb")
    made = Sentences(3)
    events = [made.event() for _ in range(40)]
    asked = list(sentences(5, 200))
    written = [parse(text, kind, FIELDS, {}).to_sql(lambda name: f"e_{name}") for text, kind in asked]
    columns = ", ".join(f"{sql} AS r{n}" for n, sql in enumerate(written))
    shape = (
        "n UInt32, e_wait Nullable(Float64), e_talk Nullable(Float64), e_scale Nullable(Int64),"
        " e_score Nullable(Int64), e_queue Nullable(String), e_late Nullable(Bool)"
    )
    rows = "\n".join(json.dumps({"n": n, **{f"e_{k}": v for k, v in e.items()}}) for n, e in enumerate(events))
    quoted = rows.replace("\\", "\\\\").replace("'", "\\'")
    answer = chdb.query(
        f"SELECT {columns} FROM format(JSONEachRow, '{shape}', '{quoted}') ORDER BY n"
        " SETTINGS output_format_json_quote_denormals = 1, max_query_size = 10000000, max_ast_elements = 1000000,"
        " max_expanded_ast_elements = 10000000",
        "JSONEachRow",
    )
    results = [json.loads(line) for line in str(answer).splitlines()]
    assert len(results) == len(events)
    for n, (text, kind) in enumerate(asked):
        tree = ast.parse(text, mode="eval").body
        for event, result in zip(events, results, strict=True):
            got, meant = result[f"r{n}"], evaluate(tree, event)
            if kind is Kind.BOOL:
                assert got in (0, 1), text
                assert bool(got) == bool(meant), (text, event)
            else:
                got = float(got) if isinstance(got, str) else got
                assert same(None if got is None else float(got), None if meant is None else float(meant)), (text, event)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("metrik == 'csat'", Kind.BOOL, "'metrik' is no field of these events; did you mean 'metric'?"),
        (
            "metric == 'cast'",
            Kind.BOOL,
            "\"'cast'\" is never a value of metric (ces, csat, enps, nps, stars); did you mean 'csat'?",
        ),
        ("metric == 5", Kind.BOOL, "'5' is a number where text is needed"),
        ("metric > 'csat'", Kind.BOOL, "'metric' is text: only numbers have an order"),
        ("score + metric", Kind.NUMBER, "'metric' is text where a number is needed"),
        ("score", Kind.BOOL, "'score' is a number where yes or no is needed"),
        ("score > 3", Kind.NUMBER, "'score > 3' is yes or no where a number is needed"),
        ("score >= topbox(scale)", Kind.BOOL, "calls no known function"),
        ("score >= top_box(wait_s)", Kind.BOOL, "top_box needs a field such as scale"),
        ("score in scale", Kind.BOOL, "cannot follow 'in': write a list"),
        ("score in [scale]", Kind.BOOL, "cannot stand in a list"),
        ("score is 5", Kind.BOOL, "cannot follow 'is': only None can"),
        ("score >", Kind.BOOL, "cannot be read near character"),
        ("__import__('os')", Kind.BOOL, "calls no known function"),
        ("metric.upper() == 'A'", Kind.BOOL, "is not part of the language"),
        ("[x for x in [1]]", Kind.BOOL, "is not part of the language"),
        ("score ** 2", Kind.NUMBER, "is not part of the language"),
        ("score if resolved else metric", Kind.NUMBER, "make it one kind"),
        ("score > 1e999", Kind.BOOL, "is too large"),
        ("time > 5", Kind.BOOL, "'time' is a time, which is asked by hour_of_day(time, 'Asia/Tehran')"),
        (f"score > 1{'0' * 400}", Kind.BOOL, "is too large"),
        ("score > -True", Kind.BOOL, "'True' is yes or no where a number is needed"),
        ("score > -'5'", Kind.BOOL, "is text where a number is needed"),
        (f"{'not ' * 3000}resolved", Kind.BOOL, "is nested deeper than 40 steps"),
        (" + ".join(["score"] * 3000), Kind.NUMBER, "is nested deeper than 40 steps"),
        (f"{'-(' * 60}score{')' * 60}", Kind.NUMBER, "is nested deeper than 40 steps"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, kind: Kind, says: str) -> None:
    """An error names the part that is wrong and what would be right."""
    with pytest.raises(ExpressionError) as refused:
        parse(text, kind, ANSWERED, {})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("(not ", ")", Kind.BOOL),
        ("(-", ")", Kind.NUMBER),
        ("1 / (2 + ", ")", Kind.NUMBER),
        ("coalesce(wait, ", ")", Kind.NUMBER),
        ("coalesce(wait / score, ", ")", Kind.NUMBER),
        ("(wait / talk if late else ", ")", Kind.NUMBER),
        ("(1 if 1 < ", " else wait)", Kind.NUMBER),
        ("(wait is None) == (", ")", Kind.BOOL),
        ("coalesce(late, late == (", "))", Kind.BOOL),
        ("(late if (", ") else late)", Kind.BOOL),
        ("(late and 1 in [1] and (late or ", "))", Kind.BOOL),
    ],
)
def test_what_is_deep_but_taken_can_be_compiled(before: str, after: str, kind: Kind) -> None:
    """Up to the limit of depth, whatever is put into what, Python takes the source."""
    inner = "late" if kind is Kind.BOOL else "wait"
    texts = [f"{before * deep}{inner}{after * deep}" for deep in range(DEEPEST + 2)]
    taken = [text for text in texts if not too_deep(text, kind)]
    assert 10 < len(taken) < len(texts)
    given = {"wait": 2.0, "talk": 3.0, "score": 4, "late": True}
    assert same(python_of(taken[-1], kind)(given), evaluate(ast.parse(taken[-1], mode="eval").body, given))


def too_deep(text: str, kind: Kind) -> bool:
    try:
        parse(text, kind, FIELDS, {})
    except ExpressionError as error:
        return "nested deeper" in str(error)
    return False


def test_top_boxes_of_all_scales() -> None:
    """Top 1 of 3 points, top 2 of 4 to 7, top 3 of 10."""
    is_satisfied = python_of("score >= top_box(scale)", Kind.BOOL)
    satisfied = {
        scale: [score for score in range(scale + 1) if is_satisfied({"scale": scale, "score": score})]
        for scale in TOP_BOX
    }
    assert satisfied == {3: [3], 4: [3, 4], 5: [4, 5], 6: [5, 6], 7: [6, 7], 10: [8, 9, 10]}


def test_parameters_are_filled_in() -> None:
    """The text that counts for the definition holds the values of its parameters."""
    read = parse("wait_s  <=\n threshold_s", Kind.BOOL, LEFT, {"threshold_s": 20})
    assert read.text == "wait_s <= 20"
    assert read.fields == {"wait_s"}
    assert read.to_sql(lambda name: f"data.{name}") == "ifNull(data.wait_s <= 20, false)"


def test_divisions_below_divisions_do_not_double_the_source() -> None:
    """Each divisor is written once, however deep it stands."""
    sizes = [
        len(parse(f"{'1 / (talk + ' * deep}wait{')' * deep}", Kind.NUMBER, FIELDS, {}).to_python(str))
        for deep in (8, 16)
    ]
    assert sizes[1] < 3 * sizes[0]


def test_a_type_that_is_declared_anew_has_its_new_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its fields were asked for before, alone and beside others."""
    one = derived.shipped()[0]
    derived.declare([one])
    for kept in (derived._declared, derived._data, derived._events):
        monkeypatch.setitem(kept, one.name, kept[one.name])  # type: ignore[arg-type]
    fewer = msgspec.structs.replace(one, fields=one.fields[:-1])
    for declared in (one, fewer, one):
        derived.declare([declared])
        for names in ([one.name], [one.name, "cx.session.started"]):
            assert (one.fields[-1].name in all_fields(names)) is (declared is one)


def test_a_field_some_types_lack_is_optional() -> None:
    """Over several types a field keeps only what all of them promise."""
    fields = all_fields(["cx.contact.queue_left", "cx.contact.handled"])
    assert fields["reason"].optional
    assert not LEFT["reason"].optional
    assert fields["type"].values == ("cx.contact.queue_left", "cx.contact.handled")
