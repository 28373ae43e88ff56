"""What people read of an alert: while it fires, and once it has ended."""

import msgspec
import pytest

from streams.agents.judge import notice_of
from streams.alerts.judging.judge import Judge
from streams.alerts.judging.machine import Instance
from streams.alerts.judging.outcome import begun, tell_end
from streams.alerts.rules.parsing import parse_rules
from streams.alerts.types import Evidence
from streams.delivery.notice import body_of
from streams.kpis.catalogue.catalogue import Catalogue
from tests.harness.judged import BAD, GOOD, WINDOWS, Run, rules

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
    return tell_end(rule, {"channel": "web"}, instance, fired or Evidence(), now, at("10:52"))


def test_the_end_says_value_time_and_cost() -> None:
    """Golden case 29: 412 answers of which 252 were good, against a target of 80 %; then 51 of 60."""
    texts = ended(FLOOR, [412, 252], Evidence(value=85.0, n=60))
    assert texts == {
        "summary": "Resolved: Customer satisfaction, channel web: 85.0 % of 60 now, target 80.0 %",
        "description": "Lasted 48 min, from 2025-02-19 10:04 to 2025-02-19 10:52 UTC."
        " Meanwhile 252 of 412 (61.2 %), 78 fewer than at the target of 80.0 %.",
    }


def test_without_a_target_the_usual_is_what_it_is_held_against() -> None:
    texts = ended(USUAL, [200, 100], Evidence(value=84.0, n=50), Evidence(baseline=85.0))
    assert texts["summary"] == "Resolved: Customer satisfaction, channel web: 84.0 % of 50 now"
    assert texts["description"].endswith("Meanwhile 100 of 200 (50.0 %), 70 fewer than at the usual 85.0 %.")


def test_what_was_not_lost_or_cannot_be_counted_is_not_claimed() -> None:
    assert "fewer" not in ended(FLOOR, [100, 90], Evidence(value=90.0, n=100))["description"]
    assert "Meanwhile" not in ended(FLOOR, [], Evidence(value=90.0, n=100))["description"]
    assert ended(FLOOR, [], Evidence())["summary"].endswith("channel web: no data, target 80.0 %")


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
        bodies.append(body_of(notice_of(active), 0.0, 60.0))
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
