"""The two back ends of the expression language, side by side because they must agree on every event."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from typing import Final

from streams.events.text import normalise, normalise_sql
from streams.kpis.language.fields import Kind
from streams.kpis.language.steps import WEEKDAYS, clock_of
from streams.kpis.language.tree import (
    TOP_BOX,
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
)

# What the Python source of an expression needs besides the fields.
PYTHON_NAMES: Final = {"TOP_BOX": TOP_BOX, "WEEKDAYS": WEEKDAYS, "clock_of": clock_of, "normalise": normalise}

_HOLDS: Final = {
    "contains": ("{1} in {0}", "position({0}, {1}) > 0"),
    "starts_with": ("{0}.startswith({1})", "startsWith({0}, {1})"),
    "ends_with": ("{0}.endswith({1})", "endsWith({0}, {1})"),
}
"""How Python and ClickHouse ask whether a text holds another one."""

# 1970-01-01 was a Thursday. Whole seconds suffice: no clock shows another minute within one.
_PARTS: Final = {
    "hour_of_day": ("{0} // 3600 % 24", "intDiv({0}, 3600) % 24"),
    "minute_of_day": ("{0} // 60 % 1440", "intDiv({0}, 60) % 1440"),
    "day": ("{0} // 86400", "intDiv({0}, 86400)"),
    "day_of_week": ("WEEKDAYS[({0} // 86400 + 3) % 7]", "[{1}][(intDiv({0}, 86400) + 3) % 7 + 1]"),
}


def _is_open_text(node: Node) -> bool:
    """Return whether a node is text that is compared in its normal form: all but fields whose values are listed."""
    return kind_of(node) is Kind.TEXT and not (isinstance(node, Name) and node.field.values)


def _listed(values: Iterable[Param]) -> Iterator[Param]:
    """Yield what a value is compared with, text in its normal form."""
    return (normalise(value) if isinstance(value, str) else value for value in values)


class _PythonWriter:
    """Writes source in which nothing missing is ever touched: each part comes with the guards that must hold before."""

    def __init__(self, reference: Callable[[str], str], known: Mapping[Node, str]) -> None:
        self._reference = reference
        self._known = known
        self._fresh = (f"_v{n}" for n in count())

    def condition(self, node: Node) -> str:
        """Write a condition: True or False, whatever is missing."""
        if node in self._known:
            return self._known[node]
        match node:
            case Compare(operator, left, right):
                (a, needs_a), (b, needs_b) = self._compared(left), self._compared(right)
                return self._guarded([*needs_a, *needs_b], f"{a} {operator} {b}")
            case Among(item, values, negated):
                source, needs = self._compared(item)
                listed = ", ".join(map(repr, _listed(values)))
                return self._guarded(needs, f"{source} {'not in' if negated else 'in'} ({listed},)")
            case Holds(how, item, texts):
                source, needs = self._compared(item)
                found = " or ".join(_HOLDS[how][0].format(source, repr(text)) for text in _listed(texts))
                return self._guarded(needs, f"({found})")
            case Missing(item, negated):
                _, needs = self.value(item)
                present = self._guarded(needs, "True")
                return present if negated else f"(not {present})"
            case Not(item):
                return f"(not {self.condition(item)})"
            case Joined(operator, items):
                return f"({f' {operator} '.join(map(self.condition, items))})"
            case Literally(value):
                return repr(value)
            case _:
                source, needs = self.value(node)
                return self._guarded(needs, source)

    def _compared(self, node: Node) -> tuple[str, list[str]]:
        """Write a value as it is compared, and the guards under which it is there."""
        source, needs = self.value(node)
        return (f"normalise({source})" if _is_open_text(node) else source), needs

    def value(self, node: Node) -> tuple[str, list[str]]:
        """Write a value, and the guards under which it is there."""
        match node:
            case Literally(value):
                return repr(value), []
            case Name(field):
                source = self._reference(field.name)
                return source, [f"{source} is not None"] if field.optional else []
            case Arithmetic(operator, left, right):
                (a, needs_a), (b, needs_b) = self._double(left), self._double(right)
                needs = [*needs_a, *needs_b]
                if operator == "/" and isinstance(right, Literally):
                    needs += ["False"] if float(right.value) == 0 else []
                elif operator == "/" and isinstance(right, Name):
                    needs.append(f"{b} != 0")
                elif operator == "/":
                    # Written once: written twice, each division below a division would double the source.
                    name = next(self._fresh)
                    needs.append(f"({name} := {b}) != 0")
                    b = name
                return f"({a} {operator} {b})", needs
            case TimePart(part, item, zone):
                source, needs = self.value(item)
                local = f"clock_of({zone!r}).local(int({source}.timestamp()))"
                return f"({_PARTS[part][0].format(local)})", needs
            case Call("top_box", items):
                source, needs = self.value(items[0])
                return self._held(self._guarded_value(needs, f"TOP_BOX.get({source})"))
            case Call(_, items):
                (first, needs), (second, needs_second) = map(self._plain, items)
                if not needs:
                    return first, []
                chosen = f"({first} if {' and '.join(needs)} else {self._guarded_value(needs_second, second)})"
                return self._held(chosen) if needs_second else (chosen, [])
            case Choice(test, then, otherwise):
                (a, needs_a), (b, needs_b) = self._plain(then), self._plain(otherwise)
                either = f"{self._guarded_value(needs_a, a)} if {self.condition(test)} else "
                chosen = f"({either}{self._guarded_value(needs_b, b)})"
                return self._held(chosen) if needs_a or needs_b else (chosen, [])
            case _:
                return self.condition(node), []

    def _plain(self, node: Node) -> tuple[str, list[str]]:
        return self._double(node) if kind_of(node) is Kind.NUMBER else self.value(node)

    def _double(self, node: Node) -> tuple[str, list[str]]:
        """Write a number as a double, as SQL will calculate with it."""
        if isinstance(node, Literally):
            return repr(float(node.value)), []
        source, needs = self.value(node)
        if isinstance(node, Name) and node.field.whole:
            return f"float({source})", needs
        return source, needs

    def _held(self, source: str) -> tuple[str, list[str]]:
        """Compute a value once, in the guard that asks whether it is there."""
        name = next(self._fresh)
        return name, [f"({name} := {source}) is not None"]

    @staticmethod
    def _guarded(needs: list[str], source: str) -> str:
        return f"({' and '.join([*needs, source])})"

    @staticmethod
    def _guarded_value(needs: list[str], source: str) -> str:
        return f"({source} if {' and '.join(needs)} else None)" if needs else source


def write_python(tree: Node, reference: Callable[[str], str], known: Mapping[Node, str]) -> str:
    """Write a tree as a Python expression that may use `PYTHON_NAMES`."""
    writer = _PythonWriter(reference, known)
    if kind_of(tree) is Kind.BOOL:
        return writer.condition(tree)
    source, needs = writer.value(tree)
    return writer._guarded_value(needs, source)  # noqa: SLF001 - same module


def sql_literal(value: Param) -> str:
    """Write a literal for ClickHouse."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return repr(value)


class _SqlWriter:
    """Writes conditions that are never NULL and values that are NULL where they are missing."""

    def __init__(self, column_of: Callable[[str], str]) -> None:
        self._column_of = column_of

    def condition(self, node: Node) -> str:
        match node:
            case Compare(operator, left, right):
                sign = "=" if operator == "==" else operator
                return f"ifNull({self._compared(left)} {sign} {self._compared(right)}, false)"
            case Among(item, values, negated):
                listed = ", ".join(map(sql_literal, _listed(values)))
                # Sets tell -0.0 from 0, as equality does not; what is added to zero is never -0.0.
                found = f"{self._plain(item)} + 0" if kind_of(item) is Kind.NUMBER else self._compared(item)
                return f"ifNull({found} {'NOT IN' if negated else 'IN'} ({listed}), false)"
            case Holds(how, item, texts):
                found = " OR ".join(
                    _HOLDS[how][1].format(self._compared(item), sql_literal(text)) for text in _listed(texts)
                )
                return f"ifNull({found}, false)"
            case Missing(item, negated):
                return f"{'isNotNull' if negated else 'isNull'}({self.value(item)})"
            case Not(item):
                return f"(NOT {self.condition(item)})"
            case Joined(operator, items):
                return f"({f' {operator.upper()} '.join(map(self.condition, items))})"
            case Literally(value):
                return sql_literal(value)
            case _:
                return f"ifNull({self.value(node)}, false)"

    def _compared(self, node: Node) -> str:
        value = self.value(node)
        if not _is_open_text(node):
            return value
        if isinstance(node, Literally):
            return sql_literal(normalise(str(node.value)))
        return f"if(isNull({value}), NULL, {normalise_sql(f'assumeNotNull({value})')})"

    def value(self, node: Node) -> str:
        match node:
            case Literally(value):
                return sql_literal(value)
            case Name(field):
                return self._column_of(field.name)
            case Arithmetic("/", left, right):
                return f"({self._double(left)} / nullIf({self._double(right)}, 0))"
            case Arithmetic(operator, left, right):
                return f"({self._double(left)} {operator} {self._double(right)})"
            case TimePart(part, item, zone):
                days = ", ".join(map(sql_literal, WEEKDAYS))
                return f"toNullable({_PARTS[part][1].format(_local_sql(self.value(item), zone), days)})"
            case Call("top_box", items):
                scales, lowest = list(TOP_BOX), list(TOP_BOX.values())
                scale = f"toInt64(ifNull({self.value(items[0])}, 0))"
                return f"nullIf(transform({scale}, {scales}, {lowest}, 0), 0)"
            case Call(_, items):
                return f"ifNull({', '.join(map(self._plain, items))})"
            case Choice(test, then, otherwise):
                return f"if({self.condition(test)}, {self._plain(then)}, {self._plain(otherwise)})"
            case _:
                return self.condition(node)

    def _plain(self, node: Node) -> str:
        return self._double(node) if kind_of(node) is Kind.NUMBER else self.value(node)

    def _double(self, node: Node) -> str:
        source = self.value(node)
        return source if isinstance(node, Arithmetic) else f"toFloat64({source})"


def _local_sql(time: str, zone: str) -> str:
    """Write what clocks show at a time, in seconds since 1970-01-01 00:00, by the same rules as `Clock.local`."""
    clock = clock_of(zone)
    at = f"intDiv(toUnixTimestamp64Milli(assumeNotNull({time})), 1000)"
    if len(clock.since) == 1:
        return f"({at} + {clock.offsets[0]})"
    since = f"[{', '.join(map(str, clock.since))}]"
    offsets = f"[{', '.join(map(str, clock.offsets))}]"
    return f"({at} + transform(roundDown({at}, {since}), {since}, {offsets}, 0))"


def write_sql(tree: Node, column_of: Callable[[str], str]) -> str:
    """Write a tree as a ClickHouse expression."""
    writer = _SqlWriter(column_of)
    return writer.condition(tree) if kind_of(tree) is Kind.BOOL else writer.value(tree)
