"""A simulated company, minute by minute: what the whole pipeline would show a judge, in one thread and without Kafka."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from streams.alerts.types import SourceHealth
from streams.events.intake import Intake
from streams.events.types import Event
from streams.kpis.arithmetic.accumulators import merge_acc
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.folding.ranges import events_of
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import WINDOWS
from streams.producers.simulator import Plan, emissions
from tests.harness.closed import Ahead, Closed

CHANNELS = ("web", "app", "store", "call_center")


def closed_minutes(
    plan: Plan,
    kpis: Iterable[Kpi],
    minutes: int,
    *,
    windows: Iterable[str] = WINDOWS,
    change: Callable[[Event], Event] | None = None,
    look_s: int = 60,
) -> Iterator[Closed | Ahead]:
    """
    Yield the closed views of the first minutes of a plan; each may be looked at until the next is asked for.

    Records go through an intake, as one range per channel and `look_s` seconds, so KPIs of the pipeline have numbers as
    well; in between come views of the minute that is still open. `change` may make other events of those that were
    counted.
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
        read: dict[str, tuple[int, int]] = dict.fromkeys(CHANNELS, (0, 0))
        held: Deltas = {}
        for until in range(60 * minute + look_s, 60 * minute + 61, look_s):
            counted: list[Event] = []
            came: dict[str, list[bytes]] = {channel: [] for channel in CHANNELS}
            while ahead.due < until:
                came[ahead.channel].append(ahead.payload)
                ahead = next(source)
            for channel, payloads in came.items():
                if payloads:
                    intakes[channel].add(payloads, [next(offsets[channel]) for _ in payloads], until - 0.001)
                    done = intakes[channel].close()
                    assert done is not None
                    events = done.counted if change is None else [change(event) for event in done.counted]
                    counted += [*events, *events_of(done, channel)]
                    read[channel] = read[channel][0] + done.tally.read, read[channel][1] + done.tally.bad
            add_deltas(held, folder.fold(counted) if counted else {})
            if until < 60 * (minute + 1) and minute > first:
                yield Ahead(closed, held.get(minute, {}))
        for channel in CHANNELS:
            silent[channel] = 0 if read[channel][0] else silent[channel] + 1
        lately.append(read)
        health = [
            SourceHealth(
                channel, silent[channel], sum(o[channel][0] for o in lately), sum(o[channel][1] for o in lately)
            )
            for channel in CHANNELS
        ]
        yield closed.close(minute, held.get(minute, {}), health)


def add_deltas(held: Deltas, more: Deltas) -> None:
    """Add what was folded to what was before."""
    for minute, series in more.items():
        known = held.setdefault(minute, {})
        for key, acc in series.items():
            if key in known:
                merge_acc(known[key], acc)
            else:
                known[key] = acc
