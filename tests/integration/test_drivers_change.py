"""A KPI before and after a release, from the store, by the commands: it lowers satisfaction on the web by 30 points."""

import json
import random
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from streams.cli import main
from streams.events.decode import encode
from streams.events.envelope import new_event
from streams.events.families.change import CampaignStarted, ChangeDeployed
from streams.events.families.feedback import SurveyAnswered
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.shipped import CLONE
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, fresh_database, read_by_commands
from tests.harness.pipeline import Pipeline

START = datetime(2026, 3, 1, tzinfo=UTC)
RELEASE = START + timedelta(days=28, hours=10)


def events() -> Iterator[bytes]:
    """Eight weeks of answers on two channels; on both customers are 10 points happier from the release's day on."""
    chance, number = random.Random(4), 0
    for day in range(56):
        for channel in ("web", "store"):
            rate = 0.85 + (0.1 if day >= 28 else 0) - (0.3 if day >= 28 and channel == "web" else 0)
            for _ in range(60):
                number += 1
                data = SurveyAnswered(survey_id="s", metric="csat", scale=5, score=5 if chance.random() < rate else 2)
                yield encode(
                    new_event(
                        data, id=f"a{number}", source="/test", time=START + timedelta(days=day, minutes=number % 1400),
                        subject=f"c{number}", channel=channel,
                    )
                )  # fmt: skip
    for data, at in (
        (ChangeDeployed(what="checkout", version="1", kind="release"), START + timedelta(days=2)),
        (ChangeDeployed(what="checkout", version="2", kind="release"), RELEASE),
        (CampaignStarted(campaign="nowruz"), START + timedelta(days=20)),
    ):
        number += 1
        yield encode(new_event(data, id=f"a{number}", source="/test", time=at, subject="us", channel="web"))


@pytest.fixture(scope="module")
def changed(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    catalogue = Catalogue.load()
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        writer.store_catalogue(catalogue.kpis.values())
        pipeline = Pipeline(writer, catalogue.without({kpi.id for kpi in catalogue} - {"csat"}))
        pipeline.feed(list(events()))
        pipeline.finish()
        writer.close()
        yield database


@pytest.fixture
def cx(changed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    read_by_commands(changed.reader, tmp_path, monkeypatch)
    return CliRunner()


def asked(cx: CliRunner, *arguments: str, code: int = 0, columns: str = "") -> str:
    answer = cx.invoke(main, ["drivers", *arguments], env={"COLUMNS": columns})
    assert answer.exit_code == code, answer.output
    return answer.output


CHANGE = ("change", "checkout 2", "--kpi", "csat", "--where", "channel=web")


def test_what_the_page_shows_is_what_is_seen(cx: CliRunner) -> None:
    page = (CLONE / "docs" / "DRIVERS.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```console\n\$ cx drivers (changes?.*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    for command, output in shown:
        assert asked(cx, *shlex.split(command), columns="120") == output, command


def test_with_a_control_the_release_is_to_blame(cx: CliRunner) -> None:
    alone = json.loads(asked(cx, *CHANGE, "--json"))
    less = json.loads(asked(cx, *CHANGE, "--control", "channel=store", "--json"))
    # The release costs 30 points; 10 of them are hidden by what made all customers happier.
    assert alone["average"]["lo"] < -20 < alone["average"]["hi"]
    assert less["average"]["lo"] < -30 < less["average"]["hi"] < 0
    assert (less["controlled"], less["verdict"]) == (True, "lower than before (less a control group)")
    assert (alone["steps_before"], alone["steps_after"], alone["version"]) == (27, 27, "2")
    newest = json.loads(asked(cx, "change", "checkout", *CHANGE[2:], "--json"))
    assert newest["average"] == alone["average"]
    at = json.loads(asked(cx, "change", "--at", "2026-03-29T10:00", *CHANGE[2:], "--json"))
    assert at["average"] == alone["average"]


def test_changes_are_listed(cx: CliRunner) -> None:
    found = json.loads(asked(cx, "changes", "--from", "2026-03-01", "--to", "2026-06-01", "--json"))
    assert [(one["name"], one["version"], one["kind"]) for one in found] == [
        ("checkout", "1", "release"), ("nowruz", "", "campaign"), ("checkout", "2", "release"),
    ]  # fmt: skip
    assert asked(cx, "changes", "--from", "2025-03-01", "--to", "2025-06-01").startswith("no data: ")
    for command in (CHANGE, ("changes", "--from", "2026-03-01")):
        assert max(map(cell_len, asked(cx, *command, columns="80").splitlines()[1:])) <= 80


WRONG = (
    (["change", "checkout 1", "--kpi", "csat"], 1, "csat: 2 steps before the change and 27 after it are too few: at least 10"),
    (["change", "checkuot", "--kpi", "csat"], 1, "no change 'checkuot'; did you mean 'checkout'?"),
    (["change", "--kpi", "csat"], 2, "give the NAME of a change, or --at"),
    (["change", "checkout", "--kpi", "cast"], 2, "no KPI 'cast'; did you mean 'csat'?"),
    (["change", "checkout", "--kpi", "csat_channel_gap"], 2, "has no steps of its own"),
    (["change", "checkout", "--kpi", "csat", "--where", "channel"], 2, "expected LABEL=VALUE"),
    (["change", "checkout", "--kpi", "csat", "--where", "colour=red"], 2, "csat is not kept by colour; it is kept by: channel"),
    (["change", "checkout", "--kpi", "csat", "--before", "soon"], 2, "--before: "),
)  # fmt: skip


def test_what_cannot_be_asked_is_said(cx: CliRunner) -> None:
    for arguments, code, said in WRONG:
        output = " ".join(asked(cx, *arguments, code=code).split())
        assert said in output, output
