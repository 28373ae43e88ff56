"""Sums that have no value: hits that nobody sends, totals over several currencies."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.definitions import catalogue_of
from streams.events.families.digital import OrderPlaced
from streams.events.types import new_event
from streams.kpis.arithmetic.accumulators import Acc
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import Folder
from streams.kpis.folding.partials import Partial
from streams.kpis.language.series import series_key
from streams.kpis.language.void import reason_of, rule_of, rules_of
from streams.kpis.rolling.closed import ClosedMinute
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.publish import Publisher
from streams.settings import ConfigError, Settings

CATALOGUE = Catalogue.load()
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "KPIS.md").read_text(encoding="utf-8")
NOON = datetime(2026, 3, 20, 12, tzinfo=UTC)
BY = series_key("transfers_to_queue", (("queue", "q7"),))
WHOLE = "transfers_to_queue"


class Stream:
    """A merge state that takes sums by minute and tells the newest closed values."""

    def __init__(self, catalogue: Catalogue = CATALOGUE) -> None:
        self.state = MergeState(windows=("1m", "5m"), idle_s=1e9, grace_s=0, voids=rules_of(catalogue))
        self.publisher = Publisher(catalogue)
        self.values: dict[tuple[str, str], tuple[float | None, int]] = {}
        self.changelog: dict[bytes, bytes] = {}
        self.judge: Callable[[ClosedMinute], bool] | None = None
        self._next = 0

    def take(self, minute: int, series: dict[str, Acc], closing: bool = True) -> None:
        watermark = (minute + 1) * 60.0 if closing else 0.0
        first, self._next = self._next, self._next + 1
        partial = Partial(source="call_center/0", first=first, last=first, watermark=watermark, caught_up=True,
                          deltas={minute: series})  # fmt: skip
        self.state.apply(partial, first)
        self.flush(minute)

    def flush(self, minute: int) -> None:
        for key, value in self.state.dirty_records():
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        for row in self.state.drain_outputs(1e9 + 100 * self._next, self.judge, 1e12).values:
            for told in self.publisher.values(row):
                if row.maturity == "closed":
                    self.values[row.series, row.window] = told.value, told.n
        self.changelog.update([self.state.marker()])


def test_a_ratio_whose_hits_never_came_has_no_value() -> None:
    """Neither the whole nor a part; the trials are still counted."""
    stream = Stream()
    stream.take(100, {WHOLE: [40, 0], BY: [9, 0]})
    assert {stream.values[key, window] for key in (WHOLE,) for window in ("1m", "5m", "total")} == {(None, 40)}
    assert stream.values[BY, "total"] == (None, 9)


def test_the_first_hit_makes_it_known_everywhere() -> None:
    """What was said of parts without a hit is said again, though nothing came for them."""
    stream = Stream()
    stream.take(100, {WHOLE: [40, 0], BY: [9, 0]})
    stream.take(100, {WHOLE: [0, 1]})
    assert stream.values[WHOLE, "total"] == (2.5, 40)
    assert stream.values[BY, "total"] == (0.0, 9), "known to be none"


def test_a_restart_says_again_what_has_no_value() -> None:
    """Whatever was published before: what is restored knows from its sums whether hits ever came."""
    stream = Stream()
    stream.take(100, {WHOLE: [40, 3], BY: [9, 0]})
    after = Stream()
    after.state.restore(stream.changelog.items())
    after.changelog = dict(stream.changelog)
    after.flush(101)
    assert after.values[BY, "total"] == (0.0, 9)


def test_a_channel_is_known_by_its_own_hits() -> None:
    """Crashes of the app say nothing of other channels that a KPI is kept by."""
    web, app = (series_key("payment_failure", (("channel", name),)) for name in ("web", "app"))
    stream = Stream()
    stream.take(100, {"payment_failure": [50, 2], web: [30, 2], app: [20, 0]})
    assert stream.values["payment_failure", "5m"] == (4.0, 50)
    assert stream.values[app, "5m"] == (None, 20)


@pytest.mark.parametrize("hits", [0, 4])
def test_a_share_of_outcomes_that_are_events_needs_both(hits: int) -> None:
    """Who sends failed payments and no others has neither 100 % nor, until the first other one, any share."""
    web, app = (series_key("payment_failure", (("channel", name),)) for name in ("web", "app"))
    method = series_key("payment_failure", (("method", "card"),))
    stream = Stream()
    stream.take(100, {"payment_failure": [4, hits], app: [4, hits], method: [4, hits]})
    assert {stream.values[key, "5m"] for key in ("payment_failure", app, method)} == {(None, 4)}
    stream.take(100, {"payment_failure": [4, 4 - hits], web: [4, 4 - hits]})
    assert stream.values["payment_failure", "5m"] == (50.0, 8)
    assert stream.values[method, "5m"] == (25.0 * hits, 4), "of the whole both are known"
    assert {stream.values[key, "5m"] for key in (app, web)} == {(None, 4)}
    stream.take(101, {"payment_failure": [1, 1 - hits // 4], app: [1, 1 - hits // 4]})
    assert stream.values[app, "total"] == (20.0 * (hits or 1), 5)
    stream.take(102, {"payment_failure": [3, 3], app: [3, 3]})
    assert stream.values[app, "1m"] == (100.0, 3), "an outage of somebody who is known to send both"


def test_a_share_of_one_event_may_be_100_percent() -> None:
    """Its senders say of each whether it hit; and hits of their own may be as many as there are trials."""
    catalogue = Catalogue.parse("""
- {id: found, name: Found, question: q, unit: percent, direction: up, class: A, aggregator: ratio, formula: f, source: s,
   owner: o, groupings: [[]], of: {events: cx.search.performed}, hits: {where: results > 0}}
- {id: passed_on, name: Passed on, question: q, unit: per_100, direction: none, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[]], of: {events: cx.contact.handled}, hits: {events: cx.contact.transferred}}
""")
    stream = Stream(catalogue)
    stream.take(100, {"found": [4, 4], "passed_on": [4, 4]})
    assert {stream.values[key, "5m"] for key in ("found", "passed_on")} == {(100.0, 4)}


def test_without_a_whole_each_series_tells_of_itself() -> None:
    """A queue that had hits has none later; another one is unknown still."""
    catalogue = Catalogue.parse("""
- {id: passed_on, name: Passed on, question: q, unit: per_100, direction: none, class: A, aggregator: ratio, formula: f,
   source: s, owner: o, groupings: [[queue]], of: {events: cx.contact.handled}, hits: {events: cx.contact.transferred}}
""")
    one, other = (series_key("passed_on", (("queue", name),)) for name in ("q1", "q2"))
    stream = Stream(catalogue)
    stream.take(100, {one: [4, 1], other: [4, 0]})
    stream.take(101, {one: [4, 0], other: [4, 0]})
    assert (stream.values[one, "1m"], stream.values[other, "1m"]) == ((0.0, 4), (None, 4))


def test_a_judge_sees_no_shares_without_hits_but_amounts_in_several_currencies() -> None:
    """0 % of what was never sent is no trouble; amounts are no less for being of two currencies."""
    seen: list[tuple[Acc | None, ...]] = []

    def judge(closed: ClosedMinute) -> bool:
        seen.extend((closed.in_minute(key), closed.window(key, "5m")) for key in (WHOLE, "revenue"))
        return True

    irr, usd = (series_key("revenue", (("currency", name),)) for name in ("IRR", "USD"))
    stream = Stream()
    stream.judge = judge
    stream.take(100, {WHOLE: [40, 0], "revenue": [2, 5], irr: [1, 2], usd: [1, 3]})
    assert stream.values["revenue", "5m"] == (None, 2)
    assert seen == [(None, None), ([2, 5], [2, 5])]


def test_who_declares_to_send_has_none() -> None:
    """By setting, of one channel or of all."""
    declared = catalogue_of(Settings(sends="app/cx.payment.failed, app/cx.payment.succeeded, cx.contact.transferred"))
    web, app = (series_key("payment_failure", (("channel", name),)) for name in ("web", "app"))
    stream = Stream(declared)
    stream.take(100, {WHOLE: [40, 0], "payment_failure": [50, 0], web: [30, 0], app: [20, 0]})
    assert stream.values[WHOLE, "1m"] == (0.0, 40)
    assert stream.values["payment_failure", "1m"] == (0.0, 50), "of all channels, one is enough"
    assert stream.values[app, "1m"] == (0.0, 20)
    assert stream.values[web, "1m"] == (None, 30)


@pytest.mark.parametrize("sends", ["cx.contact.transfered", "phone/cx.contact.transferred", "app/"])
def test_what_nobody_can_send_is_refused_at_start(sends: str) -> None:
    with pytest.raises(ConfigError, match=r"sends: .*expected an event type or channel/type"):
        catalogue_of(Settings(sends=sends))


def test_a_total_over_several_currencies_has_no_value() -> None:
    """By currency there is one, and of a channel with one currency alone."""
    irr, usd = (series_key("revenue", (("currency", name),)) for name in ("IRR", "USD"))
    app, web = (series_key("revenue", (("channel", name),)) for name in ("app", "web"))
    both = [
        series_key("revenue", (("channel", channel), ("currency", name)))
        for channel, name in (("app", "IRR"), ("app", "USD"), ("web", "IRR"))
    ]
    region = series_key("revenue", (("region", "r"),))
    first: dict[str, Acc] = {key: [1, 8_500_000_000] for key in ("revenue", irr, app, both[0])}
    stream = Stream()
    stream.take(100, {**first, web: [1, 5], both[2]: [1, 5], region: [1, 5]})
    assert stream.values["revenue", "5m"] == (85_000_000.0, 1)
    stream.take(101, {key: [1, 12_050] for key in ("revenue", usd, app, both[1])})
    assert stream.values["revenue", "5m"] == (None, 2)
    assert stream.values[app, "5m"] == (None, 2)
    assert stream.values[web, "5m"] == (0.05, 1)
    assert stream.values[region, "total"] == (None, 1), "of no region it is known which currencies it has"
    assert (stream.values[irr, "5m"], stream.values[usd, "5m"]) == ((85_000_000.0, 1), (120.5, 1))
    assert stream.values["revenue", "1m"] == (120.5, 1), "one minute has one currency"
    for minute in range(102, 108):
        stream.take(minute, {"revenue": [1, 100], usd: [1, 100]})
    assert stream.values["revenue", "5m"] == (5.0, 5), "the other one has left the window"


@pytest.mark.parametrize(
    ("at", "rial"), [("2026-03-20T20:29:59.999+00:00", 85_840_000), ("2026-03-20T20:30:00+00:00", 85_900_000)]
)
def test_a_kpi_that_names_its_rates_has_a_total_over_several_currencies(at: str, rial: int) -> None:
    """
    As the page of KPIs tells; what it has no rate for is not counted as if it were of another currency.

    The rate is that of the event's day, which begins at 20:30 UTC in Tehran.
    """
    [shown] = re.findall(r"^```yaml\n(- id: revenue_in_rial.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    own = Catalogue.parse(shown)["revenue_in_rial"]
    orders = [
        new_event(
            OrderPlaced(amount=amount, currency=currency),
            id=f"o{n}",
            source="/t",
            time=datetime.fromisoformat(at),
            subject="c",
            channel="web",
        )
        for n, (amount, currency) in enumerate([(85_000_000, "IRR"), (2, "USD"), (7, "EUR"), (9, None)])
    ]
    [minute] = Folder([own]).fold(orders).values()
    assert minute["revenue_in_rial"] == [2, rial]
    assert reason_of(own) == ""


def test_every_definition_with_hits_of_its_own_has_a_reason() -> None:
    """So has every amount that is kept by currency; nothing else."""
    assert reason_of(CATALOGUE["transfers_to_queue"]) == (
        "nothing of cx.contact.transferred where kind == 'queue' was ever received"
    )
    assert reason_of(CATALOGUE["revenue"]).startswith("several currencies")
    assert reason_of(CATALOGUE["survey_dismissal"]) == (
        "not each of cx.survey.answered, cx.survey.dismissed was ever received"
    )
    assert rule_of(CATALOGUE["csat"]) is None
    paired = {kpi.id for kpi in CATALOGUE if kpi.aggregator in {"ratio", "share"} and kpi.hits and not kpi.nested}
    assert paired <= {kpi.id for kpi in CATALOGUE if reason_of(kpi)}


def test_a_mark_that_nobody_ever_set_is_not_0_percent() -> None:
    """`failed` may be left out, and then reads as false: whether such senders mark failures is not known."""
    rule = rule_of(CATALOGUE["request_failure"])
    assert rule is not None
    assert reason_of(CATALOGUE["request_failure"]) == "nothing of cx.perf.sampled where failed was ever received"
    web, stream = series_key("request_failure", (("channel", "web"),)), Stream()
    app = series_key("request_failure", (("channel", "app"),))
    stream.take(100, {"request_failure": [50, 0], web: [40, 0], app: [10, 0]})
    assert [stream.values[key, "5m"] for key in ("request_failure", web)] == [(None, 50), (None, 40)]
    stream.take(101, {"request_failure": [40, 2], web: [40, 2]})
    assert stream.values["request_failure", "total"] == (pytest.approx(100 * 2 / 90), 90)
    assert stream.values[web, "total"] == (2.5, 80)
    assert stream.values[app, "total"] == (None, 10), "what the web marks says nothing of the app"
    assert rule_of(CATALOGUE["hold_rate"]) is None, "its trials are those of which it is known"
