"""What people read of an alert: while it fires, and once it has ended."""

import msgspec
import pytest

from streams.agents.notices import notice_of
from streams.alerts.judging import telling
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.machine import Instance
from streams.alerts.judging.outcome import begun, tell_end
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.types import Evidence
from streams.delivery.notice import body_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.wording.moments import ZoneTimes
from tests.harness.judged import BAD, CUSUM, GOOD, LOW, WINDOWS, Run, level, rules, taken_over

TIMES = ZoneTimes()
MINUTE = 29_000_000 - 29_000_000 % 1440  # midnight
FLOOR = """
groups:
  - name: g
    rules:
      - alert: DeliveryCsat
        kpi: csat
        by: [channel]
        window: 1h
        method: floor
        params: {target: 80}
        owner: delivery team
        severity: ticket
"""
USUAL = FLOOR.replace("method: floor", "method: ztest").replace("{target: 80}", "{baseline: 24h}")


def at(clock: str) -> int:
    """The minute that ends at a time of the clock."""
    hours, minutes = map(int, clock.split(":"))
    return MINUTE + 60 * hours + minutes - 1


def ended(text: str, during: list[int], now: Evidence, fired: Evidence | None = None) -> dict[str, str]:
    [rule] = [rule for rule in parse_rules(text, Catalogue.load()) if rule.alert == "DeliveryCsat"]
    instance = Instance(episode=f"DeliveryCsat-0-{at('10:04')}", during=during)
    return tell_end(rule, {"channel": "web"}, instance, fired or Evidence(), now, at("10:52"), TIMES)


def test_the_end_says_value_time_and_cost() -> None:
    """Golden case 29: 412 answers of which 252 were good, against a target of 80 %; then 51 of 60."""
    texts = ended(FLOOR, [412, 252], Evidence(value=85.0, n=60))
    assert texts == {
        "summary": "Resolved: Customer satisfaction, channel web: 85.0 % of 60 now, target 80.0 %",
        "description": "Lasted 48 min, from 2025-02-19 10:04 to 10:52 UTC."
        " Meanwhile 252 of 412 (61.2 %), 78 fewer than at the target of 80.0 %.",
        "summary_fa": "برطرف شد: رضایت مشتری، کانال وب: اکنون ۸۵٫۰٪ از ۶۰ مورد، هدف ۸۰٫۰٪",
        "description_fa": "۴۸ دقیقه طول کشید، از ۱۰:۰۴ تا ۱۰:۵۲، ۱ اسفند ۱۴۰۳ (به وقت UTC)."
        " در این مدت ۲۵۲ از ۴۱۲ (۶۱٫۲٪)، ۷۸ مورد کمتر از هدف ۸۰٫۰٪.",
    }


def test_without_a_target_the_usual_is_what_it_is_held_against() -> None:
    texts = ended(USUAL, [200, 100], Evidence(value=84.0, n=50), Evidence(baseline=85.0))
    assert texts["summary"] == "Resolved: Customer satisfaction, channel web: 84.0 % of 50 now"
    assert texts["description"].endswith("Meanwhile 100 of 200 (50.0 %), 70 fewer than at the usual 85.0 %.")


def test_where_less_is_better_the_cost_is_what_came_too_much() -> None:
    text = FLOOR.replace("kpi: csat", "kpi: payment_failure").replace("target: 80", "target: 5")
    assert ended(text, [200, 30], Evidence(value=4.0, n=50))["description"].endswith(
        "Meanwhile 30 of 200 (15.0 %), 20 more than at the target of 5.0 %."
    )
    assert "than at" not in ended(text, [200, 8], Evidence(value=4.0, n=50))["description"]


def test_fractions_are_told_as_fractions() -> None:
    text = USUAL.replace("kpi: csat", "kpi: kano_better").replace("by: [channel]", "by: [feature]")
    fired = Evidence(baseline=0.25)
    assert ended(text, [200, 100], Evidence(value=0.3, n=50), fired)["description"].endswith(
        "Meanwhile 100 of 200 (0.500), 50 more than at the usual 0.250."
    )


def test_what_it_cost_is_of_this_time_alone() -> None:
    """Not of the trouble before, which the same series had."""
    run = Run()
    for _ in range(2):
        run.play(GOOD, 30)
        run.play(BAD, 10)
    run.play(GOOD, 30)
    ends = [one.annotations["description"] for one in run.log if one.new == "resolved" and not one.labels]
    first, second = (text[text.index("Meanwhile") :] for text in ends)
    assert first == second


def test_what_was_not_lost_or_cannot_be_counted_is_not_claimed() -> None:
    assert "fewer" not in ended(FLOOR, [100, 90], Evidence(value=90.0, n=100))["description"]
    assert "Meanwhile" not in ended(FLOOR, [], Evidence(value=90.0, n=100))["description"]
    assert ended(FLOOR, [], Evidence())["summary"].endswith("channel web: no data, target 80.0 %")


@pytest.mark.parametrize(
    ("kpi", "says"),
    [
        ("csat_mean", "Mean satisfaction, 5 points, channel web: 4.00 score (n = 60) now"),
        ("aht", "Average handle time, channel web: 4.0 s (n = 60) now"),
        ("orders", "Orders, channel web: 4 now"),
    ],
)
def test_of_how_many_is_said_of_shares_only(kpi: str, says: str) -> None:
    """4 points of 60 would be another thing, and 60 orders of 60 none at all."""
    text = USUAL.replace("kpi: csat", f"kpi: {kpi}").replace("by: [channel]", "").replace("DeliveryCsat", "Other")
    [rule] = [rule for rule in parse_rules(text, Catalogue.load()) if rule.alert == "Other"]
    texts = tell_end(rule, {"channel": "web"}, Instance(), Evidence(), Evidence(value=4.0, n=60), MINUTE, TIMES)
    assert texts["summary"] == f"Resolved: {says}"


@pytest.mark.parametrize(("episode", "minute"), [("A-b-1-0f-77", 77), ("", -1), ("Abandoned", -1)])
def test_an_episode_knows_when_it_began(episode: str, minute: int) -> None:
    assert begun(episode) == minute


def fired_and_ended() -> tuple[Run, list[dict[str, object]]]:
    """A run through trouble and out of it, and what Alertmanager was told in between and in the end."""
    run, bodies = Run(), []
    run.play(GOOD, 10)
    for calls in (BAD, GOOD):
        run.play(calls, 12)
        [active] = [one for one in run.judge.active(run.minute) if not one.transition.labels]
        bodies.append(body_of(notice_of(active, TIMES), 0.0, 60.0))
    return run, bodies


def test_who_was_told_that_it_fires_is_told_how_it_ended() -> None:
    """Under the same labels, with the numbers of the end, and none of those of the beginning."""
    run, (fires, over) = fired_and_ended()
    assert fires["labels"] == over["labels"]
    assert fires["annotations"]["since"].endswith(" UTC")  # type: ignore[index]
    [resolved] = [one for one in run.log if one.new == "resolved" and not one.labels]
    shown = over["annotations"]
    assert shown["summary"] == resolved.annotations["summary"]  # type: ignore[index]
    assert shown["summary"].startswith("Resolved: ")  # type: ignore[index]
    assert "Lasted " in shown["description"]  # type: ignore[index]
    assert not {"since", "explained_by", "also_moved", "verbatims"} & set(shown)  # type: ignore[call-overload]


def test_an_alert_whose_rule_was_taken_away_does_not_fire_on_in_words() -> None:
    """Nor is it said that the trouble is over: nobody knows."""
    run = Run()
    run.play(GOOD, 10)
    run.play(BAD, 12)
    taken_over(run, CUSUM)
    run.play(BAD)
    [active] = [one for one in run.judge.active(run.minute) if one.transition.rule == "Low"]
    told = body_of(notice_of(active, TIMES), 0.0, 60.0)["annotations"]
    assert told["summary"] == (  # type: ignore[index]
        "Ended: Low, overall: no rule of this name judges it any more"
    )
    assert told["description"].endswith("UTC; whether that is over is not known.")  # type: ignore[index]
    [ended] = [one for one in run.log if one.new == "resolved" and one.rule == "Low"]
    assert ended.annotations["summary"] == told["summary"]  # type: ignore[index]


THIN = level((3, 1), (0, 0))


def test_while_it_cannot_be_judged_an_alert_fires_on_and_says_so() -> None:
    """A decline that lost its answers is one page, however often there are enough of them for a moment."""
    run = Run(LOW.replace("for: 2m", "no_data: {limit: 2h, action: keep}").split("      - {alert: LowByChannel")[0])
    run.play(GOOD, 10)
    run.play(BAD, 5)
    for _ in range(4):
        run.play(THIN, 100)
        run.play(BAD, 1)
    run.play(THIN, 30)
    [active] = run.judge.active(run.minute)
    assert notice_of(active, TIMES).annotations["unjudged"] == (
        "since 1970-01-01 23:41 UTC too few answers to judge it: it fires on until recovery is shown,"
        " at most until 1970-01-02 01:41 UTC"
    )
    run.play({}, 80)
    [active] = run.judge.active(run.minute)
    assert notice_of(active, TIMES).annotations["unjudged_fa"].startswith("از ۲۳:۴۱، ۱۱ دی ۱۳۴۸ (به وقت UTC) موارد")
    assert [one.new for one in run.log] == ["firing"]
    run.play(THIN, 20)
    [over] = run.judge.active(run.minute)
    assert over.transition.annotations["summary"] == (
        "Ended unjudged: Service level, of offered, overall: 3 are too few to judge; whether it is over is not known"
    )
    assert "unjudged" not in notice_of(over, TIMES).annotations
    assert [one.new for one in run.log] == ["firing", "resolved"]


def test_it_says_that_nothing_comes_only_of_a_time_in_which_nothing_came() -> None:
    run = Run(LOW.replace("for: 2m", "no_data: {action: keep}").split("      - {alert: LowByChannel")[0])
    run.play(GOOD, 10)
    run.play(BAD, 5)
    for series, said, said_fa in (
        ({}, "nothing comes to judge it by", "چیزی برای داوری نمی‌رسد"),
        (THIN, "too few answers to judge it", "موارد برای داوری کم است"),
        ({}, "too few answers to judge it", "موارد برای داوری کم است"),
    ):
        run.play(series, 3)
        [active] = run.judge.active(run.minute)
        texts = notice_of(active, TIMES).annotations
        assert texts["unjudged"].startswith(f"since 1970-01-01 16:57 UTC {said}: ")
        assert texts["unjudged_fa"].startswith(f"از ۱۶:۵۷، ۱۱ دی ۱۳۴۸ (به وقت UTC) {said_fa}؛ ")


def test_an_alert_for_want_of_data_is_resolved_by_data() -> None:
    """Also by too little of it to judge: it was about there being none."""
    run = Run(LOW.replace("for: 2m", "no_data: {action: alert, for: 1m}").split("      - {alert: LowByChannel")[0])
    run.play(GOOD, 5)
    run.play({}, 3)
    run.play(THIN, 1)
    assert [one.new for one in run.log] == ["pending", "firing", "resolved"]
    assert run.log[-1].annotations["summary"].startswith("Resolved: ")


def test_the_end_of_what_was_held_back_is_not_told_as_that_of_what_was_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Receivers are reminded of an end for a while; a second episode that they never heard of does not change it."""

    def told() -> list[dict[str, str]]:
        return [one.transition.annotations for one in run.judge.active(run.minute) if one.transition.rule == "Low"]

    run = Run(LOW.replace("for: 2m", "for: 0m"))
    run.play(GOOD, 10)
    run.play(BAD, 5)
    run.play(GOOD, 1)
    [before] = told()
    monkeypatch.setattr(telling._Holds, "of", lambda *_: "mute quiet")
    run.play(BAD, 3)
    run.play(GOOD, 1)
    held = [one for one in run.log if one.rule == "Low" and one.inhibited_by == "mute quiet"]
    assert [one.new for one in held] == ["firing", "resolved"]
    assert told() == [before]


def test_what_it_cost_is_counted_through_a_restart() -> None:
    """A new owner goes on from what was saved."""

    def description(*, restarts: bool) -> str:
        run = Run()
        run.play(GOOD, 10)
        run.play(BAD, 5)
        if restarts:
            saved = [*run.judge.dirty_records(), run.judge.commit_record()]
            run.judge = Judge(rules(), windows=WINDOWS)
            run.judge.restore(saved)
        run.play(BAD, 5)
        run.play(GOOD, 12)
        [end] = [one for one in run.log if one.new == "resolved" and not one.labels]
        return end.annotations["description"]

    undisturbed = description(restarts=False)
    assert "Meanwhile" in undisturbed
    assert description(restarts=True) == undisturbed


def test_the_struct_of_an_instance_reads_what_earlier_versions_wrote() -> None:
    """They had no count of what happened meanwhile."""
    old = msgspec.msgpack.encode(["firing", 7])
    assert msgspec.msgpack.decode(old, type=Instance) == Instance(state="firing", since=7)
