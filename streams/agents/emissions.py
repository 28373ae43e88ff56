"""What a closed range of a source sends on: its share of every merge partition, its block, and its dead letters."""

from collections.abc import Iterator
from typing import Any

from streams.agents import records
from streams.agents.sources import Closed, Source
from streams.engine.names import Topics
from streams.engine.outgoing import Outgoing
from streams.events.scalars import DERIVED
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Deltas
from streams.kpis.folding.partials import Partial, encode_partial
from streams.kpis.language.series import SEPARATOR
from streams.relations.ranges import FactRange, encode_range


class Emissions:
    """Makes the records of ranges; the same range always gives the same ones, but for news of the watermark."""

    def __init__(
        self,
        topics: Topics,
        catalogue: Catalogue,
        *,
        partitions: int,
        epoch: int,
        relations: bool = False,
        cases: bool = False,
    ) -> None:
        self._topics = topics
        self._partitions = partitions
        self._epoch = epoch
        self._relations = relations
        self._cases = cases
        self._partition_of = {kpi.id: catalogue.partition_of(kpi.id, partitions) for kpi in catalogue}

    def of(self, closed: Closed, watermark: float | None, caught_up: bool) -> Iterator[Outgoing]:
        """Yield all records of a range, with the watermark of its source (Unix s)."""
        tp, outcome = closed.source.tp, closed.outcome
        frozen = outcome.frozen
        brought: list[dict[str, str]] = [{} for _ in range(self._partitions)]
        for series, sender in closed.brought.items():
            brought[self._home(series)][series] = sender
        for partition, share in enumerate(self._shares(closed.deltas)):
            partial = Partial(
                source=frozen.source,
                first=records.position(self._epoch, frozen.first),
                last=records.position(self._epoch, frozen.last),
                watermark=watermark,
                caught_up=caught_up,
                deltas=share,
                tally=outcome.tally,
                minutes=closed.minutes,
                brought=brought[partition],
            )
            yield Outgoing(self._topics.partials, partition, None, encode_partial(partial))
        if self._tells_relations(closed.source):
            first, last = records.position(self._epoch, frozen.first), records.position(self._epoch, frozen.last)
            facts = FactRange(frozen.source, first, last, watermark, caught_up, closed.facts)
            yield Outgoing(self._topics.facts, tp.partition, None, encode_range(facts))
        if self._cases:
            first, last = records.position(self._epoch, frozen.first), records.position(self._epoch, frozen.last)
            case_facts = FactRange(frozen.source, first, last, watermark, caught_up, closed.case_facts)
            yield Outgoing(self._topics.case_facts, tp.partition, None, encode_range(case_facts))
        block = records.block_of(outcome, tp.topic, tp.partition, self._epoch)
        yield Outgoing(self._topics.blocks, tp.partition, None, records.encode_block(block))
        for dead in block.dead:
            key = f"{tp.topic}/{tp.partition}/{dead.offset}".encode()
            yield Outgoing(self._topics.dead_letters, tp.partition, key, records.encode_dead_letter(block, dead))

    def news(self, source: Source, watermark: float | None, caught_up: bool) -> Iterator[Outgoing]:
        """Yield what tells every merge partition, and relations, of a source that has nothing to send."""
        name = source.intake.source
        value = encode_partial(Partial(source=name, first=1, last=0, watermark=watermark, caught_up=caught_up))
        for partition in range(self._partitions):
            yield Outgoing(self._topics.partials, partition, None, value)
        if self._tells_relations(source):
            facts = FactRange(name, 1, 0, watermark, caught_up)
            yield Outgoing(self._topics.facts, source.tp.partition, None, encode_range(facts))
        if self._cases and source.channel != DERIVED:
            case_facts = FactRange(name, 1, 0, watermark, caught_up)
            yield Outgoing(self._topics.case_facts, source.tp.partition, None, encode_range(case_facts))

    def _tells_relations(self, source: Source) -> bool:
        """Return whether relations read a source: not what they said themselves."""
        return self._relations and source.channel != DERIVED

    def _home(self, series: str) -> int:
        return self._partition_of[series.partition(SEPARATOR)[0]]

    def _shares(self, deltas: Deltas) -> list[Deltas]:
        """Split deltas by the merge partition of their KPI."""
        shares: list[Deltas] = [{} for _ in range(self._partitions)]
        for minute, series in deltas.items():
            parts: list[dict[str, Any]] = [{} for _ in shares]
            for key, acc in series.items():
                parts[self._home(key)][key] = acc
            for share, part in zip(shares, parts, strict=True):
                if part:
                    share[minute] = part
        return shares
