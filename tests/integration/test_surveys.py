"""Who would have been asked, who is heard, and how answers are weighted: from stored events, against plain Python."""

import json
import random
import re
import shlex
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.kpis.arithmetic.intervals import wilson
from streams.shipped import CLONE
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event, read_by_commands

START = datetime(2026, 6, 1, tzinfo=UTC)
FROM, TO = START + timedelta(days=40), START + timedelta(days=130)
PAGE = (CLONE / "docs" / "SURVEYS.md").read_text(encoding="utf-8")
[RULES] = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHOWN = re.findall(r"^```console\n\$ cx (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
"""Commands of the page, and what it shows of their output."""


class _Shop:
    """Customers with deliveries, closed cases, invitations and answers in no order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lines: list[dict[str, Any]] = []
        for number in range(120):
            for _ in range(self.chance.randint(0, 14)):
                self._live(f"c{number}")
        self.chance.shuffle(self.lines)

    def _live(self, subject: str) -> None:
        chance = self.chance
        at = START + timedelta(days=round(chance.uniform(0, 130), 2))
        channel = chance.choice(("web", "web", "app", "store"))
        if chance.random() < 0.6:
            order = f"o{len(self.lines)}"
            for _ in range(chance.choice((1, 1, 2))):
                self._say(subject, at, "cx.order.delivered", {}, channel, orderid=order, touchpoint="delivery")
                at += timedelta(minutes=chance.randint(0, 90))
            survey, marks = "delivery", {"orderid": order} if chance.random() < 0.8 else {}
        else:
            outcome = chance.choice(("satisfied", "lost"))
            self._say(subject, at, "cx.case.closed", {"case_id": f"k{len(self.lines)}", "outcome": outcome}, channel)
            survey, marks = "claim", {}
        for _ in range(chance.choice((0, 1, 1, 2))):
            at += timedelta(minutes=chance.randint(1, 300))
            if chance.random() < 0.9:
                self._say(subject, at, "cx.survey.sent", {"survey_id": survey}, channel, **marks)
            if chance.random() < (0.8 if channel == "app" else 0.4):
                score = chance.choice((5, 5, 4, 2) if channel == "app" else (5, 3, 2, 1))
                answer = {"survey_id": survey, "metric": "csat", "scale": 5, "score": score}
                self._say(subject, at + timedelta(minutes=9), "cx.survey.answered", answer, channel, **marks)
        if chance.random() < 0.05:
            self._say(subject, at, "cx.survey.sent", {"survey_id": "of-old"}, channel)
        if chance.random() < 0.1:
            self._say(subject, at, "cx.order.delivered", {}, channel, orderid="o-synthetic", synthetic=True)

    def _say(self, subject: str, at: datetime, kind: str, data: dict[str, Any], channel: str, **marks: Any) -> None:
        number = len(self.lines)
        self.lines.append(
            {**json.loads(event(number, type=kind)), "id": f"e{number:05}", "time": at.isoformat(timespec="milliseconds"),
             "subject": subject, "channel": channel, "data": data, **marks}
        )  # fmt: skip


def _real(lines: list[dict[str, Any]], since: datetime) -> dict[str, list[dict[str, Any]]]:
    """Events of each customer in the order of time, as plain Python sorts them."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in lines:
        at = datetime.fromisoformat(one["time"])
        if since <= at < TO and not one.get("synthetic"):
            found[one["subject"]].append({**one, "at": at})
    for events in found.values():
        events.sort(key=lambda one: (one["at"], one["id"]))
    return found


def _survey_of(one: dict[str, Any]) -> str:
    kind, data = one["type"], one["data"]
    if kind == "cx.order.delivered":
        return "delivery"
    if kind == "cx.case.closed" and data["outcome"] == "satisfied":
        return "claim"
    return "praise" if kind == "cx.survey.answered" and data["metric"] == "csat" and data["score"] == 5 else ""


def _gap(earlier: str, later: str) -> timedelta:
    if "praise" in {earlier, later}:
        return timedelta(days=50 if earlier == later else 0)
    if later == "claim":
        return timedelta(days={"claim": 60, "delivery": 3}.get(earlier, 30))
    return timedelta(days=30)


def _asked(lines: list[dict[str, Any]]) -> dict[tuple[str, str], bool]:
    """Whom the rules let be asked, by survey and id of the event: written down a second time, without haste."""
    found: dict[tuple[str, str], bool] = {}
    for events in _real(lines, START).values():
        shown = [
            (one["at"], one["data"]["survey_id"], one.get("orderid", ""))
            for one in events if one["type"] == "cx.survey.sent" and FROM - timedelta(days=60) <= one["at"] < FROM
        ]  # fmt: skip
        for one in sorted(
            events, key=lambda one: (one["at"], _survey_of(one) != "claim", _survey_of(one) != "delivery", one["id"])
        ):
            survey = _survey_of(one)
            if not survey or one["at"] < FROM:
                continue
            near = any(one["at"] - at < _gap(other, survey) for at, other, _ in shown)
            same = survey == "delivery" and any(
                other == survey and order == one["orderid"] for _, other, order in shown
            )
            found[survey, one["id"]] = not near and not same
            if found[survey, one["id"]]:
                shown.append((one["at"], survey, one.get("orderid", "")))
    return found


def _heard(lines: list[dict[str, Any]]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Occasions, asked and answered by survey, and occasions, answered and satisfied deliveries by channel."""
    counts: dict[str, list[int]] = {"delivery": [0, 0, 0], "claim": [0, 0, 0]}
    groups: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for events in _real(lines, FROM).values():
        for survey, sums in counts.items():
            units: dict[str, dict[str, Any]] = {}
            for one in events:
                if _survey_of(one) == survey:
                    key = one["orderid"] if survey == "delivery" else one["id"]
                    units.setdefault(key, {"at": one["at"], "channel": one["channel"], "asked": False, "scores": []})
            for one in events:
                if one["type"] not in {"cx.survey.sent", "cx.survey.answered"} or one["data"]["survey_id"] != survey:
                    continue
                if survey == "delivery" and "orderid" in one:
                    unit = units.get(one["orderid"])
                else:
                    unit = max(
                        (each for each in units.values() if each["at"] <= one["at"]),
                        key=lambda each: each["at"],
                        default=None,
                    )
                if unit is not None:
                    unit["asked"] = True
                    unit["scores"] += [one["data"]["score"]] if one["type"] == "cx.survey.answered" else []
            for unit in units.values():
                sums[0] += 1
                sums[1] += unit["asked"]
                sums[2] += bool(unit["scores"])
                if survey == "delivery":
                    group = groups[unit["channel"]]
                    group[0] += 1
                    group[1] += bool(unit["scores"])
                    group[2] += bool(unit["scores"]) and unit["scores"][-1] >= 4
    return counts, groups


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return _Shop(7).lines


@pytest.fixture
def cx(database: Database, lines: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    writer = Writer(database.writer)
    writer.insert_block(block_of([json.dumps(one).encode() for one in lines]))
    writer.close()
    read_by_commands(database.reader, tmp_path, monkeypatch)
    (tmp_path / "rules.yaml").write_text(RULES)
    monkeypatch.setenv("CX_SURVEYS_PATH", str(tmp_path / "rules.yaml"))
    return CliRunner()


SPAN = ["--from", FROM.isoformat(), "--to", TO.isoformat()]


def test_surveys_are_decided_counted_and_weighted_as_plain_python_does(
    cx: CliRunner, lines: list[dict[str, Any]]
) -> None:
    decided = cx.invoke(main, ["surveys", "decide", *SPAN, "--json", "--limit", "100000"])
    assert decided.exit_code == 0, decided.output
    answer, wanted = json.loads(decided.output), _asked(lines)
    assert {(one["survey"], one["id"]): one["eligible"] for one in answer["decisions"]} == wanted
    by_reason = answer["surveys"]["delivery"]
    assert by_reason["same_matter"] > 5
    assert by_reason["same_survey_lately"] > 5
    assert answer["surveys"]["claim"]["asked_lately"] > 2
    assert sum(one["asked"] for one in answer["surveys"].values()) == sum(wanted.values())
    one = next(each["subject"] for each in answer["decisions"])
    alone = json.loads(cx.invoke(main, ["surveys", "decide", *SPAN, "--json", "--customer", one]).output)
    assert alone["decisions"] == [each for each in answer["decisions"] if each["subject"] == one]

    events = [
        json.loads(line) for line in cx.invoke(main, ["surveys", "decide", *SPAN, "--events"]).output.splitlines()
    ]
    assert [one["time"] for one in events] == sorted(one["time"] for one in events)
    assert sum(one["type"] == "cx.survey.eligible" for one in events) == sum(wanted.values())
    assert len({one["id"] for one in events}) == len(wanted)

    counts, groups = _heard(lines)
    covered = cx.invoke(main, ["surveys", "coverage", *SPAN, "--json"])
    assert covered.exit_code == 3, covered.output
    delivery, claim = json.loads(covered.output)["touchpoints"]
    for found, survey in ((delivery, "delivery"), (claim, "claim")):
        assert [found["occasions"], found["asked"], found["answered"]] == counts[survey]
    assert (delivery["wanted"], delivery["on_plan"], claim["wanted"], claim["on_plan"]) == (60, True, 180, False)
    low, high = wilson(delivery["answered"], delivery["asked"])
    assert (delivery["response"]["lo"], delivery["response"]["hi"]) == pytest.approx((100 * low, 100 * high))
    assert "missing: asking all brings" in claim["advice"]

    weighed = json.loads(cx.invoke(main, ["surveys", "bias", *SPAN, "--survey", "delivery", "--json"]).output)
    strata = {one["group"]: [one["served"], one["answers"]] for one in weighed["strata"]}
    assert strata == {name: sums[:2] for name, sums in groups.items()}
    served, answers = (sum(sums[place] for sums in groups.values()) for place in (0, 1))
    assert weighed["naive"] == pytest.approx(100 * sum(sums[2] for sums in groups.values()) / answers)
    assert weighed["weighted"]["percent"] == pytest.approx(
        100 * sum(sums[0] / served * sums[2] / sums[1] for sums in groups.values())
    )


def test_the_page_shows_what_is_printed(cx: CliRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    [occasions] = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    Path("occasions.jsonl").write_text(occasions, encoding="utf-8")
    assert len(SHOWN) == 3
    for command, shown in SHOWN:
        assert cx.invoke(main, shlex.split(command)).output == shown, command
    everything = cx.invoke(main, ["surveys", "decide", "--limit", "3"])
    assert (everything.exit_code, "older decisions are counted" in everything.output) == (0, True)
