"""A simulated company, minute by minute: what the whole pipeline would show a judge, in one thread and without Kafka."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from streams.alerts.types import SourceHealth
from streams.events.intake import Intake
from streams.events.types import Event
from streams.kpis.folding.fold import Folder
from streams.kpis.folding.ranges import events_of
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import WINDOWS
from streams.producers.simulator import Plan, emissions
from tests.harness.closed import Closed

CHANNELS = ("web", "app", "store", "call_center")


def closed_minutes(
    plan: Plan,
    kpis: Iterable[Kpi],
    minutes: int,
    *,
    windows: Iterable[str] = WINDOWS,
    change: Callable[[Event], Event] | None = None,
) -> Iterator[Closed]:
    """
    Yield the closed views of the first minutes of a plan; each may be looked at until the next is asked for.

    Records go through an intake, as one range per channel and minute, so KPIs of the pipeline have numbers as well.
    `change` may make other events of those that were counted.
    """
    folder, closed = Folder(kpis), Closed(windows)
    first = int(plan.start.timestamp() // 60)
    silent = dict.fromkeys(CHANNELS, 0)
    lately: deque[dict[str, tuple[int, int]]] = deque(maxlen=5)
    intakes = {channel: Intake(f"{channel}/0", retention_s=86_400.0, dedup_ids=100_000) for channel in CHANNELS}
    offsets = {channel: count() for channel in CHANNELS}
    source = emissions(plan)
    ahead = next(source)
    for minute in range(first, first + minutes):
        read: dict[str, list[bytes]] = {channel: [] for channel in CHANNELS}
        while ahead.due < (minute + 1) * 60:
            read[ahead.channel].append(ahead.payload)
            ahead = next(source)
        counted: list[Event] = []
        outcome = {}
        for channel, records in read.items():
            silent[channel] = 0 if records else silent[channel] + 1
            outcome[channel] = 0, 0
            if records:
                intakes[channel].add(records, [next(offsets[channel]) for _ in records], (minute + 1) * 60 - 0.001)
                done = intakes[channel].close()
                assert done is not None
                events = done.counted if change is None else [change(event) for event in done.counted]
                counted += [*events, *events_of(done, channel)]
                outcome[channel] = done.tally.read, done.tally.bad
        lately.append(outcome)
        deltas = folder.fold(counted) if counted else {}
        health = [
            SourceHealth(
                channel, silent[channel], sum(o[channel][0] for o in lately), sum(o[channel][1] for o in lately)
            )
            for channel in CHANNELS
        ]
        yield closed.close(minute, deltas.get(minute, {}), health)
