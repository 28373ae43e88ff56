"""From events to relations to KPIs, without a broker: what is sent, what is derived of it, and what KPIs come to."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from streams.events.decode import decode_derived, decode_one
from streams.events.types import Envelope
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.arithmetic.intervals import Measure
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.language.series import series_key
from streams.relations.catalogue import Relations, load
from streams.relations.facts import milliseconds
from streams.relations.results import DerivedEvent, event_of
from streams.relations.timelines import Arrival, play

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
LATENESS_MS = 60_000


@cache
def relations() -> Relations:
    """Return the shipped relations."""
    return load([DEPLOY / "relations"])


@cache
def catalogue() -> Catalogue:
    """Return the KPIs that are made of what shipped relations say."""
    return Catalogue.load([DEPLOY / "kpis"], built_in=False)


def sent(number: int, time: str, kind: str, subject: str = "c-1", channel: str = "web", **given: Any) -> Arrival:
    """Make an event as it is read; envelope attributes are told from fields of the data by their names."""
    attributes = {name: given.pop(name) for name in ("orderid", "contactid", "unitid", "traceid") if name in given}
    record = {"specversion": "1.0", "id": f"e-{number}", "source": "s", "type": kind, "time": time, "subject": subject}
    event = decode_one(msgspec.json.encode({**record, "channel": channel, **attributes, "data": given}))
    assert isinstance(event, Envelope), event
    return Arrival(event, milliseconds(event.time))


def events_of(results: Iterable[DerivedEvent], of: Relations) -> list[Envelope]:
    """Return derived events as the workers read them."""
    found = []
    for result in results:
        event = decode_derived(msgspec.json.encode(event_of(of[result.relation], result)))
        assert isinstance(event, Envelope), event
        found.append(event)
    return found


def derived_of(arrivals: Sequence[Arrival], until: str = "", names: Iterable[str] = ()) -> list[Envelope]:
    """Return what relations say of events, as far as it is known at a time; the end of all waiting if none is given."""
    chosen = relations().only(names) if names else relations()
    played = play(chosen, arrivals, LATENESS_MS)
    last = milliseconds(datetime.fromisoformat(until)) if until else None
    return events_of((one for clock, one in played.results if last is None or clock <= last), chosen)


def sums_of(events: Sequence[Envelope], kpis: Catalogue | None = None) -> dict[str, Acc]:
    """Return what each series comes to over all minutes."""
    found: dict[str, Acc] = {}
    for series in Folder(kpis or catalogue()).fold(events).values():
        for key, acc in series.items():
            merge_acc(found.setdefault(key, {} if isinstance(acc, dict) else [0] * len(acc)), acc)
    return {key: acc for key, acc in found.items() if (any(acc) if isinstance(acc, list) else acc)}


def value(events: Sequence[Envelope], kpi_id: str, **labels: str) -> Measure:
    """Return what a KPI comes to over events."""
    kpi = catalogue()[kpi_id]
    key = series_key(kpi_id, tuple(sorted(labels.items())))
    acc = sums_of(events, Catalogue({kpi_id: kpi})).get(key)
    return measure(kpi.aggregator, acc, kpi.scale, unit=kpi.unit) if acc else Measure(None, 0, None, None)
