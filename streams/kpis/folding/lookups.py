"""How events that are alike find the series they go to: rows of series, and tables that lead to them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import inf
from typing import Any, Final, TypeAlias

from streams.events.text import is_cut
from streams.kpis.language.effects import Effect
from streams.kpis.language.series import UNKNOWN, sent_label

LabelValue: TypeAlias = str | int | bool | None

NOTHING: Final = 0
"""The row without entries."""


class EffectRow:
    """The series that events alike in facts and labels go to, sorted by what is to be done for each."""

    __slots__ = ("bins", "empty", "gathered", "more", "ones", "threes", "twos")

    def __init__(self, entries: Iterable[tuple[str, Effect]]) -> None:
        self.ones: list[tuple[str, int]] = []
        self.twos: list[tuple[str, int, int]] = []
        self.threes: list[tuple[str, int, int, int]] = []
        self.more: list[tuple[str, tuple[int, ...]]] = []
        self.bins: list[tuple[str, int]] = []
        self.gathered: dict[int, list[str]] = {}
        for key, (_, how, payload) in entries:
            match how, payload:
                case "bin", (index,):
                    self.bins.append((key, index))
                case "gather", (channel,):
                    self.gathered.setdefault(channel, []).append(key)
                case _, (a,):
                    self.ones.append((key, a))
                case _, (a, b):
                    self.twos.append((key, a, b))
                case _, (a, b, c):
                    self.threes.append((key, a, b, c))
                case _:
                    self.more.append((key, payload))
        self.empty = not (self.ones or self.twos or self.threes or self.more or self.bins)

    def under(self, labels: str) -> EffectRow:
        """Return the row of these labels, where this one's entries are named by KPI: labels as in a series key."""
        row = EffectRow.__new__(EffectRow)
        row.ones = [(kpi + labels, a) for kpi, a in self.ones] if self.ones else self.ones
        row.twos = [(kpi + labels, a, b) for kpi, a, b in self.twos] if self.twos else self.twos
        row.threes = [(kpi + labels, a, b, c) for kpi, a, b, c in self.threes] if self.threes else self.threes
        row.more = [(kpi + labels, fields) for kpi, fields in self.more] if self.more else self.more
        row.bins = [(kpi + labels, index) for kpi, index in self.bins] if self.bins else self.bins
        row.gathered = {channel: [kpi + labels for kpi in kpis] for channel, kpis in self.gathered.items()}
        row.empty = self.empty
        return row

    def keys(self) -> Iterator[str]:
        """Yield the series keys of all its entries."""
        for entries in (self.ones, self.twos, self.threes, self.more, self.bins):
            for entry in entries:
                yield entry[0]
        for keys in self.gathered.values():
            yield from keys


class Table(list[EffectRow]):
    """
    All rows known, how much is remembered to find them, and how many label values may still be new.

    Without `credit`, labels that were never seen are counted under the rest and noted as `overflowed`: a row of their
    own costs a hundred times as much as one that is there, in time and in memory.
    """

    def __init__(self) -> None:
        super().__init__([EffectRow(())])
        self.remembered = 0
        self.credit = inf
        self.overflowed = 0
        self.cut = 0
        """Labels that could not be carried whole, counted when they are met first."""
        self.fresh: list[int] = []
        """Rows of labels that were never seen before."""

    def add(self, entries: Sequence[tuple[str, Effect]]) -> int:
        """Keep a row and give its number; `NOTHING` for one without entries."""
        return self.keep(EffectRow(entries)) if entries else NOTHING

    def keep(self, row: EffectRow) -> int:
        """Keep a row as it is and give its number."""
        self.append(row)
        return len(self) - 1


class Lookup(dict[Any, Any]):
    """A dictionary that makes what it does not have, and counts it."""

    __slots__ = ("_make", "_table")

    def __init__(self, table: Table, make: Callable[[Any], Any]) -> None:
        super().__init__()
        self._table = table
        self._make = make

    def __missing__(self, key: Any) -> Any:
        made = self[key] = self._make(key)
        self._table.remembered += 1
        return made


class NoSeries(dict[Any, int]):
    """Stands where a grouping has nothing to count, whatever the labels: they are not looked at."""

    __slots__ = ()

    def __missing__(self, _: Any) -> int:
        return NOTHING


class LabelLookup(dict[Any, int]):
    """Rows by the open labels of a grouping; what there is no credit for shares one, as do values no dictionary has."""

    __slots__ = ("_dictionaries", "_rest", "_row_of", "_table")

    def __init__(
        self,
        table: Table,
        row_of: Callable[[Sequence[LabelValue] | None], int],
        dictionaries: Sequence[Collection[str] | None],
    ) -> None:
        """`row_of` makes the row of labels, and without any that of the rest; dictionaries are by label, None: all."""
        super().__init__()
        self._table = table
        self._row_of = row_of
        self._dictionaries = dictionaries
        self._rest: int | None = None

    def __missing__(self, given: Any) -> int:
        labels = given if len(self._dictionaries) > 1 else (given,)
        if None in labels:
            return NOTHING
        named = tuple(map(_named, labels, self._dictionaries))
        if "" in named:
            return NOTHING
        key = named if len(named) > 1 else named[0]
        table = self._table
        if key != given and key in self:
            # Another spelling is remembered too, while there is credit; names that no dictionary has are not.
            if UNKNOWN not in named and table.credit >= 1:
                table.credit -= 1
                table.remembered += 1
                self[given] = self[key]
            return self[key]
        if table.credit < 1 and None in self._dictionaries:
            table.overflowed += 1
            if self._rest is None:
                self._rest = self._row_of(None)
            return self._rest
        table.credit -= 1
        table.remembered += 1
        if named != labels:
            table.cut += sum(1 for label in labels if isinstance(label, str) and is_cut(label))
        made = self[key] = self._row_of(named)
        table.fresh.append(made)
        return made


def _named(label: LabelValue, known: Collection[str] | None) -> LabelValue:
    """Return the label that a value names a series by; of those that have a dictionary, only what is in it."""
    if not isinstance(label, str):
        return label
    name = sent_label(label)
    return name if known is None or not name or name in known else UNKNOWN
