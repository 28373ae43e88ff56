"""Partitions of the relate stage that talk to each other, in memory, each of which may be killed at any moment."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from streams.events.types import Envelope
from streams.producers.wire import partition_of
from streams.relations.catalogue import Relations
from streams.relations.facts import Fact, customer_of, milliseconds
from streams.relations.partition import RelationsPartition
from streams.relations.ranges import FactRange, decode_range, encode_range
from streams.relations.results import DerivedEvent


class KilledError(Exception):
    """The process ends here."""


class Partition:
    """What outlives the processes of one partition: its topic of facts, its changelog, and what is acknowledged."""

    def __init__(self, world: "Partitions", number: int) -> None:
        self.world, self.number = world, number
        self.topic: list[bytes] = []
        self.changelog: dict[bytes, bytes] = {}
        self.acknowledged = self.read = -1
        self.done = False
        self.begin()

    def begin(self) -> None:
        """Begin a process."""
        home = self.world.home
        self.state = RelationsPartition(
            self.world.relations, idle_s=1e12, grace_s=0.0, longest_s=1e9, name=str(self.number), home=home
        )
        self.state.restore(self.changelog.items())
        self.read, self.done = self.acknowledged, False

    def turn(self) -> None:
        """Read a record if there is one, and flush perhaps."""
        try:
            if self.read + 1 < len(self.topic):
                self.read, self.done = self.read + 1, False
                self.state.take(decode_range(self.topic[self.read]), self.read)
                if self.world.chance.random() < 0.5:
                    return
            self.flush()
        except KilledError:
            self.begin()
        else:
            self.done = self.read + 1 == len(self.topic) and self.state.held == 0

    def flush(self) -> None:
        """Do what the stage does, in its order."""
        world, state = self.world, self.state
        while state.begin(2e9) is not None:
            self.write([state.step_record()])
            for advance in state.advances():
                for result in advance.results:
                    world.may_die()
                    world.sent.append(result)
                state.confirm([len(world.sent)])
                self.write([state.save(advance)])
            for home, letters in state.letters():
                world.may_die()
                world.partitions[home].topic.append(encode_range(letters))
            self.write([state.end(), *state.compaction()])
            self.write(state.superseded())
        world.may_die()
        self.acknowledged = max(self.acknowledged, state.complete)
        world.keys.update(state.take_counts().keys)

    def write(self, records: Sequence[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            self.world.may_die()
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value


class Partitions:
    """
    Some partitions, and all that they have sent.

    Attributes:
        keys: What became of keys.
    """

    def __init__(self, relations: Relations, number: int, chance: random.Random, kill: float = 0.0) -> None:
        self.relations, self.chance, self.kill = relations, chance, kill
        self.sent: list[DerivedEvent] = []
        self.keys: Counter[str] = Counter()
        self.partitions = [Partition(self, place) for place in range(number)]

    def home(self, key: str) -> int:
        """Return the partition of a key."""
        return partition_of(key.encode(), len(self.partitions))

    def may_die(self) -> None:
        if self.chance.random() < self.kill:
            raise KilledError

    def feed(self, events: Sequence[Envelope], lateness_ms: int, end: int, *, live: bool = False) -> None:
        """
        Have events read in order, then what partitions say to each other, and then the end.

        `live`: all of them have read up to each event before the next one comes; else each has a pace of its own.
        """
        offsets = Counter[int]()
        ordered = sorted(events, key=lambda one: (milliseconds(one.time), one.id))
        for time, group in groupby(ordered, key=lambda one: milliseconds(one.time)):
            for event in group:
                fact = self.relations.reader.fact(event)
                facts = [(customer_of(event.subject, synthetic=event.synthetic), fact)] if fact else []
                self._append(self.home(event.subject), offsets, facts, (time - lateness_ms) / 1000)
                for _ in range(0 if live else self.chance.randrange(3)):
                    self.chance.choice(self.partitions).turn()
            if live:
                self._all_read(offsets, (time + 1) / 1000)
        for until in (milliseconds(ordered[-1].time) / 1000 + 1, end / 1000):
            self._all_read(offsets, until)

    def _all_read(self, offsets: Counter[int], until: float) -> None:
        # A source without events repeats itself: who dies may have acknowledged what it said, and not written it down.
        for _ in range(10):
            for place in range(len(self.partitions)):
                self._append(place, offsets, [], until)
            if self.quiet() and all((one.state.watermarks.value or 0) >= until for one in self.partitions):
                return
        raise AssertionError("they have something to say to each other for ever")

    def quiet(self) -> bool:
        """Let all of them go on; tell whether nobody has anything to do in the end."""
        for _ in range(1_000 + 3 * sum(len(one.topic) for one in self.partitions)):
            for one in self.chance.sample(self.partitions, k=len(self.partitions)):
                one.turn()
            if all(one.done and one.read + 1 == len(one.topic) for one in self.partitions):
                return True
        return False

    def _append(self, place: int, offsets: Counter[int], facts: list[tuple[str, Fact]], until: float) -> None:
        one = FactRange(f"web/{place}", offsets[place], offsets[place] + len(facts) - 1, until, True, facts)
        offsets[place] += len(facts)
        self.partitions[place].topic.append(encode_range(one))
