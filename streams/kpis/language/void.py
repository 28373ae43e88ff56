"""
Which sums have no value: a share of hits that nobody was ever seen to send, and a total over several currencies.

Both are read off the KPI's own series. A ratio whose hits are other events than its trials is 0 % where hits fail to
come, and unknown where they cannot: until the first one was counted, of the series' channel where the KPI is kept by
channel, it is unknown, unless somebody has declared that they are sent. So is a share of events with a mark that reads
as `false` where it is absent: nobody knows whether such senders mark anything, until the first mark came. Where hits
and misses are events of different types, a sender may send either alone: 100 % is unknown until the first miss, too.
Of a KPI in money the series by currency tell how many currencies a window holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from msgspec import structs

from streams.events.types import DATA_TYPES
from streams.kpis.language.definition import Kpi, Selector
from streams.kpis.language.series import Labels

CURRENCY: Final = "currency"
SEVERAL: Final = "several currencies: see the values by currency"

Fields: TypeAlias = Sequence[int]


class VoidRule(NamedTuple):
    """When sums of a KPI have no value."""

    place: int
    """The field that counts hits; -1: amounts, of which no field tells the currency."""
    groupings: frozenset[tuple[str, ...]]
    declared: frozenset[str]
    """Channels that are known to send hits; an empty name stands for all."""
    both: bool = False
    """Whether misses, too, can be what nobody sends."""

    def lacks(self, fields: Fields) -> bool:
        """Return whether sums hold no hit, or nothing else where that can be missing as well."""
        hits = fields[self.place]
        return not hits or (self.both and hits == fields[self.place - 1])

    def scope(self, labels: Labels) -> Labels:
        """Return the labels of the series that tells of hits."""
        channel = tuple(pair for pair in labels if pair[0] == "channel")
        if channel and ("channel",) in self.groupings:
            return channel
        return () if () in self.groupings else labels

    def beside(self, labels: Labels) -> Labels | None:
        """Return the labels, beside the currency, of the series that tell of currencies; None: none do."""
        names = tuple(sorted([CURRENCY, *(name for name, _ in labels)]))
        if names in self.groupings:
            return labels
        return () if (CURRENCY,) in self.groupings else None

    def is_void(
        self,
        labels: Labels,
        fields: Fields,
        total_of: Callable[[Labels], Fields | None],
        currencies_of: Callable[[Labels], int],
    ) -> bool:
        """
        Return whether the sums of a series in a window have no value.

        Args:
            labels: Of the series, sorted by name.
            fields: What the window holds of it.
            total_of: Gives what is known since the beginning of a series of the KPI with these labels.
            currencies_of: Gives how many series by currency the window holds beside these labels.
        """
        if not fields or not fields[0]:
            return False
        if self.place < 0:
            beside = None if any(name == CURRENCY for name, _ in labels) else self.beside(labels)
            return beside is not None and currencies_of(beside) > 1
        if not self.lacks(fields) or "" in self.declared:
            return False
        channel = dict(labels).get("channel", "")
        if channel in self.declared or (not channel and self.declared):
            return False
        total = total_of(self.scope(labels))
        return not total or self.lacks(total)


def rule_of(kpi: Kpi) -> VoidRule | None:
    """Return when sums of a KPI have no value; None: they always have one."""
    groupings = frozenset(kpi.groupings)
    if kpi.hits is not None and kpi.aggregator in _PLACES and (not kpi.nested or _can_be_silent(kpi.hits)):
        return VoidRule(_PLACES[kpi.aggregator], groupings, kpi.declared, _are_types(kpi))
    if kpi.unit == "currency" and kpi.aggregator in {"sum", "share", "mean"} and (CURRENCY,) in groupings:
        return VoidRule(-1, groupings, frozenset())
    return None


def _are_types(kpi: Kpi) -> bool:
    """Return whether the types of the events say which of them hit."""
    return kpi.nested and kpi.hits is not None and "type" in kpi.hits.where.fields and len(kpi.of.events) > 1


def _can_be_silent(hits: Selector) -> bool:
    """Return whether trials can come of senders who never send such hits: of a type of its own, or of a mark."""
    return "type" in hits.where.fields or any(
        field.name in hits.where.fields and field.default is False
        for event in hits.events
        if event in DATA_TYPES
        for field in structs.fields(DATA_TYPES[event])
    )


def rules_of(kpis: Iterable[Kpi]) -> Mapping[str, VoidRule]:
    """Return the rules by KPI id, of those that have one."""
    return {kpi.id: rule for kpi in kpis if (rule := rule_of(kpi)) is not None}


def reason_of(kpi: Kpi) -> str:
    """Say why sums of a KPI may have no value although something was counted; empty: they always have one."""
    rule = rule_of(kpi)
    if rule is None:
        return ""
    if rule.place < 0:
        return SEVERAL
    assert kpi.hits is not None
    events = ", ".join(kpi.hits.written)
    if rule.both:
        return f"not each of {events} was ever received"
    where = "" if kpi.hits.where.text == "True" else f" where {kpi.hits.where.text}"
    return f"nothing of {events}{where} was ever received"


def with_declared(kpi: Kpi, sent: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Return the channels that declare to send all hits of a KPI, given who sends which event type."""
    types = kpi.hits.events if kpi.hits else ()
    channels = [sent.get(event, frozenset()) for event in types]
    return frozenset.intersection(*channels) if channels else frozenset()


_PLACES: Final = {"ratio": 1, "share": 2}
