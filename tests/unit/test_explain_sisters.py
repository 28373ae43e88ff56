"""Causes that another KPI of the same events knows, and which KPIs those are."""

import pytest

from streams.agents.notices import notice_of
from streams.agents.suspects import RecentChange, suspects_texts
from streams.alerts.explaining.likelihood import BeforeAfter
from streams.alerts.explaining.sisters import SisterSeries, explain_by_sisters, sisters_of
from streams.alerts.judging.judge import Active
from streams.alerts.types import Contribution, Evidence, Transition
from streams.events.families.change import DEPLOYED, STARTED
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.definition import Kpi
from streams.kpis.language.series import series_key
from streams.wording.moments import ZoneTimes

CATALOGUE = Catalogue.load()
PAYMENTS = CATALOGUE["payment_failure"]


def codes(before: dict[str, int], now: dict[str, int], channel: str = "") -> dict[str, BeforeAfter]:
    """Series of failed payments by code, an hour before and 15 minutes now."""
    own = {"channel": channel} if channel else {}
    found = {
        series_key("payment_failures", tuple({"code": code, **own}.items())): BeforeAfter(
            [before[code]] if code in before else None, [now[code]] if code in now else None
        )
        for code in before | now
    }
    whole = series_key("payment_failures", tuple(own.items()))
    return found | {whole: BeforeAfter([sum(before.values())], [sum(now.values())])}


def asked(series: dict[str, BeforeAfter], labels: dict[str, str] | None = None) -> Contribution | None:
    def series_of(sister: Kpi) -> SisterSeries | None:
        assert sister.id == "payment_failures"
        return SisterSeries(series, lambda key: series.get(key, BeforeAfter(None, None)), (60, 15))

    return explain_by_sisters(PAYMENTS, labels or {}, CATALOGUE, series_of)


BEFORE = {"51": 20, "55": 11, "timeout": 9, "84": 4}


def test_one_code_of_failures_everywhere_is_the_cause() -> None:
    """515 of 553 failures say timeout, which channels and methods cannot tell."""
    found = asked(codes(BEFORE, {"51": 17, "55": 12, "timeout": 515, "84": 9}))
    assert found is not None
    assert (found.kpi, found.labels) == ("payment_failures", {"code": "timeout"})
    assert found.explained == pytest.approx(0.95, abs=0.03)


def test_within_a_channel_its_own_failures_are_looked_at() -> None:
    elsewhere = codes(BEFORE, {"51": 17, "55": 12, "timeout": 515, "84": 9})
    found = asked(elsewhere | codes(BEFORE, {"51": 300, "timeout": 3}, "web"), {"channel": "web"})
    assert found is not None
    assert found.labels == {"code": "51"}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"51": 10, "55": 9}, {"51": 3, "55": 1, "timeout": 21}),
        ({"51": 4, "55": 4, "84": 5}, {"timeout": 11}),
        ({"51": 8, "55": 7, "84": 7, "timeout": 3}, {"51": 3, "timeout": 9}),
    ],
)
def test_a_code_that_there_never_was_and_few_failures_are_no_hindrance(
    before: dict[str, int], now: dict[str, int]
) -> None:
    """As an outage looks after a minute, in an hour in which nothing had timed out before."""
    found = asked(codes(before, now))
    assert found is not None
    assert found.labels == {"code": "timeout"}


@pytest.mark.parametrize("times", [0.5, 1, 2, 5])
def test_where_all_codes_grew_alike_none_is_named(times: float) -> None:
    assert asked(codes(BEFORE, {code: round(times * n) for code, n in BEFORE.items()})) is None


def test_one_of_two_codes_that_both_grew_is_not_named() -> None:
    """Where both rise, the larger one is less sure than both together, by more than one kind is likelier."""
    assert asked(codes({"51": 20, "timeout": 20}, {"51": 12, "timeout": 16})) is None


def test_what_became_less_bad_is_no_cause() -> None:
    assert asked(codes({"51": 20, "timeout": 900}, {"51": 5, "timeout": 3})) is None


def test_sisters_count_what_is_bad_of_the_same_events() -> None:
    """Not how much there is of what is good, and nothing of other events."""
    assert [one.id for one in sisters_of(PAYMENTS, CATALOGUE)] == ["payment_failures"]
    assert [one.id for one in sisters_of(CATALOGUE["orders"], CATALOGUE)] == []
    for kpi in CATALOGUE:
        for sister in sisters_of(kpi, CATALOGUE):
            assert sister.event_types <= kpi.event_types
            assert sister.direction == kpi.direction


def transition(**fields: object) -> Transition:
    evidence = Evidence(**fields)  # type: ignore[arg-type]
    return Transition(
        seq=1, rule="PaymentsFail", kpi="payment_failure", labels={}, old="pending", new="firing", minute=1_010, why="",
        severity="page", owner="digital", evidence=evidence, episode="PaymentsFail-0-1000",
    )  # fmt: skip


def part(labels: dict[str, str], explained: float, kpi: str = "") -> Contribution:
    return Contribution(
        labels=labels, value=1.0, baseline=0.0, n=9, baseline_n=9, rate_effect=1.0, share_effect=0.0, explained=explained, kpi=kpi
    )  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([part({"code": "timeout"}, 0.93, "payment_failures"), part({}, 1.0), part({"channel": "web"}, 0.6)], "code timeout (93 %)"),
        ([part({}, 1.0), part({"channel": "web"}, 0.61), part({"channel": "app"}, 0.39)], "everywhere alike"),
        ([part({"channel": "web"}, 0.61), part({"channel": "app"}, 0.39)], "channel web (61 %); channel app (39 %)"),
    ],
)  # fmt: skip
def test_a_message_names_the_cause_and_no_mere_sizes(parts: list[Contribution], says: str) -> None:
    """Where everybody is hit, that web is 61 % of it says how large web is."""
    notice = notice_of(Active(transition(contributors=parts), None), ZoneTimes())
    assert notice.annotations["explained_by"] == says


def test_releases_and_campaigns_are_the_first_suspects() -> None:
    began = 60 * 1_001
    changes = [
        RecentChange(DEPLOYED, began - 120, "app", "app", "5.3.0"),
        RecentChange(STARTED, began - 4_000, "web", "nowruz", ""),
    ]
    assert suspects_texts(changes, transition()) == {
        "suspects": "app 5.3.0 was deployed 2 min before it; nowruz (campaign) began 1 h 6 min before it",
        "suspects_fa": "app 5.3.0 ۲ دقیقه پیش از آن منتشر شد؛ nowruz ۱ ساعت و ۶ دقیقه پیش از آن (کارزار) آغاز شد",
    }
    assert suspects_texts([], transition()) == {}
