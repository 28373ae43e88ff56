"""The conditions and values of YAML definitions, evaluated from their syntax tree with none of the product."""

import ast
import operator
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

MISSING = None
LOWEST_OF_TOP = {3: 3, 4: 3, 5: 4, 6: 5, 7: 6, 10: 8}
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SIGNS: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
}  # fmt: skip


@cache
def asked(text: str) -> Callable[[dict[str, Any]], Any]:
    """Return what evaluates a text over the fields of an event; MISSING where the event says nothing."""
    tree = ast.parse(text, mode="eval").body
    return lambda fields: _value(tree, fields)


def _value(node: ast.AST, fields: dict[str, Any]) -> Any:
    def of(one: ast.AST) -> Any:
        return _value(one, fields)

    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return fields.get(name, MISSING)
        case ast.List(items) | ast.Tuple(items):
            return [of(item) for item in items]
        case ast.UnaryOp(ast.USub(), item):
            return -of(item)
        case ast.UnaryOp(ast.Not(), item):
            return of(item) is not True
        case ast.BoolOp(ast.And(), items):
            return all(of(item) is True for item in items)
        case ast.BoolOp(_, items):
            return any(of(item) is True for item in items)
        case ast.IfExp(test, then, otherwise):
            return of(then) if of(test) is True else of(otherwise)
        case ast.BinOp(left, sign, right):
            a, b = of(left), of(right)
            if a is MISSING or b is MISSING or (isinstance(sign, ast.Div) and b == 0):
                return MISSING
            return a / b if isinstance(sign, ast.Div) else SIGNS[type(sign)](a, b)
        case ast.Compare(left, signs, items):
            ends = [left, *items]
            return all(_compared(ends[i], sign, ends[i + 1], of) for i, sign in enumerate(signs))
        case ast.Call(ast.Name(name), items):
            return _called(name, [of(item) for item in items])
    raise ValueError(ast.dump(node))


def _compared(left: ast.AST, sign: ast.AST, right: ast.AST, of: Callable[[ast.AST], Any]) -> bool:
    a = of(left)
    if isinstance(sign, ast.Is | ast.IsNot):
        return (a is MISSING) == isinstance(sign, ast.Is)
    b = of(right)
    if a is MISSING or b is MISSING:
        return False
    if isinstance(sign, ast.In | ast.NotIn):
        return (a in b) == isinstance(sign, ast.In)
    return bool(SIGNS[type(sign)](a, b))


def _called(name: str, given: list[Any]) -> Any:
    first, *rest = given
    match name:
        case "coalesce":
            return rest[0] if first is MISSING else first
        case "top_box":
            return LOWEST_OF_TOP.get(first, MISSING)
    if first is MISSING:
        return MISSING
    texts = rest[0] if rest and isinstance(rest[0], list) else rest
    match name:
        case "contains":
            return any(text in first for text in texts)
        case "starts_with":
            return any(first.startswith(text) for text in texts)
        case "ends_with":
            return any(first.endswith(text) for text in texts)
    local = datetime.fromtimestamp(first / 1000, ZoneInfo(rest[0]))
    return {
        "hour_of_day": local.hour, "minute_of_day": local.hour * 60 + local.minute, "day_of_week": DAYS[local.weekday()],
    }[name]  # fmt: skip
