"""A stage of the flow: what it reads, what it restores, and in which order it makes its results last.

A stage yields steps, and the engine takes them one after the other, each under the lease of the assignment and each
confirmed before the next one. So a worker may die, or lose its partitions, between any two steps, and whoever owns the
partitions next finds a state from which the rest can be done again:

    save   what makes the results repeatable, to the changelog
    emit   the results; receivers know those that they have
    save   that they are emitted
    done   the source records are acknowledged
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeAlias

from streams.aside import METRICS
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.outgoing import Outgoing, StaleGenerationError
from streams.engine.state import Entry, FencedTable

if TYPE_CHECKING:
    from streams.engine.app import BatchApp


Permit: TypeAlias = Callable[[], float]
"""
Waits until the lease of an assignment is confirmed, and returns for how many seconds it is; raises
StaleGenerationError when the assignment is over.
"""


class Save(NamedTuple):
    """Write entries to the stage's changelog."""

    entries: Sequence[Entry]


class Emit(NamedTuple):
    """Send records to topics. They are made while they are sent: none is needed before its turn."""

    records: Iterable[Outgoing]
    confirmed: Callable[[Sequence[int]], object] | None = None
    """Told the offsets of all of them."""


class BlockingCall(NamedTuple):
    """Run something that blocks, in a thread: an insert into a store.

    The function is given a permit to ask before each thing it does that others can see.
    """

    function: Callable[[Permit], object]


class Done(NamedTuple):
    """Acknowledge source records: they are never read again."""

    batches: Sequence[RecordBatch]


Step: TypeAlias = Save | Emit | BlockingCall | Done
Steps: TypeAlias = AsyncGenerator[Step, None]
Saved: TypeAlias = Mapping[int, Mapping[bytes, bytes]]
"""Changelog entries of the owned partitions, by partition."""


class Stage(ABC):
    """One agent with its lane, its table and its flush.

    Attributes:
        name: Names the agent, and the changelog if the stage has one.
        has_table: Whether it keeps state in a changelog.
        stall_limit_s: See `BatchApp.lane`.
        lane: Its batches.
    """

    name: ClassVar[str]
    has_table: ClassVar[bool] = True
    stall_limit_s: ClassVar[float | None] = 120.0

    def __init__(self, app: BatchApp, topics: Sequence[str], *, flush_s: float) -> None:
        """Declare the stage.

        Args:
            app: The application it is part of.
            topics: What it reads.
            flush_s: Seconds between two flushes.
        """
        self.app = app
        self._table: FencedTable | None = app.fenced_table(self.name, topics) if self.has_table else None
        self._flushing = asyncio.Lock()
        self.lane = app.lane(*topics, stall_limit_s=self.stall_limit_s)
        self.lane.on_assigned(self._take_over)
        self.lane.on_finish(self.finish)
        app.agent(self.lane.topic, name=self.name)(self._run)
        app.timer(flush_s)(self.tick)

    # What a stage is

    @abstractmethod
    async def restore(self, assignment: Assignment, saved: Saved) -> None:
        """Replace all state by that of the owned partitions, as their changelogs have it."""

    @abstractmethod
    async def take(self, batch: RecordBatch) -> None:
        """Take in a batch and release it; call `flush_live` when something should not wait for the timer."""

    @abstractmethod
    def steps(self) -> Steps:
        """Yield what a flush does, in order. What comes while a step is under way belongs to the next flush."""

    @abstractmethod
    def observe(self) -> None:
        """Set the stage's metrics; after each flush."""

    async def tick(self) -> None:
        """Flush by the timer."""
        await self.flush_live()

    async def finish(self) -> None:
        """Flush before partitions are given away."""
        await self.flush()

    # What the engine does with it

    async def _take_over(self, assignment: Assignment) -> None:
        async with self._flushing:
            table = self._table
            await self.restore(assignment, {p: table.load(p) for p in assignment.owned} if table else {})

    async def _run(self, stream: Any) -> None:
        async for batch in self.lane.batches(stream):
            await self.take(batch)

    async def flush(self) -> None:
        """Take all steps of a flush; one flush at a time.

        Raises:
            StaleGenerationError: The partitions are somebody else's by now.
        """
        async with self._flushing:
            assignment = self.lane.assignment
            if assignment is None:
                raise StaleGenerationError("partitions are moving")
            async with aclosing(self.steps()) as steps:
                async for step in steps:
                    await self.perform(assignment.generation, step)
            with METRICS.attempt():
                self.observe()

    async def flush_live(self) -> bool:
        """Flush; False when the partitions moved meanwhile, and their new owner reads again what was held."""
        try:
            await self.flush()
        except StaleGenerationError as exc:
            self.app.log.info("%s: a flush was given up: %s", self.name, exc)
            return False
        return True

    @property
    def is_flushing(self) -> bool:
        """Whether a flush is under way."""
        return self._flushing.locked()

    async def after_flush(self) -> None:
        """Wait until no flush is under way."""
        async with self._flushing:
            pass

    async def perform(self, generation: int, step: Step) -> None:
        """Take one step, and wait until it is confirmed.

        Raises:
            StaleGenerationError: `generation` is over.
        """
        match step:
            case Save(entries):
                if self._table is None:
                    raise TypeError(f"{self.name} has no changelog to save to")
                await self._table.write_many(generation, entries)
            case Emit(records, confirmed):
                offsets = await self.app.produce(generation, records)
                if confirmed is not None:
                    confirmed(offsets)
            case BlockingCall(function):
                await self.app.require_lease(generation)
                await asyncio.to_thread(function, self.app.permit(generation))
            case Done(batches):
                self.lane.ack(*batches)
