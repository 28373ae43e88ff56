"""Rules for cases are read strictly, and the page about them is true."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.events.decode import decode_batch
from streams.kpis.language.blocks import CatalogueError
from streams.loop.desk import CaseDesk
from streams.loop.reading import load_rules, parse_rules
from streams.loop.sending import encoded
from streams.loop.urgency import in_urgency
from streams.relations.facts import Fact
from streams.relations.ranges import FactRange
from streams.shipped import CASES, CLONE
from tests.harness.cases import Desk, at

PAGE = (CLONE / "docs" / "CASES.md").read_text(encoding="utf-8")
GOOD = """
- {id: hours, kind: clock, zone: Asia/Tehran, hours: {saturday-wednesday: 09:00-17:00}}
- id: bad
  kind: cause
  name: {en: Bad}
  opens: {events: cx.survey.answered, where: metric == 'nps' and score <= 6}
  contact: 24h
  close: 48h
- {id: a, kind: duty, owner: day, shift: hours, touchpoints: [checkout]}
- {id: b, kind: duty, owner: night}
"""


def problems(text: str) -> str:
    with pytest.raises(CatalogueError) as caught:
        parse_rules(text, "r.yaml")
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("contact: 24h", "contcat: 24h", 7, "did you mean 'contact'"),
        ("contact: 24h", "contact: 72h", 7, "must not be longer than 'close'"),
        ("contact: 24h", "contact: soon", 7, "expected a length of time such as"),
        ("cx.survey.answered", "cx.survey.anwsered", 6, "did you mean 'cx.survey.answered'"),
        ("cx.survey.answered", "cx.case.closed", 6, "it cannot open one"),
        ("score <= 6", "skore <= 6", 6, "skore"),
        ("close: 48h", "close: 48h\n  clock: hour", 9, "did you mean 'hours'"),
        ("close: 48h", "close: 48h\n  yields_to: [bat]", 9, "did you mean 'bad'"),
        ("close: 48h", "close: 48h\n  severity: channel", 9, "is text where a number is needed"),
        ("kind: duty, owner: night", "kind: dutty, owner: night", 10, "did you mean 'duty'"),
        ("owner: night", "", 10, "'owner' is missing"),
        ("id: b,", "id: a,", 10, "is defined already at r.yaml:9"),
        (
            "owner: night}",
            "owner: night}\n- {id: p, kind: priority, parts: {t: {of: tier, weight: 2}}}",
            11,
            "'points'",
        ),
        ("owner: night}", "owner: night}\n- {id: p, kind: priority, parts: {t: {of: teir, weight: 2}}}", 11, "'tier'"),
        (
            "owner: night}",
            "owner: night}\n- {id: p, kind: priority, parts: {t: {of: value, weight: 1.0e+300}}}",
            11,
            "'weight' must be between",
        ),
        (
            "owner: night}",
            "owner: night}\n- {id: p, kind: priority, parts: {t: {of: tier, weight: 1, points: {a: -1.0e+300}}}}",
            11,
            "'a' must be between",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(old: str, new: str, line: int, said: str) -> None:
    assert parse_rules(GOOD).causes.keys() == {"bad"}
    found = problems(GOOD.replace(old, new, 1))
    assert f"r.yaml:{line}:" in found
    assert said in found


def test_the_owner_is_found_by_touchpoint_and_shift() -> None:
    rules = parse_rules(GOOD)
    monday_noon, friday_noon = 1_777_883_400_000, 1_777_624_200_000  # in Tehran
    assert rules.owner_of("bad", "checkout", monday_noon) == "day"
    assert rules.owner_of("bad", "checkout", friday_noon) == "night"
    assert rules.owner_of("bad", "cart", monday_noon) == "night"


def test_what_is_sent_is_what_channels_may_send() -> None:
    """Whatever a fact says, for it must not stop its source."""
    rules = load_rules([CASES])
    desk = CaseDesk(rules)
    values = {"metric": "nps", "score": 1, "channel": "store", "segment": "gold", "own_plan": "pro", "orderid": "o-1"}
    facts = [("c-1", Fact(1_777_883_400_000, "/s", "e1", "cx.survey.answered", values))]
    delivered = {"condition": "damaged", "channel": "web", "touchpoint": "delivery", "agentid": "courier-1"}
    facts += [("c-2", Fact(1_777_883_400_123, "/s", "e2", "cx.order.delivered", delivered))]
    facts += [("c-3", Fact(1_777_883_400_000, "/s", "e3", "cx.survey.answered", {**values, "synthetic": True}))]
    repeated = {"contacts_before": 2, "channel": "call_center"}
    facts += [("c-4", Fact(1_777_883_400_000, "/s", "e4", "cx.repeat_contact.seen", repeated))]
    facts += [("c-5", Fact(1_777_883_400_000, "/s", "e5", "cx.repeat_contact.seen", {**repeated, "withdrawn": True}))]
    desk.take(FactRange("web/0", 0, 0, 1_777_883_400.0 + 200_000, True, facts), 0)
    assert desk.begin(1e9)
    payloads = [encoded(one.row.subject, one.change.event) for one in desk.news if one.change.event]
    events, refusals = decode_batch(payloads)
    assert refusals == []
    kinds = {(event.subject, event.type.removeprefix("cx.case.")) for event in events if event}
    opened = {("c-1", "opened"), ("c-2", "opened"), ("c-4", "opened")}
    assert kinds >= opened | {("c-1", "warned"), ("c-1", "escalated")}
    assert {subject for subject, _ in kinds} == {"c-1", "c-2", "c-4"}
    first = next(event for event in events if event and event.subject == "c-1")
    assert (first.channel, first.segment, first.orderid, first.labels) == ("store", "gold", "o-1", {"plan": "pro"})
    assert first.data.severity == 3


def test_the_shipped_rules_and_those_of_the_page_are_sound(tmp_path: Path) -> None:
    (rules,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "page.yaml"
    file.write_text(rules, encoding="utf-8")
    for arguments in ([], [str(file)]):
        found = CliRunner().invoke(main, ["cases", "check", *arguments])
        assert (found.exit_code, "all sound" in found.output) == (0, True), found.output
    file.write_text(rules.replace("contact: 24h", "contact: 24x"), encoding="utf-8")
    found = CliRunner().invoke(main, ["cases", "check", str(file)])
    assert (found.exit_code, "page.yaml:7" in found.output) == (1, True), found.output


def test_a_bad_answer_makes_a_case_with_what_its_customer_is_worth() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    rules = parse_rules(text)
    desk = Desk(rules)
    said = {"metric": "nps", "score": 5, "channel": "web"}
    for subject, worth in (("c-1", {"tier": "low"}), ("c-2", {"tier": "high", "clv": 210.0, "churn_risk": 0.5})):
        fact = Fact(at("05-03T10:00"), "relations", f"of-{subject}", "cx.dissatisfaction.seen", {**said, **worth})
        desk.give((subject, fact))
    desk.step()
    rows = {subject: desk.row(name) for subject, name in desk.cases()}
    assert (rows["c-2"].tier, rows["c-2"].churn_risk, rows["c-2"].value) == ("high", 0.5, 210.0)
    assert (rows["c-1"].tier, rows["c-1"].churn_risk, rows["c-1"].value) == ("low", None, None)
    ordered = in_urgency(rows.values(), rules.parts, lambda row: row.standing(), at("05-03T10:00"))
    assert [(row.subject, urgency.score) for row, urgency in ordered] == [("c-2", 14.5), ("c-1", 8.0)]


def test_the_event_and_the_commands_of_the_page_are_right() -> None:
    (event,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert decode_batch([event.encode()])[1] == []
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line.partition("#")[0].split() for line in commands.splitlines() if line.startswith("cx cases")]
    assert len(lines) == 5
    for line in lines:
        found = CliRunner().invoke(main, [*line[1:], "--help"])
        assert found.exit_code == 0, line
        options = {word for word in line if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", found.output)), line
