"""Folding: minutes, labels, values and what never counts."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from streams.events.families.contact import ContactHandled, ContactQueueLeft
from streams.events.families.digital import ClickFrustrated, OrderPlaced, PageViewed, PerfSampled, SessionStarted
from streams.events.families.feedback import SurveyAnswered
from streams.events.families.store import StoreQueueServed
from streams.events.types import Data, Event, new_event
from streams.kpis.aggregators import measure
from streams.kpis.arithmetic.sketch import ZERO_BIN, bin_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import SENDERS, Deltas, Folder
from streams.kpis.language.blocks import CatalogueError
from streams.kpis.language.series import OTHER, parse_series, series_key

CATALOGUE = Catalogue.load()
MINUTE = 29_000_000
TIME = datetime.fromtimestamp(MINUTE * 60, UTC)


def made(data: Data, time: datetime = TIME, **attributes: Any) -> Event:
    return new_event(data, id="e", source="test", time=time, subject="c", **{"channel": "web", **attributes})


ANSWERED = made(SurveyAnswered(survey_id="s", metric="csat", scale=5, score=4))


def fold(*events: Event) -> Deltas:
    return Folder(CATALOGUE).fold(events)


def series_of(deltas: Deltas, kpi: str) -> set[tuple[tuple[str, str], ...]]:
    keys = [parse_series(key) for series in deltas.values() for key in series]
    return {labels for name, labels in keys if name == kpi}


def test_nothing_gives_nothing() -> None:
    """Neither an empty batch nor one of synthetic events leaves a trace."""
    assert fold() == {}
    assert fold(made(PageViewed(page="p"), synthetic=True)) == {}


@pytest.mark.parametrize(
    ("offset", "minute"),
    [(0, 0), (59.999999, 0), (60, 1), (-0.000001, -1), (-60, -1)],
)
def test_a_minute_starts_with_its_first_microsecond(offset: float, minute: int) -> None:
    """Alone in its batch or not, an event falls into the same minute."""
    event = made(PageViewed(page="p"), TIME + timedelta(seconds=offset))
    assert list(fold(event)) == [MINUTE + minute]
    far = made(PageViewed(page="p"), TIME + timedelta(days=400))
    assert set(fold(event, far)) == {MINUTE + minute, MINUTE + 400 * 1440}


def test_the_zone_in_which_a_time_was_sent_does_not_matter() -> None:
    """Also one whose offset is no whole number of minutes, as before 1900 in most cities."""
    zones = [UTC, timezone(timedelta(hours=3, minutes=30)), timezone(timedelta(hours=-1, seconds=-7))]
    deltas = fold(*(made(PageViewed(page="p"), TIME.astimezone(zone)) for zone in zones))
    assert deltas[MINUTE]["volume"] == [3]
    before_1970 = made(PageViewed(page="p"), datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert list(fold(before_1970)) == [-1]


def test_a_missing_label_makes_no_series() -> None:
    """The event counts for the groupings whose labels it has, and only for those."""
    assert series_of(fold(made(PageViewed(page="p"))), "volume") == {
        (), (("channel", "web"),), (("type", "cx.page.viewed"),),
        (("channel", "web"), ("type", "cx.page.viewed")),
    }  # fmt: skip
    half = made(OrderPlaced(amount=1.0), experiment="checkout")
    assert not [labels for labels in series_of(fold(half), "orders") if ("experiment", "checkout") in labels]


def test_label_values_are_cleaned() -> None:
    """No value can break a series key, none is longer than a label may be, and two that differ late are two."""
    long = [f"a\x1fb\n{'x' * 100}{end}" for end in "12"]
    queues = {
        label
        for queue in long
        for series in series_of(fold(made(handled(queue), channel="call_center")), "aht")
        for name, label in series
        if name == "queue"
    }
    assert {queue[:53] for queue in queues} == {"a b " + "x" * 49}
    assert {len(queue) for queue in queues} == {64}
    assert len(queues) == 2


def test_spellings_of_one_label_are_one_series() -> None:
    """Letters, half-spaces, tatweel, blanks and composition; what says nothing is no series."""
    for one, another in (("كتاب", "کتاب"), ("می\u200cشود", "میشود"), (" ســلام ", "سلام"), ("cafe\u0301", "caf\u00e9")):
        events = [made(handled(queue), channel="call_center") for queue in (one, another, one)]
        assert fold(*events) == fold(*[made(handled(another), channel="call_center")] * 3)
    for nothing in ("  ", "\u200c", "\u200f\ufeff"):
        assert (("queue", ""),) not in series_of(fold(made(handled(nothing), channel="call_center")), "aht")


def test_labels_that_cannot_be_carried_are_counted_once() -> None:
    folder = Folder(CATALOGUE)
    for queue in ("x" * 70, "x" * 70, "b\x01", "fine", "كتاب"):
        folder.fold([made(handled(queue), channel="call_center")])
    assert folder.take_cut() == 2
    assert folder.take_cut() == 0


def handled(queue: str) -> ContactHandled:
    return ContactHandled(talk_s=1, hold_s=0, wrapup_s=0, queue=queue)


def test_labels_that_are_numbers_or_yes_or_no_are_written_as_in_clickhouse() -> None:
    """true and false in lower case, whole numbers plain."""
    labelled = Catalogue.parse("""
- {id: slow, name: n, question: q, unit: count, direction: none, class: A, aggregator: count, formula: f, source: s,
   owner: o, groupings: [[failed]], of: {events: cx.perf.sampled}}
""")
    deltas = Folder(labelled).fold([made(PerfSampled(duration_ms=1, failed=True)), made(PerfSampled(duration_ms=1))])
    assert deltas == {MINUTE: {"slow\x1ffailed\x1ftrue": [1], "slow\x1ffailed\x1ffalse": [1]}}
    answered = made(SurveyAnswered(survey_id="s", metric="csat", scale=10, score=9))
    assert (("scale", "10"),) in series_of(fold(answered), "surveys_answered")


def test_one_kpi_is_read_by_what_customers_lived_through() -> None:
    """Late and timely deliveries are labels of one satisfaction, not KPIs of their own."""
    on_time = [made(SurveyAnswered(survey_id="s", metric="csat", scale=5, score=s, delivery="on_time")) for s in (5, 4)]
    late = [made(SurveyAnswered(survey_id="s", metric="csat", scale=5, score=s, delivery="late")) for s in (1, 2, 4)]
    unknown = [made(SurveyAnswered(survey_id="s", metric="csat", scale=5, score=5))]
    series = fold(*on_time, *late, *unknown)[MINUTE]
    assert series[series_key("csat_mean", (("delivery", "on_time"),))] == [2, 9, 41]
    assert series[series_key("csat_mean", (("delivery", "late"),))] == [3, 7, 21]
    assert series[series_key("csat", (("delivery", "late"),))] == [3, 1]
    assert series["csat_mean"] == [6, 21, 87]


def test_durations_are_summed_in_whole_steps() -> None:
    """Tenths of seconds, halves upwards, squares exact."""
    handled = [ContactHandled(talk_s=t, hold_s=0.1, wrapup_s=0.2) for t in (100.0, 7.05)]
    series = fold(*(made(data, channel="call_center") for data in handled))[MINUTE]
    assert series["aht"] == [2, 1003 + 74, 1003**2 + 74**2]
    shown = measure("mean", series["aht"], CATALOGUE["aht"].scale)
    assert shown.value == pytest.approx(53.85)


def test_waits_are_kept_in_bins() -> None:
    """All who had to wait, however it ended; who had not is left out."""
    reasons = ("answered", "abandoned", "callback", "flow_out", "transfer")
    waits = [(reason, wait) for reason in reasons for wait in (0.0, 30.0)]
    events = [made(ContactQueueLeft(queue="q", reason=r, wait_s=w), channel="call_center") for r, w in waits]
    assert fold(*events)[MINUTE]["queue_wait"] == {bin_of(30_000): 5}


def test_no_wait_at_all_has_its_own_bin() -> None:
    events = [made(StoreQueueServed(wait_s=wait), channel="store") for wait in (0.0, 30.0)]
    assert fold(*events)[MINUTE]["store_queue_wait"] == {ZERO_BIN: 1, bin_of(30_000): 1}


def test_a_value_beyond_all_reason_is_missing() -> None:
    """It neither enters the mean nor its n: squares of it would not fit into storage."""
    absurd = ContactHandled(talk_s=1e9, hold_s=0, wrapup_s=0)
    series = fold(made(absurd, channel="call_center"))[MINUTE]
    assert "aht" not in series
    assert series["contacts_handled"] == [1]


def test_hits_of_their_own_need_no_trial() -> None:
    """Rage counts towards rage clicks in its own minute, a dead click does not."""
    later = TIME + timedelta(minutes=5)
    clicks = [made(ClickFrustrated(kind="rage"), later), made(ClickFrustrated(kind="dead"), later)]
    deltas = fold(made(SessionStarted()), *clicks)
    assert deltas[MINUTE]["rage_clicks"] == [1, 0]
    assert deltas[MINUTE + 5]["rage_clicks"] == [0, 1]
    assert deltas[MINUTE + 5]["frustrated_clicks"] == [2]


def test_a_type_nobody_measures_is_passed_over() -> None:
    """A catalogue without a KPI for a type folds its events to nothing."""
    only = Folder([CATALOGUE["orders"]])
    assert only.fold([made(PageViewed(page="p"))]) == {}
    assert only.fold([made(PageViewed(page="p")), made(OrderPlaced(amount=1.0))])[MINUTE]["orders"] == [1]


@pytest.mark.parametrize("label", ["channel", "queue"])
def test_a_condition_may_name_a_value_on_its_way(label: str) -> None:
    """Such as a divisor; also on events that are looked up by a label that takes any value."""
    kpi = Catalogue.parse(f"""
- {{id: fast, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s,
   owner: o, groupings: [[], [{label}]], of: {{events: cx.contact.queue_left, where: 6 / (wait_s - 1) > 2}}}}
""")
    events = [
        made(ContactQueueLeft(queue="q", reason="answered", wait_s=wait), channel="app") for wait in (0, 1, 3, 4, 5)
    ]
    assert [*Folder(kpi).fold(events)[MINUTE].values()] == [[1], [1]]


def test_own_labels_group_and_filter(tmp_path) -> None:
    """As `own_` and their name; an event without them is in the whole alone."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "- {id: mine, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s,"
        " owner: o, groupings: [[], [own_plan], [channel, own_plan]],"
        " of: {events: cx.page.viewed, where: own_brand is None or own_brand == 'كتاب'}}"
    )
    mine = Catalogue.load([file], built_in=False)
    page = PageViewed(page="p")
    labels = ({"plan": "gold", "brand": "كتاب "}, {"plan": " gold"}, {"plan": "gold", "brand": "x"}, {}, None)
    deltas = Folder(mine).fold([made(page, labels=one) for one in labels])[MINUTE]
    assert deltas == {
        "mine": [4],
        series_key("mine", (("own_plan", "gold"),)): [2],
        series_key("mine", (("channel", "web"), ("own_plan", "gold"))): [2],
    }


@pytest.mark.parametrize("wrong", ["own_", "own_Plan", "own_1"])
def test_what_is_no_name_of_an_own_label_is_no_field(tmp_path, wrong: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "- {id: mine, name: n, question: q, unit: count, direction: up, class: A, aggregator: count, formula: f, source: s,"
        f" owner: o, groupings: [[{wrong}]], of: {{events: cx.page.viewed}}}}"
    )
    with pytest.raises(CatalogueError, match="is no field of its events"):
        Catalogue.load([file], built_in=False)


def test_a_sender_who_invents_labels_leaves_credit_to_the_others_of_its_channel() -> None:
    """Those who come later still have labels of their own; what came up is told with who brought it."""
    folder = Folder(CATALOGUE, credit=1_000, sender_share=0.5)

    def answers(source, names):
        return [msgspec.structs.replace(ANSWERED, source=source, unitid=name) for name in names]

    def units(deltas):
        return {key for series in deltas.values() for key in series if "unitid" in key and OTHER not in key}

    flood = folder.fold(answers("/evil", [f"made-up-{n}" for n in range(3_000)]), source="web")
    assert folder.take_overflowed() > 1_000
    brought = folder.take_brought()
    assert set(brought.values()) == {"/evil"}
    assert units(flood) <= brought.keys()
    honest = folder.fold(answers("/shop", [f"shop-{n}" for n in range(20)]), source="web")
    assert folder.take_overflowed() == 0
    assert len({parse_series(key)[1] for key in units(honest)}) == 20
    brought = folder.take_brought()
    assert {brought[key] for key in units(honest)} == {"/shop"}


def test_senders_who_are_many_are_one() -> None:
    """Who invents names of senders too is bounded by its channel, and costs no memory of its own."""
    folder = Folder(CATALOGUE, credit=1_000, sender_share=0.5)
    events = [msgspec.structs.replace(ANSWERED, source=f"/s{n}", unitid=f"u{n}") for n in range(5_000)]
    folder.fold(events, source="web")
    assert folder.take_overflowed() > 1_000
    assert len(set(folder.take_brought().values())) == SENDERS + 1


def test_labels_that_nothing_is_counted_under_cost_no_credit() -> None:
    """Neither memory nor room is taken from labels that count, by events to which a grouping has nothing to say."""
    common = "question: q, direction: up, class: A, formula: f, source: s, owner: o, aggregator: count, unit: count"
    of = "of: {events: cx.survey.answered, where: metric == 'csat'}"
    catalogue = Catalogue.parse(f"- {{id: mine, name: n, {common}, groupings: [[channel, unitid]], {of}}}")
    folder = Folder(catalogue, credit=100)
    other = made(SurveyAnswered(survey_id="s", metric="nps", scale=10, score=4))
    said_nothing = [msgspec.structs.replace(other, unitid=f"u{n}") for n in range(2_000)]
    assert folder.fold(said_nothing, source="web") == {}
    assert folder.remembered < 10
    counted = [msgspec.structs.replace(ANSWERED, unitid=f"100 % {n}") for n in range(90)]
    deltas = folder.fold(counted, source="web")
    expected = {series_key("mine", (("channel", "web"), ("unitid", f"100 % {n}"))): [1] for n in range(90)}
    assert deltas == {MINUTE: expected}
    assert folder.take_overflowed() == 0
    assert folder.take_brought().keys() == expected.keys()
