"""Occasions in files, and what is made of events: lines that cannot be right are named, and nothing is counted twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.asking.coverage import CoverageTally, StrataTally, occasions_of
from streams.asking.deciding import ASKED_LATELY, SAME_MATTER, SAME_SURVEY_LATELY, Invitation, decide_on_events
from streams.asking.lines import OccasionError, read_occasions
from streams.asking.reading import parse_surveys
from streams.cli import main
from streams.events.decode import decode_batch
from streams.producers.readers.base import ReadReport
from streams.producers.readers.jsonl import touches
from streams.relations.facts import Fact
from tests.unit.test_asking_rules import DAY, EVERYBODY, RULES, SOUND

ONE = {"survey": "delivery", "subject": "c", "time": "2026-05-01T10:00:00Z", "id": "t1"}
EVENT = {
    "specversion": "1.0", "id": "e1", "source": "/shop", "type": "cx.order.delivered", "time": "2026-05-01T10:00:00Z",
    "subject": "c", "channel": "web", "orderid": "o1", "data": {},
}  # fmt: skip


def lines(*objects: Any) -> list[bytes]:
    return [json.dumps(one).encode() for one in objects]


def test_occasions_events_and_what_was_shown_are_read() -> None:
    shown = {**ONE, "id": "s1", "time": "2026-04-01T10:00:00+03:30", "matter": "o0", "shown": True, "survey": "of-old"}
    found = read_occasions(RULES, [*lines(ONE, EVENT, shown), b"\n", *lines(ONE, EVENT)], "f")["c"]
    assert [one.survey for one in found.triggers] == ["delivery"]
    assert [one.values["orderid"] for one in found.facts] == ["o1"]
    assert found.shown == [Invitation("of-old", 1_775_025_000_000, "o0")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (lines({**ONE, "survey": "delivry"})[0], "f:1: no survey 'delivry'; did you mean 'delivery'"),
        (lines({**ONE, "time": "2026-05-01T10:00:00"})[0], "time"),
        (lines({**ONE, "time": 5})[0], "$.time"),
        (lines({**ONE, "subject": ""})[0], "$.subject"),
        (lines({**ONE, "mater": "o1"})[0], "unknown field `mater`"),
        (lines({"survey": "delivery"})[0], "missing required field `subject`"),
        (lines({**EVENT, "type": "cx.order.deliverd"})[0], "cx.order.deliverd"),
        (b"not json", "f:1: "),
        (b"[1]", "f:1: "),
        (b'{"survey": "\xff"}', "f:1: "),
        (b'{"a":' * 100_000, "f:1: "),
        (b'"survey"', "f:1: "),
    ],
)
def test_a_line_that_cannot_be_right_is_named(line: bytes, said: str) -> None:
    with pytest.raises(OccasionError) as caught:
        read_occasions(RULES, [line], "f")
    assert said in str(caught.value)


def test_one_id_that_says_two_things_is_refused_and_problems_are_bounded() -> None:
    with pytest.raises(OccasionError, match="f:2: id 't1' came before in line 1, and says something else here"):
        read_occasions(RULES, lines(ONE, {**ONE, "time": "2026-05-02T10:00:00Z"}), "f")
    with pytest.raises(OccasionError) as caught:
        read_occasions(RULES, (b"x" for _ in range(10_000)), "f")
    assert len(str(caught.value).splitlines()) == 20


def delivered(day: float, order: str, name: str = "") -> Fact:
    return Fact(round(day * DAY), "/s", name or f"d{order}", "cx.order.delivered", {"orderid": order, "channel": "web"})


def said(kind: str, day: float, name: str, survey: str = "delivery", **values: Any) -> Fact:
    return Fact(round(day * DAY), "/s", name, f"cx.survey.{kind}", {"survey_id": survey, **values})


def test_what_was_sent_before_the_span_counts_as_shown_and_later_does_not() -> None:
    facts = [
        said("sent", 0, "s0", orderid="o1"), said("sent", 1, "s1", "of-old"), delivered(20, "o2"), delivered(40, "o1"),
        said("sent", 40, "s2", orderid="o1"), delivered(45, "o3"),
    ]  # fmt: skip
    found = [(one.trigger.id, one.reason) for one in decide_on_events(RULES, "c", facts, 10 * DAY)]
    assert found == [("do2", ASKED_LATELY), ("do1", SAME_MATTER), ("do3", "")]


def test_what_was_decided_here_before_may_be_on_its_way() -> None:
    ours, theirs = (
        Fact(0, source, "x", "cx.survey.eligible", {"survey_id": "delivery"}) for source in ("/cx/surveys", "/shop")
    )
    for before, reason in ((ours, SAME_SURVEY_LATELY), (theirs, "")):
        [found] = decide_on_events(RULES, "c", [before, delivered(20, "o1")], 10 * DAY)
        assert found.reason == reason


def test_occasions_invitations_and_answers_find_each_other() -> None:
    facts = [
        said("answered", 9, "a0", metric="csat", score=1),  # before there is any occasion
        delivered(10, "o1"), delivered(10.1, "o1", "parcel2"), said("sent", 10.2, "s1", orderid="o1"),
        delivered(11, "o2"), said("answered", 12, "a1", metric="csat", score=5, orderid="o1"),
        said("answered", 13, "a2", metric="csat", score=2, orderid="o1"),
        said("answered", 14, "a3", metric="csat", score=4),  # of the last occasion, though no invitation is known
        said("sent", 15, "s2", orderid="o-unknown"), said("sent", 16, "s3", "no-rule"), said("sent", 16, "s4", "review"),
        Fact(17 * DAY, "/s", "k1", "cx.case.closed", {}),
    ]  # fmt: skip
    for order in (facts, facts[::-1]):
        customer = occasions_of(RULES, "c", order)
        tally = CoverageTally(RULES, 70 * DAY)
        tally.add(customer)
        delivery, claims = tally.touchpoints()
        assert (delivery.occasions, delivery.asked, delivery.answered, delivery.answers) == (2, 2, 2, 3)
        assert (claims.occasions, claims.asked, claims.answered, claims.wanted, claims.on_plan) == (1, 0, 0, None, None)
        assert (delivery.wanted, delivery.on_plan) == (1000, False)
        assert dict(tally.unasked_for) == {"delivery": 1}
        strata = StrataTally(["delivery"], lambda fact: True, lambda fact: fact.values["score"] >= 4)
        strata.add(customer)
        [group] = strata.strata()
        assert (group.name, group.served, group.answers, group.share) == ("(none)", 2, 2, 0.5)


def test_advice_says_which_step_loses_customers() -> None:
    tally = CoverageTally(RULES, 7 * DAY)
    [delivery, claims] = tally.touchpoints()
    assert claims.advice() == ""
    assert "no occasion" in delivery.advice()
    delivery.occasions = 1000
    assert delivery.advice() == "nobody is asked on 1,000 occasions"
    delivery.asked = 100
    assert "none of 100 answers" in delivery.advice()
    delivery.answered = delivery.answers = 50
    assert delivery.advice() == "50 missing: ask on 100 of the 900 occasions left"
    delivery.answered = delivery.answers = 5
    assert delivery.advice() == "95 missing: asking all brings 45, raise the response"
    delivery.asked, delivery.answered = 900, 9
    assert delivery.advice() == "95 missing: asking all brings 1, raise the response"
    delivery.asked, delivery.answered, delivery.answers = 900, 450, 10
    assert delivery.advice() == "90 missing: asking all brings 50, raise the response"
    delivery.answers = 100
    assert (delivery.advice(), delivery.on_plan) == ("", True)


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "rules.yaml"
    path.write_text(EVERYBODY)
    monkeypatch.setenv("CX_SURVEYS_PATH", str(path))
    return path


def run(*arguments: str) -> tuple[int, str]:
    answer = CliRunner().invoke(main, ["surveys", *arguments])
    return answer.exit_code, answer.output


def test_files_are_decided_without_a_store(rules: Path, tmp_path: Path) -> None:
    file = tmp_path / "o.jsonl"
    hostile = {**ONE, "subject": "c\n2026 evil", "id": "t2", "matter": "o\x1b[31m"}
    file.write_bytes(b"\n".join(lines(ONE, hostile, EVENT)))
    code, output = run("decide", str(file))
    assert code == 0, output
    assert not any(one.startswith("2026 evil") or "\x1b" in one for one in output.splitlines())
    code, output = run("decide", str(file), "--json", "--limit", "1")
    answer = json.loads(output)
    assert (len(answer["decisions"]), answer["surveys"]["delivery"]["occasions"]) == (1, 3)
    code, output = run("decide", str(file), "--limit", "0")
    assert (code, "3 older decisions are counted" in output) == (0, True), output
    years = [{**ONE, "id": f"y{year}", "time": f"{year:04}-12-31T23:59:59Z"} for year in (1, 1989, 1990, 2099, 9999)]
    file.write_bytes(b"\n".join(lines(*years)))
    assert [one["id"] for one in json.loads(run("decide", str(file), "--json")[1])["decisions"]] == ["y1990", "y2099"]
    file.write_bytes(b"\n".join(lines({**EVENT, "synthetic": True})))
    assert json.loads(run("decide", str(file), "--json")[1])["decisions"] == []
    file.write_text("{}\nnot json\n")
    code, output = run("decide", str(file))
    assert (code, f"{file}:2: " in output) == (1, True)
    assert run("decide", str(file), "--from", "2026-06-02", "--to", "2026-06-01")[0] == 2


def test_events_of_a_file_and_what_it_lists_hold_each_other_back(rules: Path, tmp_path: Path) -> None:
    """What was shown before an event, and an event before a listed occasion; whatever order the lines come in."""
    file = tmp_path / "o.jsonl"
    shown = {**ONE, "id": "s", "time": "2026-04-30T10:00:00Z", "shown": True}
    later = {**ONE, "subject": "d", "time": "2026-05-02T10:00:00Z"}
    file.write_bytes(b"\n".join(lines(later, EVENT, {**EVENT, "id": "e2", "subject": "d", "orderid": "o2"}, shown)))
    answer = json.loads(run("decide", str(file), "--json")[1])
    assert [(one["id"], one["reason"]) for one in answer["decisions"]] == [
        ("e1", SAME_SURVEY_LATELY), ("e2", None), ("t1", SAME_SURVEY_LATELY),
    ]  # fmt: skip


def test_decisions_are_events_that_the_contract_takes(rules: Path, tmp_path: Path) -> None:
    """One for each decision, in the order of time, and the same bytes each time."""
    file = tmp_path / "o.jsonl"
    second = {**EVENT, "id": "e2", "time": "2026-05-01T10:05:00Z"}
    written = {**ONE, "channel": "app", "time": "2026-07-01T10:00:00Z", "subject": "d\n\u202e"}
    file.write_bytes(b"\n".join(lines(written, second, EVENT)))
    code, output = run("decide", str(file), "--events", "--limit", "1")
    assert (code, run("decide", str(file), "--events")[1]) == (0, output)
    records = output.splitlines()
    events = decode_batch([one.encode() for one in records])[0]
    assert [
        (one.type, one.subject, one.channel, one.touchpoint, one.orderid, getattr(one.data, "reason", None))
        for one in events if one is not None
    ] == [
        ("cx.survey.eligible", "c", "web", "delivery", "o1", None),
        ("cx.survey.suppressed", "c", "web", "delivery", "o1", SAME_MATTER),
        ("cx.survey.eligible", "d\n\u202e", "app", "delivery", None, None),
    ]  # fmt: skip
    assert len({one.id for one in events if one is not None}) == 3
    decisions, report = tmp_path / "decisions.jsonl", ReadReport("jsonl")
    decisions.write_text(output)
    assert len([*touches(decisions, report)]) == 3, "`cx replay jsonl` sends them"
    file.write_bytes(lines(ONE)[0])
    code, output = run("decide", str(file), "--events")
    assert (code, "occasion 't1' has no 'channel'" in output) == (1, True)


def test_rules_are_refused_by_every_command(rules: Path) -> None:
    rules.write_text(EVERYBODY.replace("gap: 30d", "gap: soon"))
    for arguments in (["check"], ["decide"], ["coverage"], ["bias"]):
        code, output = run(*arguments)
        assert (code, f"{rules}:3: " in output) == (1, True), output


def test_check_shows_what_the_rules_say(rules: Path) -> None:
    rules.write_text(SOUND)
    code, output = run("check")
    assert code == 0
    shown = [one.split("  ")[0] for one in output.splitlines()]
    assert shown == ["SURVEY", "delivery", "claim", "review", "2 surveys and 1 invitations to review, all sound"]
    for said in ("web 10%, other 25%", "delivery 3d", "180d", "metric == 'nps' and score >= 9"):
        assert said in output


def test_bias_takes_only_what_is_a_share_of_answers(rules: Path) -> None:
    for arguments, expected in (
        (["--kpi", "cast"], "did you mean 'csat'"),
        (["--kpi", "nps"], "is no share of answers"),
        (["--kpi", "conversion"], "is no share of answers"),
        (["--survey", "delivry"], "no survey 'delivry'; did you mean 'delivery'"),
        (["--survey", "review"], "no survey 'review'"),
    ):
        code, output = run("bias", *arguments)
        assert (code, expected in " ".join(output.split())) == (2, True), output


def test_the_keypad_of_the_page_reads_as_it_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "SURVEYS.md"
    [code] = page.read_text(encoding="utf-8").split("```python\n")[1:]
    exec(code.partition("```")[0], {})


def test_rules_of_the_page_are_sound() -> None:
    page = Path(__file__).parents[2] / "docs" / "SURVEYS.md"
    text = page.read_text(encoding="utf-8").partition("```yaml\n")[2].partition("```")[0]
    assert [*parse_surveys(text).surveys] == ["delivery", "claim", "praise"]


def test_the_counts_of_decisions_fit_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "none.jsonl").write_text("")
    printed = CliRunner().invoke(main, ["surveys", "decide", str(tmp_path / "none.jsonl")]).output
    assert "SAME SURVEY LATELY" in printed
    assert max(map(len, printed.splitlines())) <= 80, printed


def test_one_matter_at_two_touchpoints_is_two(rules: Path, tmp_path: Path) -> None:
    rules.write_text(EVERYBODY.replace("  after: {delivery: 3d}\n", "  matter: orderid\n"))
    file = tmp_path / "o.jsonl"
    claim = {**ONE, "survey": "claim", "id": "t2", "matter": "o1", "time": "2026-07-01T10:00:00Z"}
    file.write_bytes(b"\n".join(lines({**ONE, "matter": "o1"}, claim)))
    assert [one["reason"] for one in json.loads(run("decide", str(file), "--json")[1])["decisions"]] == [None, None]
