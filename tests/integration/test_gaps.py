"""Gaps from the store, by the commands, of a company of which they are known."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from streams.cli import main
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.clickhouse import EmbeddedClickHouse
from streams.shipped import CLONE
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, fresh_database, read_by_commands
from tests.harness.gapped import KANO, GappedEvents
from tests.harness.pipeline import Pipeline

PAGE = CLONE / "docs" / "GAPS.md"
SPAN = ("--from", "2026-05-01", "--to", "2026-07-01")
SCORECARD = re.compile(r"^```console\n\$ cx gaps (scorecard .*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODES = {"consistency": 3, "promises": 3, "perception": 3, "listening": 3, "informed": 0, "pyramid": 0, "kano": 0}


@pytest.fixture(scope="module")
def gapped(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        writer.insert_block(block_of(GappedEvents(7).all()))
        writer.close()
        yield database


@pytest.fixture
def cx(gapped: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    read_by_commands(gapped.reader, tmp_path, monkeypatch)
    return CliRunner()


def asked(cx: CliRunner, *arguments: str, code: int = 0, columns: str = "") -> str:
    answer = cx.invoke(main, ["gaps", *arguments], env={"COLUMNS": columns})
    assert answer.exit_code == code, answer.output
    return answer.output


def plain(cx: CliRunner, command: str, *arguments: str) -> dict[str, Any]:
    found = json.loads(asked(cx, command, *SPAN, *arguments, "--json", code=CODES[command]))
    assert isinstance(found, dict)
    return found


def test_what_the_page_shows_is_what_is_seen(cx: CliRunner) -> None:
    page = PAGE.read_text(encoding="utf-8")
    page = SCORECARD.sub("", page)
    shown = re.findall(r"^```console\n\$ cx gaps (.*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert {command.split()[0] for command, _ in shown} == CODES.keys()
    for command, output in shown:
        assert asked(cx, *command.split(), code=CODES[command.split()[0]], columns="120") == output, command


def test_the_promise_of_the_page_is_the_shipped_one(tmp_path: Path, cx: CliRunner) -> None:
    [text] = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "own.yaml").write_text(text)
    [own] = plain(cx, "promises", "--promises", str(tmp_path / "own.yaml"))["promises"]
    [shipped] = plain(cx, "promises", "--promise", "telephone")["promises"]
    assert own == shipped


def test_lists_fit_a_terminal_of_80_columns(cx: CliRunner) -> None:
    for command, code in CODES.items():
        for line in asked(cx, command, *SPAN, code=code, columns="80").splitlines():
            assert cell_len(line) <= 80 or "  " not in line.strip(), f"{command}: {line}"


def test_the_app_is_better_where_matters_are_alike(cx: CliRunner) -> None:
    found = plain(cx, "consistency")
    [pair] = found["pairs"]
    assert (pair["first"], pair["second"]) == ("call_center", "app")
    assert pair["pooled"] > 10
    # The truth is 7 points in easy matters and 12 in hard ones.
    assert pair["lo"] < -7 and pair["hi"] > -12 and pair["hi"] < 0  # noqa: PT018
    alone = plain(cx, "consistency", "--within", "segment")["pairs"][0]
    assert alone["within"] == pytest.approx(pair["pooled"], abs=1.0), "topics make the difference, segments do not"


def test_values_of_channels_are_those_of_the_kpi(cx: CliRunner, gapped: Database) -> None:
    kpis = dict(gapped.rows("SELECT channel, 100 * avg(satisfied) FROM surveys WHERE metric = 'csat' GROUP BY channel"))
    found = {one["channel"]: one["value"] for one in plain(cx, "consistency")["channels"]}
    assert found == pytest.approx(kpis)


def test_nights_break_the_promise(cx: CliRunner) -> None:
    span = ("--from", "2026-06-05T20:30", "--to", "2026-06-12T20:30")
    answer = json.loads(asked(cx, "promises", "--promise", "telephone", *span, "--json", code=3))
    [found] = answer["promises"]
    assert {hour["hour"]: hour["state"] for hour in found["hours"] if hour["state"] == "broken"} == dict.fromkeys(
        (1, 2, 3, 4), "broken"
    )
    assert found["in_time"]["lo"] < 100 * 0.9 * 20 / 24 < found["in_time"]["hi"]


def test_beliefs_are_held_against_answers(cx: CliRunner) -> None:
    found = {one["place"]: one for one in plain(cx, "perception")["places"]}
    assert (found["mobile_support"]["verdict"], found["phone_agent"]["verdict"]) == (
        "we believe too much", "better than believed",
    )  # fmt: skip
    assert found["mobile_support"]["own"]["n"] == 6


def test_features_changes_and_levels_are_as_they_were_made(cx: CliRunner) -> None:
    features = {one["feature"]: one for one in plain(cx, "kano")["features"]}
    assert {name: one["class"] for name, one in features.items()} == {
        "tracking": "M", "one-click": "O/A", "gift-wrap": "A", "pop-ups": "R", "new": None,
    }  # fmt: skip
    assert {name: one["customers"] for name, one in features.items()} == {
        name: sum(pairs.values()) for name, pairs in KANO.items()
    }
    changes = {one["change"]: one for one in plain(cx, "informed")["changes"]}
    assert (changes["free-returns"]["informed"]["value"], changes["night-delivery"]["informed"]["value"]) == (90, 50)
    assert (changes["new-app"]["informed"]["value"], changes["new-app"]["pending"]) == (None, 40)
    assert changes[None]["informed"]["value"] == pytest.approx(75)
    [pyramid] = plain(cx, "pyramid")["pyramids"]
    assert [level["counts"] for level in pyramid["levels"]] == [True, True, False]
    assert len(plain(cx, "pyramid", "--by", "channel")["pyramids"]) == 3


def test_what_was_never_measured_is_no_data(cx: CliRunner) -> None:
    for command in CODES:
        assert asked(cx, command, "--from", "2025-01-01", "--to", "2025-02-01").startswith("no data: "), command
        assert json.loads(asked(cx, command, "--from", "2025-01-01", "--to", "2025-02-01", "--json")) is None


def test_the_scorecard_shows_kpis_and_what_has_changed(
    clickhouse: EmbeddedClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offers fit better than in the month before; nobody sends transcripts, and no relation runs."""
    catalogue, events = Catalogue.load(), GappedEvents(3)
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        writer.store_catalogue(catalogue.kpis.values())
        pipeline = Pipeline(writer, catalogue)
        pipeline.feed(list(events.months()))
        pipeline.finish()
        writer.close()
        read_by_commands(database.reader, tmp_path, monkeypatch)
        [(command, output)] = SCORECARD.findall(PAGE.read_text(encoding="utf-8"))
        assert asked(CliRunner(), *command.split(), columns="120") == output
        found = {one["kpi"]: one for one in json.loads(asked(CliRunner(), *command.split(), "--json"))["proxies"]}
    assert (found["offers_accepted"]["now"]["value"], found["offers_accepted"]["before"]["value"]) == (20, 10)
    assert {name: one["verdict"] for name, one in found.items() if name not in {"agent_tone", "delivery_lateness"}} == {
        "reachable_channels": "without an interval", "matters_over_channels": "no data: its relation does not run",
        "offers_accepted": "better", "resolution_time": "no data", "fcr_disposition": "no data",
        "transfer_rate": "worse", "repeat_contacts": "no data: its relation does not run",
        "proactive_delay_notices": "no data",
    }  # fmt: skip
    assert found["transfer_rate"]["definition"].startswith("transfer_rate@")
    assert found["transfer_rate"]["formula"].startswith("Handled contacts that were transferred")


WRONG = (
    (["consistency", "--from", "2026-05-02", "--to", "2026-05-01"], "--from is not before --to"),
    (["kano", "--zone", "Asia/Teheran"], "no such time zone; did you mean 'Asia/Tehran'"),
    (["promises", "--promise", "telefone"], "no promise 'telefone'; did you mean 'telephone'"),
    (["pyramid", "--targets", "80", "70", "170"], "170"),
)


def test_what_cannot_be_asked_is_said(cx: CliRunner) -> None:
    for arguments, said in WRONG:
        assert said in " ".join(asked(cx, *arguments, code=2).split())
