"""The clockwork of the simulation: people and queues as processes in event time, and the trail of events they leave."""

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from itertools import count
from math import sqrt
from random import Random
from typing import Any, Final, Literal

import msgspec

from streams.events.touchpoints import load_touchpoints
from streams.events.types import DATA_TYPES, EVENT_TYPES, Data, Event
from streams.producers.incidents import Incidents
from streams.producers.population import Customer, Population
from streams.producers.rhythm import Rhythm

Steps = Generator[float, None, None]
"""A process: it yields how many seconds it waits before its next step."""

Channel = Literal["web", "app", "store", "call_center"]

_STAGE_OF: Final = {name: touchpoint.stage for name, touchpoint in load_touchpoints().items()}
_EVENT_OF: Final = {DATA_TYPES[name]: EVENT_TYPES[name] for name in EVENT_TYPES}


class Process:
    """A running process; `turn` tells its current appointment from outdated ones."""

    __slots__ = ("steps", "turn")

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.turn = 0


class World:
    """
    Everything of a run that processes share: clock, chance, customers, incidents, and the events they cause.

    Args:
        seed: the same seed and settings give the same events.
        start: Unix time of the first event that is emitted; what happens before only warms up.
        rate: mean events per second of event time.
        population, rhythm, incidents: see their modules.
        synthetic_share: share of journeys walked by test robots.
    """

    def __init__(
        self,
        *,
        seed: int,
        start: float,
        rate: float,
        population: Population,
        rhythm: Rhythm,
        incidents: Incidents,
        synthetic_share: float,
    ) -> None:
        self.rng = Random(f"{seed}:events")  # noqa: S311 - a simulation wants to be repeatable
        # By the start as well: a later run of the same seed is other traffic, and its ids must not look like repeats.
        self._ids = Random(f"{seed}:{start}:ids")  # noqa: S311
        self.start = self.now = start
        self.rate = rate
        self.population = population
        self.rhythm = rhythm
        self.incidents = incidents
        self.synthetic_share = synthetic_share
        self.asked: dict[str, float] = {}
        self.out: list[Event] = []
        self._agenda: list[tuple[float, int, int, Process]] = []
        self._order = count()
        self._current: Process | None = None

    def begin(self, steps: Steps, at: float | None = None) -> None:
        """Let a process take its first step now, or at a Unix time."""
        self._schedule(Process(steps), self.now if at is None else at)

    def current(self) -> Process:
        """Return the process that is taking its step."""
        if self._current is None:
            raise RuntimeError("no process is running; current() is for code that runs inside one")
        return self._current

    def wake(self, process: Process) -> None:
        """Let a waiting process go on now, whatever it had planned."""
        process.turn += 1
        self._schedule(process, self.now)

    def events(self) -> Iterator[Event]:
        """Run for ever, telling the events in the order of their time."""
        agenda, out = self._agenda, self.out
        while agenda:
            at, _, turn, process = heapq.heappop(agenda)
            if turn != process.turn:
                continue
            self.now = at
            self._current = process
            wait = next(process.steps, None)
            if wait is not None:
                heapq.heappush(agenda, (at + wait, next(self._order), process.turn, process))
            if out:
                yield from out
                out.clear()

    def new_id(self) -> str:
        """Make an id in the form of a random UUID, the same for the same seed."""
        digits = f"{self._ids.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def short_id(self, prefix: str) -> str:
        """Make a short id for a session, order or contact."""
        return f"{prefix}-{self._ids.getrandbits(56):014x}"

    def chance(self, share: float) -> bool:
        """Decide something that happens in this share of cases."""
        return self.rng.random() < share

    def spread(self, median: float, sigma: float = 0.6) -> float:
        """Draw a duration, skewed as human durations are."""
        return median * self.rng.lognormvariate(0.0, sigma)

    def trouble(self, kind: str, target: str | None = None) -> float:
        """Return how badly an incident strikes right now, 0 to 1."""
        return self.incidents.level(kind, self.now, target)

    def factor(self, channel: str) -> float:
        """Return how busy a channel is right now, 1 on average."""
        return self.rhythm.factor(self.now, channel)

    def _schedule(self, process: Process, at: float) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), process.turn, process))


class Trail:
    """The envelope a journey's events share."""

    __slots__ = ("attributes", "customer", "world")

    def __init__(
        self,
        world: World,
        customer: Customer,
        channel: Channel,
        source: str,
        *,
        subject: str | None = None,
        **attributes: Any,
    ) -> None:
        self.world = world
        self.customer = customer
        self.attributes: dict[str, Any] = {
            "subject": subject or customer.key,
            "channel": channel,
            "source": source,
            "segment": customer.segment,
            "region": customer.region,
            **attributes,
        }

    def with_(self, **attributes: Any) -> "Trail":
        """Branch off with some attributes changed or added."""
        branch = Trail.__new__(Trail)
        branch.world, branch.customer = self.world, self.customer
        branch.attributes = {**self.attributes, **attributes}
        return branch

    def say(self, data: Data, touchpoint: str | None) -> None:
        """
        Tell an event that happens now; before the run's start nothing is told.

        Raises:
            KeyError: the touchpoint is not in the dictionary, which also gives the stage.
        """
        world = self.world
        if world.now < world.start:
            return
        world.out.append(
            _EVENT_OF[type(data)](
                specversion="1.0",
                id=world.new_id(),
                time=datetime.fromtimestamp(round(world.now, 3), UTC),
                data=data,
                touchpoint=touchpoint,
                stage=None if touchpoint is None else _STAGE_OF[touchpoint],
                **self.attributes,
            )
        )


class Place(msgspec.Struct, eq=False):
    """A place in a queue: who waits, since when, and which member of staff came in the end."""

    process: Process
    since: float
    staff: int | None = None
    gone: bool = False


class Desk:
    """
    Staff behind a queue; whoever comes while all are busy waits, in order.

    Args:
        world: the world it stands in.
        name: name of the queue.
        load: mean number of busy staff at an average hour (arrivals per second × seconds of service).
        safety: staff beyond the mean load, in multiples of its square root.
        channel: whose rhythm the roster follows.
        missing: share of the roster that is missing right now, 0 to 1.
    """

    def __init__(
        self, world: World, name: str, *, load: float, safety: float, channel: str, missing: Callable[[], float]
    ) -> None:
        self.world = world
        self.name = name
        self._load = load
        self._safety = safety
        self._channel = channel
        self._missing = missing
        self.roster = self._wanted()
        self._free: deque[int] = deque(range(self.roster))
        self._busy: set[int] = set()
        self._free_since: dict[int, float] = {}
        self.waiting: deque[Place] = deque()

    def _wanted(self) -> int:
        # The roster is planned in advance: it follows the usual rhythm, never an incident.
        load = self._load * max(self.world.factor(self._channel), 0.02)
        planned = load + self._safety * sqrt(load)
        return max(1, round(planned * (1.0 - self._missing())))

    def rostering(self) -> Steps:
        """Adapt the roster every minute; who is busy finishes first."""
        while True:
            yield 60.0
            wanted = self._wanted()
            if wanted != self.roster:
                self.roster = wanted
                self._free = deque(staff for staff in range(wanted) if staff not in self._busy)
            while self.waiting and self._free:
                self._serve(self._free.popleft())

    def queue_length(self) -> int:
        """Count those who wait."""
        return sum(not place.gone for place in self.waiting)

    def take(self) -> int | None:
        """Take somebody free at once, or None."""
        if not self._free:
            return None
        staff = self._free.popleft()
        self._busy.add(staff)
        return staff

    def join(self) -> Place:
        """Stand in line; the process is woken when its turn comes and `staff` is set."""
        place = Place(self.world.current(), self.world.now)
        self.waiting.append(place)
        return place

    def idle_for(self, staff: int) -> float:
        """Return how long a member of staff had been idle, 0 at the start of a shift."""
        return self.world.now - self._free_since.get(staff, self.world.now)

    def release(self, staff: int) -> None:
        """Let a member of staff serve the next in line, be idle, or go home if the roster shrank."""
        self._busy.discard(staff)
        if staff >= self.roster:
            self._free_since.pop(staff, None)
            return
        self._free_since[staff] = self.world.now
        self._serve(staff)

    def _serve(self, staff: int) -> None:
        while self.waiting:
            place = self.waiting.popleft()
            if not place.gone:
                place.staff = staff
                self._busy.add(staff)
                self.world.wake(place.process)
                return
        self._free.append(staff)


def arrivals(world: World, per_second: Callable[[], float], make: Callable[[], Steps]) -> Steps:
    """Begin processes at random times, `per_second` of them on average; the figure may change with time."""
    while True:
        now_per_second = per_second()
        gap = world.rng.expovariate(now_per_second) if now_per_second > 0 else 60.0
        if gap >= 60.0:
            yield 60.0
            continue
        yield gap
        world.begin(make())


def carried_over(
    world: World,
    per_second: Callable[[], float],
    lag: Callable[[], float],
    resume: Callable[[float], Steps],
    longest: float,
) -> Steps:
    """
    Continue what began before the start of the run, so that slow matters end from the first minute on.

    In a steady state, steps that lie `lag` after their beginning come at the same rate as beginnings. Of these, the
    ones that began before the start are emitted here, the others grow out of the run itself.

    Args:
        world: the world.
        per_second: how many of them begin per second.
        lag: draws the seconds from beginning to this step.
        resume: continues after the step's lag.
        longest: seconds after the start when none is left.
    """
    while world.now < world.start + longest:
        now_per_second = per_second()
        gap = world.rng.expovariate(now_per_second) if now_per_second > 0 else 60.0
        if gap >= 60.0:
            yield 60.0
            continue
        yield gap
        waited = lag()
        if world.now - waited < world.start <= world.now:
            world.begin(resume(waited))
