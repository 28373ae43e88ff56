"""
A whole series of minutes in one line of text, for tests of rules.

The line holds items apart by spaces, each a minute; `xN` behind an item repeats it, and `_` is a minute with nothing.
How a minute is written depends on what the KPI is made of:

| kind | a minute | for example |
|---|---|---|
| count | how many | `12x60` |
| ratio | hits/trials | `85/100x60` |
| nps | promoters-detractors/answers | `50-10/100` |
| mean | mean(n=answers), after `~` the deviation of single answers | `4.2(n=30)`, `180~60(n=20)` |
| sum | total(n=events) | `950.5(n=12)` |
| quantile | value(n=how many), several with commas | `60(n=18),300(n=2)` |
| distinct | how many, each by somebody who never comes again | `12x60` |
| source | records, after `!` how many of them were refused | `60x30 60!20x5 _x10` |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Final, TypeVar

from streams.kpis.arithmetic.accumulators import Acc, quantise
from streams.kpis.arithmetic.coupons import coupon_of
from streams.kpis.arithmetic.sketch import bin_of
from streams.kpis.language.definition import Kpi

T = TypeVar("T")

MOST_MINUTES: Final = 100_000
"""Minutes that a line can have: more than two months."""

MOST_CUSTOMERS: Final = 1_000_000
"""Different ones that a line can have altogether; each is hashed, some seconds for all."""

_ITEM: Final = re.compile(r"(.+?)(?:x(\d{1,6}))?")
_NUMBER: Final = r"-?\d{1,9}(?:\.\d{1,6})?"
_SHAPES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "count": (re.compile(r"(\d{1,9})"), "a count, e.g. 12"),
    "ratio": (re.compile(r"(\d{1,9})/(\d{1,9})"), "hits/trials, e.g. 85/100"),
    "nps": (re.compile(r"(\d{1,9})-(\d{1,9})/(\d{1,9})"), "promoters-detractors/answers, e.g. 50-10/100"),
    "mean": (
        re.compile(rf"({_NUMBER})(?:~(\d{{1,9}}(?:\.\d{{1,6}})?))?\(n=(\d{{1,9}})\)"),
        "mean(n=answers), e.g. 4.2(n=30), or with a deviation 4.2~0.8(n=30)",
    ),
    "sum": (re.compile(rf"({_NUMBER})\(n=(\d{{1,9}})\)"), "total(n=events), e.g. 950.5(n=12)"),
    "quantile": (re.compile(rf"({_NUMBER})\(n=(\d{{1,9}})\)"), "value(n=how many), e.g. 60(n=18),300(n=2)"),
    "distinct": (re.compile(r"(\d{1,4})"), "how many different ones, e.g. 12"),
    "source": (re.compile(r"(\d{1,9})(?:!(\d{1,9}))?"), "records, e.g. 60, or 60!20 with 20 of them refused"),
}


def minutes_of(line: str, kpi: Kpi, series: str = "") -> list[Acc | None]:
    """
    Read the minutes of a series; None for those that hold nothing. Distinct ones are others in each `series`.

    Raises:
        ValueError: An item is not what the KPI is made of; names it, its place, and what is expected.
    """
    aggregator = kpi.aggregator
    if aggregator not in _SHAPES:
        raise ValueError(f"{kpi.id} is a {aggregator}, and minutes of that cannot be written in a line")
    if aggregator == "distinct":
        return _customers(_expand(line, lambda item: int(_match(item, aggregator)[0])), series)
    return _expand(line, lambda item: _acc(item, aggregator, kpi.scale))


def _customers(minutes: list[int | None], series: str) -> list[Acc | None]:
    if sum(n or 0 for n in minutes) > MOST_CUSTOMERS:
        raise ValueError(f"more than {MOST_CUSTOMERS} different ones")
    numbers = count()
    return [
        None if n is None else dict(Counter(coupon_of(f"{series} {next(numbers)}") for _ in range(n))) for n in minutes
    ]


def sources_of(line: str) -> list[tuple[int, int] | None]:
    """
    Read the records of a source by minute, and how many of them were refused.

    Raises:
        ValueError: As for `minutes_of`.
    """

    def records(item: str) -> tuple[int, int]:
        read, bad = _match(item, "source")
        if int(bad or 0) > int(read):
            raise ValueError(f"{item!r} has more refused records than records")
        return int(read), int(bad or 0)

    return _expand(line, records)


def _expand(line: str, read: Callable[[str], T]) -> list[T | None]:
    found: list[T | None] = []
    for place, item in enumerate(line.split(), 1):
        matched = _ITEM.fullmatch(item)
        assert matched is not None
        what, repeated = matched[1], int(matched[2] or 1)
        if not repeated:
            raise ValueError(f"item {place}, {item!r}: x0 repeats nothing")
        if len(found) + repeated > MOST_MINUTES:
            raise ValueError(f"item {place}, {item!r}: more than {MOST_MINUTES} minutes")
        try:
            minute = None if what == "_" else read(what)
        except ValueError as error:
            raise ValueError(f"item {place}: {error}") from None
        found += [minute] * repeated
    return found


def _match(item: str, kind: str) -> tuple[str, ...]:
    shape, expected = _SHAPES[kind]
    matched = shape.fullmatch(item)
    if matched is None:
        raise ValueError(f"{item!r} is not {expected}; _ is a minute with nothing, and xN behind an item repeats it")
    return matched.groups(default="")


def _acc(item: str, aggregator: str, scale: int) -> Acc:
    if aggregator == "quantile":
        bins: dict[int, int] = {}
        for part in item.split(","):
            value, n = _match(part, "quantile")
            index = bin_of(quantise(float(value), scale))
            bins[index] = bins.get(index, 0) + int(n)
        return {index: count for index, count in bins.items() if count}
    parts = _match(item, aggregator)
    match aggregator:
        case "count":
            return [int(parts[0])]
        case "ratio":
            if int(parts[0]) and not int(parts[1]):
                raise ValueError(f"{item!r} has hits without a trial")
            return [int(parts[1]), int(parts[0])]
        case "nps":
            up, down, answers = map(int, parts)
            if up + down > answers:
                raise ValueError(f"{item!r} has more promoters and detractors than answers")
            return [answers, up, down]
        case "sum":
            if float(parts[0]) and not int(parts[1]):
                raise ValueError(f"{item!r} has a total of no events")
            return [int(parts[1]), quantise(float(parts[0]), scale)]
        case _:
            mean, deviation, count = float(parts[0]) * scale, float(parts[1] or 0) * scale, int(parts[2])
            return [count, round(count * mean), round(count * mean**2 + max(0, count - 1) * deviation**2)]
