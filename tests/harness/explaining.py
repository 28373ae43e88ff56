"""
Is the first-named cause of an alert the right one: incidents with a known cause, through the simulator and the judge.

Two kinds of incidents: those that the simulator knows itself, most of which hit everybody alike; and spoilt parts: the
answers of one label value (a queue, a carrier, a region, a shop) turn bad with some probability, in the events of a calm
company, so that all labels that go with it move as well.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import takewhile
from random import Random
from typing import Any, NamedTuple

import msgspec

from streams.alerts.explaining.explain import change_of
from streams.alerts.explaining.sisters import SisterSeries, explain_by_sisters, sisters_of
from streams.alerts.judging.judge import Judge
from streams.alerts.rules.parsing import load_rules, parse_rules
from streams.alerts.rules.rules import RuleBook
from streams.alerts.types import Transition
from streams.events.types import Event
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Deltas, Folder
from streams.kpis.language.definition import Kpi
from streams.kpis.language.lengths import window_minutes
from streams.producers.simulator import Plan, simulate
from streams.shipped import RULES as SHIPPED_RULES
from tests.harness.closed import Ahead, Closed, look
from tests.harness.simulated import add_deltas, closed_minutes

CATALOGUE = Catalogue.load()
START = datetime(2026, 3, 10, 8, 0, tzinfo=UTC)
CALM = 90
"""Minutes before anything happens."""
LOOK_S = 10
"""Seconds between two looks at what has come of an open minute."""

RULES = parse_rules(
    """
groups:
  - name: explained
    owner: nobody
    rules:
      - {alert: GivenUpMore, kpi: abandonment, method: ztest, window: 15m, params: {baseline: 24h, z: 5},
         min_denominator: 300, severity: ticket}
      - {alert: PassedOn, kpi: transfer_rate, method: ztest, window: 15m, params: {baseline: 24h, z: 5},
         min_denominator: 300, severity: ticket}
      - {alert: CsatFell, kpi: csat, method: cusum, window: 1h, params: {baseline: 24h, delta: 12, h: 8}, severity: ticket}
      - {alert: CsatFellByChannel, kpi: csat, by: [channel], method: cusum, window: 1h,
         params: {baseline: 24h, delta: 12, h: 8}, severity: ticket, inhibit_by: []}
      - {alert: LatenessRose, kpi: delivery_lateness, method: cusum, window: 1h,
         params: {baseline: 24h, delta: 10, h: 8}, severity: ticket}
      - {alert: RequestsFail, kpi: request_failure, method: ztest, window: 15m, params: {baseline: 24h, z: 5},
         severity: ticket}
      - {alert: PaymentsFail, kpi: payment_failure, method: cusum, window: 15m, params: {baseline: 24h, delta: 10},
         severity: ticket}
      - {alert: Crashes, kpi: crash_rate, method: floor, window: 1h, params: {target: 1}, severity: ticket}
      - {alert: Silence, kpi: volume, by: [channel], method: absence, window: 5m, params: {baseline: 1h, at_most: 0.2},
         severity: ticket}
""",
    CATALOGUE,
)
SHIPPED = load_rules([SHIPPED_RULES], CATALOGUE)
SHIPPED_KPIS = tuple({rule.kpi.id: rule.kpi for rule in SHIPPED}.values())
JUDGED = tuple({rule.kpi.id: rule.kpi for rule in RULES}.values())

EVERYBODY: dict[str, str] = {}
"""No label: everywhere alike."""

KNOWN: Mapping[str, tuple[str, dict[str, str]]] = {
    "payment-outage": ("PaymentsFail", {"code": "timeout"}),
    "slow-site": ("RequestsFail", EVERYBODY),
    "queue-overload": ("GivenUpMore", EVERYBODY),
    "late-deliveries": ("LatenessRose", EVERYBODY),
    "app-crash-release": ("Crashes", {"version": "5.3.0"}),
    "store-staff-shortage": ("CsatFellByChannel", {"channel": "store"}),
    "collector-dead:web": ("Silence", {"channel": "web"}),
    "collector-dead:app": ("Silence", {"channel": "app"}),
    "bad-schema:call_center": ("Silence", {"channel": "call_center"}),
    "bad-schema:store": ("Silence", {"channel": "store"}),
}
"""By incident of the simulator: the rule that has to see it, and the cause it has to name first."""


SHIPPED_SEE: Mapping[str, frozenset[str]] = {
    "payment-outage": frozenset({"PaymentsFail", "PaymentsDown"}),
    "slow-site": frozenset({"RequestsFail", "ApdexLow"}),
    "queue-overload": frozenset(
        {"AbandonmentRises", "AbandonmentHigh", "CallsBlocked", "AnswerSlow", "ServiceLevelLow"}
    ),
    "late-deliveries": frozenset({"DeliveriesLate", "DeliveriesCollapse"}),
    "app-crash-release": frozenset({"AppCrashes", "AppCrashesByVersion"}),
    "store-staff-shortage": frozenset({"StoreQueuesLeft", "StoreQueuesLong", "StoreQueueLeft", "StoreQueueLong"}),
    "collector-dead:web": frozenset({"ChannelSilent"}),
    "collector-dead:app": frozenset({"ChannelSilent"}),
    "collector-dead:store": frozenset({"StoreChannelSilent"}),
    "collector-dead:call_center": frozenset({"ChannelSilent"}),
    "bad-schema:web": frozenset({"ChannelSpoilt", "RecordsRefused"}),
    "bad-schema:app": frozenset({"ChannelSpoilt", "RecordsRefused"}),
    "bad-schema:store": frozenset({"ChannelSpoilt", "RecordsRefused"}),
    "bad-schema:call_center": frozenset({"ChannelSpoilt", "RecordsRefused"}),
}
"""By incident of the simulator: the shipped rules that are there to see it."""

FOLLOWS: Mapping[str, frozenset[str]] = {
    "payment-outage": frozenset({"OrdersStopped", "CsatCollapseByChannel", "AbandonmentHigh", "CallsBlocked"}),
    "slow-site": frozenset({"OrdersStopped", "CsatCollapseByChannel", "AbandonmentHigh", "CallsBlocked"}),
    "late-deliveries": frozenset({"CsatCollapseByChannel", "AbandonmentHigh", "CallsBlocked"}),
}
"""Pages that such an incident may bring as well, as what it does to customers and callers."""

YOUNG = 40
"""Minutes of history that shipped rules have before an incident: as little as in a run that was just started."""


class Spoilt(NamedTuple):
    """How answers of a KPI turn bad."""

    rule: str
    event: str
    labels: tuple[str, ...]
    spoil: Callable[[Any], Any]
    """From good data to bad."""


SPOILT: Mapping[str, Spoilt] = {
    "transfer_rate": Spoilt(
        "PassedOn", "cx.contact.handled", ("queue", "topic"), lambda data: msgspec.structs.replace(data, transfers=1),
    ),
    "csat": Spoilt(
        "CsatFell", "cx.survey.answered", ("channel", "touchpoint", "segment", "region", "unitid"),
        lambda data: msgspec.structs.replace(data, score=1),
    ),
    "delivery_lateness": Spoilt(
        "LatenessRose", "cx.order.delivered", ("carrier", "segment", "region", "channel"),
        lambda data: msgspec.structs.replace(data, late=True),
    ),
    "request_failure": Spoilt(
        "RequestsFail", "cx.perf.sampled", ("channel", "page"), lambda data: msgspec.structs.replace(data, failed=True),
    ),
}  # fmt: skip

LEAST_SHARE, MOST_SHARE = 0.06, 0.9
"""Of the events of a KPI, for a part to be spoilt: less does not show in the whole."""


class Case(NamedTuple):
    """What happened, and what the alert said of it."""

    name: str
    caught: Transition | None
    named: dict[str, str] | None
    """Labels of the first-named cause, with those of the alert itself; None when it names none."""
    right: bool
    misleading: tuple[str, ...] = ()
    """Pages of shipped rules that are about something else."""


def with_sisters(transition: Transition, view: Closed | Ahead) -> Transition:
    """Add what other KPIs of the same events know, as the enricher does from the store."""
    parts = transition.evidence.contributors
    if parts and parts[0].labels:
        return transition
    window = "5m" if transition.evidence.ahead else transition.evidence.window or "15m"
    longer = "1h" if window in {"5m", "15m"} else "24h"
    first = int(START.timestamp() // 60)
    length = window_minutes(window)
    span = min(window_minutes(longer), view.minute - first + 1) - length

    def series_of(sister: Kpi) -> SisterSeries | None:
        keys = view.series(sister.id)
        read = lambda key: change_of(view.window(key, longer), view.window(key, window))  # noqa: E731
        return SisterSeries(keys, read, (span, length)) if keys and span > 0 else None

    kpi = CATALOGUE[transition.kpi]
    if (cause := explain_by_sisters(kpi, transition.labels, CATALOGUE, series_of)) is not None:
        transition.evidence.contributors = [cause, *parts]
    return transition


def with_their_sisters(kpis: Iterable[Kpi]) -> tuple[Kpi, ...]:
    """Return KPIs and those that can tell more of the same events."""
    return tuple({one.id: one for kpi in kpis for one in (kpi, *sisters_of(kpi, CATALOGUE))}.values())


def known_incident(name: str, seed: int, *, rate: float = 60.0, minutes: int = 60, severity: float = 1.0) -> Case:
    """Let an incident of the simulator happen."""
    rule, cause = KNOWN[name]
    plan = Plan(
        start=START, seed=seed, rate=rate, flat=True,
        incidents=(f"{name}@+{CALM}m+{minutes}m,severity={severity:g}",),
    )  # fmt: skip
    found = _first(closed_minutes(plan, with_their_sisters(JUDGED), CALM + minutes, look_s=LOOK_S), RULES, (rule,))
    return _case(f"{name} seed {seed}", found, [cause])


def alarms(plan: Plan, minutes: int, kpis: Iterable[Kpi] = SHIPPED_KPIS) -> list[Transition]:
    """Return what the shipped rules pass on that begins to fire in the first minutes of a plan."""
    judge, found = Judge(SHIPPED), []
    for view in closed_minutes(plan, with_their_sisters(kpis), minutes, look_s=LOOK_S):
        fires = [t for t in look(judge, view) if t.new == "firing" and t.inhibited_by is None]
        found += [with_sisters(transition, view) for transition in fires]
    assert judge.take_faults() == []
    return found


def first_alarm(
    name: str, seed: int, *, rate: float = 40.0, minutes: int = 30, severity: float = 1.0, all_rules: bool = False
) -> Case:
    """
    Let an incident of the simulator happen to the shipped rules, which have hardly any history.

    With `all_rules` those of other KPIs judge as well, and what they page is told.
    """
    plan = Plan(
        start=START, seed=seed, rate=rate, flat=True,
        incidents=(f"{name}@+{YOUNG}m+{minutes}m,severity={severity:g}",),
    )  # fmt: skip
    since = int(START.timestamp() // 60) + YOUNG
    see = SHIPPED_SEE[name]
    kpis = {rule.kpi.id: rule.kpi for rule in SHIPPED if all_rules or rule.alert in see}
    seen = [t for t in alarms(plan, YOUNG + minutes, kpis.values()) if t.minute + t.evidence.ahead >= since]
    found = next((t for t in seen if t.rule in see), None)
    after = "never" if found is None else f"{found.rule} after {_after(found, since)} min"
    cause = KNOWN[name][1] if name in KNOWN else {"channel": name.partition(":")[2]}
    if name == "store-staff-shortage":  # the rules are about shops only
        cause = EVERYBODY
    true = see | FOLLOWS.get(name, frozenset())
    misleading = tuple(
        f"{t.rule} {dict(t.labels)} after {_after(t, since)} min"
        for t in seen
        if t.severity == "page" and t.rule not in true
    )
    return _case(f"{name} at {severity:g} seed {seed}, {after}", found, [cause])._replace(misleading=misleading)


def _after(transition: Transition, since: int) -> int:
    """Return in which minute since another one a transition comes."""
    return transition.minute + transition.evidence.ahead - since + 1


class Calm:
    """The events of a calm company that the spoilt KPIs look at, by minute."""

    def __init__(self, seed: int, *, rate: float = 60.0, minutes: int = 60) -> None:
        self.seed = seed
        self._restless: dict[tuple[str, bool], bool] = {}
        wanted = {spoilt.event for spoilt in SPOILT.values()}
        first = START.timestamp()
        self.minutes: list[list[Event]] = [[] for _ in range(CALM + minutes)]
        until = first + 60 * len(self.minutes)
        plan = Plan(start=START, seed=seed, rate=rate, flat=True)
        for event in takewhile(lambda event: event.time.timestamp() < until, simulate(plan)):
            if event.type in wanted:
                self.minutes[int((event.time.timestamp() - first) // 60)].append(event)

    def spoil(self, kpi: str, rng: Random, *, shipped: bool = False) -> Case | None:
        """
        Spoil a part of a KPI that is drawn by lot; None if there is none of the right size, or it alarms by itself.

        Seen by the rule that is there for it, or by any of the shipped ones on this KPI.
        """
        how = SPOILT[kpi]
        see = _shipped_on(kpi) if shipped else (how.rule,)
        book = SHIPPED if shipped else RULES
        if (kpi, shipped) not in self._restless:
            # Queues have bad hours by themselves: what happens then has two causes, of which we know one.
            alone = _first(self._closed(how.event, lambda event: event), book, see, calm=0)
            self._restless[kpi, shipped] = alone is not None
        if self._restless[kpi, shipped]:
            return None
        events = [e for minute in self.minutes for e in minute if e.type == how.event and _counts(kpi, e)]
        parts = Counter((label, value) for e in events for label in how.labels if (value := _label(e, label)))
        fit = sorted(part for part, n in parts.items() if LEAST_SHARE <= n / len(events) <= MOST_SHARE)
        if not fit:
            return None
        label = rng.choice(sorted({label for label, _ in fit}))
        value = rng.choice([value for name, value in fit if name == label])
        severity = rng.uniform(0.4, 0.95)
        hit = {e.id for e in events if _label(e, label) == value}

        def change(event: Event) -> Event:
            if event.id not in hit or rng.random() > severity:
                return event
            return msgspec.structs.replace(event, data=how.spoil(event.data))

        found = _first(self._closed(how.event, change), book, see)
        # What was bad already is not changed: parts that differ by such events only are the same.
        causes = _same_by_another_name([e for e in events if how.spoil(e.data) != e.data], hit, how.labels)
        return _case(f"{kpi} {label}={value} at {severity:.2f} seed {self.seed}", found, [{label: value}, *causes])

    def _closed(self, event_type: str, change: Callable[[Event], Event]) -> Iterator[Closed | Ahead]:
        folder, closed = Folder([CATALOGUE[kpi] for kpi in SPOILT]), Closed()
        first = int(START.timestamp() // 60)
        for number, events in enumerate(self.minutes):
            held = [event for event in events if event.type == event_type]
            if number >= CALM:
                held = [change(event) for event in held]
            minute, deltas = first + number, Deltas()
            parts: list[list[Event]] = [[] for _ in range(0, 60, LOOK_S)]
            for event in held:
                parts[int(event.time.timestamp() % 60) // LOOK_S].append(event)
            for part, events_of_part in enumerate(parts, 1):
                add_deltas(deltas, folder.fold(events_of_part) if events_of_part else {})
                if number and part < len(parts):
                    yield Ahead(closed, deltas.get(minute, {}))
            yield closed.close(minute, deltas.get(minute, {}))


def _shipped_on(kpi: str) -> tuple[str, ...]:
    return tuple(rule.alert for rule in SHIPPED.of_kpi(kpi))


def _first(
    views: Iterable[Closed | Ahead], book: RuleBook, see: Collection[str], calm: int = CALM
) -> Transition | None:
    """Return the first that is told of some rules after the calm; alerts from before it do not count."""
    judge = Judge(book)
    since = int(START.timestamp() // 60) + calm
    for view in views:
        for transition in look(judge, view):
            fires = transition.new == "firing" and transition.inhibited_by is None
            if fires and transition.rule in see and transition.minute + transition.evidence.ahead >= since:
                return with_sisters(transition, view)
    assert not judge.take_faults()
    return None


def _case(name: str, found: Transition | None, causes: list[dict[str, str]]) -> Case:
    if found is None:
        return Case(name, None, None, False)
    first = found.evidence.contributors[0].labels if found.evidence.contributors else None
    # An alert on a part that has no parts itself names it all the same.
    named = {**found.labels, **(first or {})} if first is not None or found.labels else None
    right = named is not None and any(cause.items() <= named.items() if cause else not named for cause in causes)
    return Case(name, found, named, right)


def _counts(kpi: str, event: Any) -> bool:
    """Tell whether an event is one that its KPI counts."""
    if kpi == "csat":
        return bool(event.data.metric == "csat")
    return kpi != "transfer_rate" or event.data.transfers is not None


def _label(event: Any, label: str) -> str | None:
    value = getattr(event, label, None) or getattr(event.data, label, None)
    return None if value is None else str(value)


def _same_by_another_name(events: list[Any], hit: set[str], labels: tuple[str, ...]) -> list[dict[str, str]]:
    """Return other label values that stand for (nearly) the same events, as a queue has one topic only."""
    members: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for event in events:
        for label in labels:
            if value := _label(event, label):
                members[label, value].add(event.id)
    hit = hit & {event.id for event in events}
    return [{label: value} for (label, value), ids in members.items() if len(ids & hit) / len(ids | hit) >= 0.9]
