"""Arms of an experiment, compared from stored events: against plain Python, and by the commands."""

import json
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.cli import main
from streams.kpis.catalogue.catalogue import Catalogue
from streams.shipped import CLONE
from streams.storage.experiments import BEFORE, ExperimentStore
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event, read_by_commands

START = datetime(2026, 6, 1, tzinfo=UTC)
UNTIL = START + timedelta(days=50)
ASSIGNED = START + timedelta(days=30)
SHARES = {"control": 0.7, "short": 0.3}


class _World:
    """Customers of whom some had a past, some two arms, and some never did anything."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lines: list[dict[str, Any]] = []
        for number in range(300):
            self._live(f"c{number}")

    def _live(self, subject: str) -> None:
        chance, arm = self.chance, self.chance.choices([*SHARES], [*SHARES.values()])[0]
        at = ASSIGNED + timedelta(hours=chance.uniform(0, 100))
        if chance.random() < 0.7:
            for _ in range(chance.randint(1, 4)):
                self._do(subject, at - timedelta(days=chance.uniform(0.1, 35)), {})
        marks = {"experiment": "checkout", "variant": arm}
        # Half of them are said to be assigned, and nothing may come of it.
        kind = ("cx.session.started", "cx.experiment.assigned")[len(self.lines) % 2]
        self._say(subject, at, kind, {}, marks)
        if chance.random() < 0.03:
            self._say(subject, at + timedelta(hours=1), "cx.session.started", {}, {**marks, "variant": "other"})
        for _ in range(chance.choice((0, 0, 1, 2, 5))):
            self._do(subject, at + timedelta(hours=chance.uniform(0.1, 300)), marks)

    def _do(self, subject: str, at: datetime, marks: dict[str, str]) -> None:
        chance = self.chance
        if chance.random() < 0.5:
            self._say(subject, at, "cx.order.placed", {"amount": chance.randint(100, 9_000) / 10}, marks)
        else:
            answer = {"metric": "csat", "scale": 5, "score": chance.randint(1, 5)}
            self._say(subject, at, "cx.survey.answered", answer, marks)
        if chance.random() < 0.1:
            self._say(subject, at, "cx.order.placed", {"amount": 10_000.0}, {**marks, "synthetic": True})

    def _say(self, subject: str, at: datetime, kind: str, data: dict[str, Any], marks: dict[str, Any]) -> None:
        self.lines.append(
            {**json.loads(event(len(self.lines), type=kind, channel="web")), "id": f"e{len(self.lines)}",
             "time": at.isoformat(timespec="milliseconds"), "subject": subject, "data": data, **marks}
        )  # fmt: skip


def _plain(lines: Sequence[dict[str, Any]], kpi: str) -> dict[str, tuple[list[float], ...]]:
    """Return x, y and b of every customer of an arm, and whether it had a past: in plain Python."""
    real = [{**one, "at": datetime.fromisoformat(one["time"])} for one in lines if not one.get("synthetic")]
    arms: dict[str, set[str]] = defaultdict(set)
    since: dict[str, datetime] = {}
    for one in sorted((line for line in real if "experiment" in line), key=lambda line: line["at"]):
        arms[one["subject"]].add(one["variant"])
        since.setdefault(one["subject"], one["at"])
    found: dict[str, tuple[list[float], ...]] = {}
    for subject, variants in arms.items():
        if len(variants) > 1:
            continue
        x = y = b = 0.0
        past = False
        for one in real:
            if one["subject"] != subject or one["at"] < START - BEFORE:
                continue
            before, data = one["at"] < since[subject], one["data"]
            past = past or before
            worth = None
            if kpi == "csat" and one["type"] == "cx.survey.answered":
                worth = 100.0 * (data["score"] >= 4)
            elif kpi == "orders" and one["type"] == "cx.order.placed":
                worth = 1.0
            elif kpi == "revenue" and one["type"] == "cx.order.placed":
                worth = data["amount"]
            if worth is None:
                continue
            b += worth * before
            y += worth * (not before)
            x += not before
        x = x if kpi == "csat" else 1.0
        if x:
            columns = found.setdefault(next(iter(variants)), ([], [], [], []))
            for column, value in zip(columns, (x, y, b, float(past)), strict=True):
                column.append(value)
    return found


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return _World(4).lines


@pytest.fixture
def filled(database: Database, lines: list[dict[str, Any]]) -> Database:
    writer = Writer(database.writer)
    writer.insert_block(block_of([json.dumps(one).encode() for one in lines]))
    writer.close()
    return database


def test_customers_are_compared_as_plain_python_does(filled: Database, lines: list[dict[str, Any]]) -> None:
    store, catalogue = ExperimentStore(filled.client, START, UNTIL), Catalogue.load()
    [(name, assigned)] = store.assigned().items()
    by_plain = {arm: len(columns[0]) for arm, columns in _plain(lines, "orders").items()}
    assert (name, assigned.arms) == ("checkout", dict(sorted(by_plain.items())))
    assert assigned.crossed > 3
    for kpi in ("csat", "orders", "revenue"):
        wanted, found = _plain(lines, kpi), store.compared("checkout", catalogue[kpi])
        assert found.keys() == wanted.keys()
        for arm, (sums, past) in found.items():
            x, y, b, known = wanted[arm]
            assert sums.n == len(x), kpi
            assert sums[1:] == pytest.approx(
                (sum(x), sum(y), _dot(x, x), _dot(x, y), _dot(y, y))
            ), kpi  # fmt: skip
            old = [place for place, one in enumerate(known) if one]
            assert past.n == len(old)
            assert (past.b, past.bb, past.yb) == pytest.approx(
                (sum(b[i] for i in old), sum(b[i] ** 2 for i in old), sum(b[i] * y[i] for i in old))
            ), kpi  # fmt: skip
            assert past.new.n == len(x) - len(old)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


@pytest.fixture
def cx(filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    read_by_commands(filled.reader, tmp_path, monkeypatch)
    return CliRunner()


def test_the_commands_say_what_is_wrong_with_an_experiment(cx: CliRunner, tmp_path: Path, monkeypatch: Any) -> None:
    """Without a plan shares of 70 and 30 are a mismatch; by the plan of 7 to 3 they are none."""
    listed = cx.invoke(main, ["experiments", "list", "--json"])
    assert listed.exit_code == 3, listed.output
    [one] = json.loads(listed.output)
    assert (one["experiment"], one["planned"], one["mismatch"]) == ("checkout", False, True)
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "- id: checkout\n  question: Is it better?\n  owner: digital\n  arms: {control: 7, short: 3}\n"
        "  goals: [{kpi: csat, effect: 5}]\n  guardrails: [{kpi: revenue, effect: 50}]\n"
    )
    monkeypatch.setenv("CX_EXPERIMENTS_PATH", str(plan))
    listed = cx.invoke(main, ["experiments", "list"])
    assert (listed.exit_code, "as planned" in listed.output) == (0, True), listed.output
    shown = cx.invoke(main, ["experiments", "show", "checkout", "--by-day", "--json"])
    assert shown.exit_code == 0, shown.output
    answer = json.loads(shown.output)
    control, short = answer["metrics"]["csat"]
    assert (control["arm"], control["interval"], short["arm"]) == ("control", None, "short")
    assert short["interval"][0] < short["difference"] < short["interval"][1]
    assert answer["metrics"]["revenue"][1]["adjusted_interval"] is not None
    days = answer["by_day"]["csat"]
    assert days[-1]["interval"] == pytest.approx(short["interval"])
    assert max(day["all_days"][0] for day in days) == days[-1]["all_days"][0]
    text = cx.invoke(main, ["experiments", "show", "checkout"]).output
    assert re.search(r"csat +goal +short .* pp +(not known yet|better|worse)", text), text
    assert "customers were seen in more than one arm, and are left out" in text


WRONG = (
    (["show", "chekout"], "no event of that time carries the experiment 'chekout'"),
    (["show", "checkout"], "has no plan that says what it looks at: ask for a --kpi"),
    (["show", "checkout", "--kpi", "queue_wait"], "cannot be compared by customer"),
    (["show", "checkout", "--kpi", "revenue"], "--effect is missing"),
    (["show", "checkout", "--effect", "1"], "--effect belongs to --kpi"),
    (["list", "--from", "2026-06-02", "--to", "2026-06-01"], "--from is not before --to"),
)


def test_what_cannot_be_asked_is_said(cx: CliRunner) -> None:
    for arguments, said in WRONG:
        answer = cx.invoke(main, ["experiments", *arguments])
        assert answer.exit_code != 0, arguments
        assert said in " ".join(answer.output.split()), answer.output


def test_the_plan_of_the_documents_is_sound(tmp_path: Path) -> None:
    page = (CLONE / "docs" / "EXPERIMENTS.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    plan = tmp_path / "own.yaml"
    plan.write_text(shown)
    checked = CliRunner().invoke(main, ["experiments", "check", str(plan)])
    assert (checked.exit_code, checked.output) == (0, "2 experiments, all sound\n")
