"""A simulated company, minute by minute: what the whole pipeline would show a judge, in one thread and without Kafka."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from streams.alerts.types import SourceHealth
from streams.events.decode import decode_batch
from streams.events.types import Event
from streams.kpis.definition import Kpi
from streams.kpis.fold import Folder
from streams.kpis.windows import WINDOWS
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

    `change` may make other events of those that were sent, before they are counted.
    """
    folder, closed = Folder(kpis), Closed(windows)
    first = int(plan.start.timestamp() // 60)
    silent = dict.fromkeys(CHANNELS, 0)
    lately: deque[dict[str, tuple[int, int]]] = deque(maxlen=5)
    source = emissions(plan)
    ahead = next(source)
    for minute in range(first, first + minutes):
        payloads = []
        while ahead.due < (minute + 1) * 60:
            payloads.append((ahead.channel, ahead.payload))
            ahead = next(source)
        read: dict[str, list[bytes]] = {channel: [] for channel in CHANNELS}
        for channel, payload in payloads:
            read[channel].append(payload)
        counted: list[Event] = []
        outcome = {}
        for channel, records in read.items():
            events, refusals = decode_batch(records)
            good = [event for event in events if event is not None]
            counted += good
            outcome[channel] = len(records), len(refusals)
            silent[channel] = 0 if records else silent[channel] + 1
        lately.append(outcome)
        if change is not None:
            counted = [change(event) for event in counted]
        deltas = folder.fold(counted) if counted else {}
        health = [
            SourceHealth(
                channel, silent[channel], sum(o[channel][0] for o in lately), sum(o[channel][1] for o in lately)
            )
            for channel in CHANNELS
        ]
        yield closed.close(minute, deltas.get(minute, {}), health)
