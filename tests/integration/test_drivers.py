"""Drivers from the store, by the commands, of customers for whom it is known what costs what."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from streams.cli import main
from streams.local.clickhouse import EmbeddedClickHouse
from streams.shipped import CLONE
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, fresh_database, read_by_commands
from tests.harness.lived import experiences, orders


@pytest.fixture(scope="module")
def filled(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        writer.insert_block(block_of([*experiences(11, 1_500), *orders(1_500)]))
        writer.close()
        yield database


@pytest.fixture
def cx(filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    read_by_commands(filled.reader, tmp_path, monkeypatch)
    return CliRunner()


def asked(cx: CliRunner, *arguments: str, code: int = 0, columns: str = "") -> str:
    answer = cx.invoke(main, ["drivers", *arguments], env={"COLUMNS": columns})
    assert answer.exit_code == code, answer.output
    return answer.output


def drivers_of(answer: dict[str, Any]) -> dict[str, Any]:
    return {one["driver"]: one for one in answer["drivers"]}


def test_what_the_page_shows_is_what_is_seen(cx: CliRunner) -> None:
    page = (CLONE / "docs" / "DRIVERS.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```console\n\$ cx drivers ((?!change).*?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 4
    for command, output in shown:
        assert asked(cx, *command.split(), columns="120") == output, command


def test_the_true_drivers_are_ranked_and_companions_are_not(cx: CliRunner) -> None:
    answer = json.loads(asked(cx, "rank", "--outcome", "csat", "--by", "segment", "--json"))
    found = drivers_of(answer)
    kept = [one["driver"] for one in answer["drivers"] if one["kept"]]
    assert kept == ["delay_h", "wait_s", "errors", "damaged", "payment_failures"]
    # Ratings are whole numbers of 1 to 5, which takes some of an effect away.
    for name, true in (("delay_h", -0.8), ("damaged", -1.5), ("errors", -0.3), ("payment_failures", -0.5)):
        assert found[name]["effect"]["lo"] - 0.05 < true < found[name]["effect"]["hi"] + 0.05, name
    assert found["transfers"]["alone"] < -1.0
    assert found["transfers"]["verdict"] == "not confirmed"
    assert found["returns"]["q"] is None
    assert answer["together"][0]["drivers"] == ["handle_s", "contacts"]
    assert [*answer["by"]] == ["loyal", "new"]
    assert min(q for q in answer["differs_q"].values() if q is not None) > 0.05, "effects are the same in both"
    assert (answer["customers"], answer["association_only"], answer["drawn_one_of"]) == (1_500, True, 1)


def test_lists_fit_a_terminal_of_80_columns(cx: CliRunner) -> None:
    for command in (
        ("rank",),
        ("rank", "--by", "segment"),
        ("show", "wait_s"),
        ("what-if", "--driver", "wait_s", "--to", "120"),
        ("list",),
        ("actions",),
    ):
        longest = max(asked(cx, *command, columns="80").splitlines(), key=cell_len)
        assert cell_len(longest) <= 80, longest
    assert not re.search(r"\[[^\]]*…", asked(cx, "actions", columns="80")), "an interval that is cut says nothing"


def test_satisfied_is_the_share_that_the_kpi_counts(cx: CliRunner) -> None:
    answer = json.loads(asked(cx, "what-if", "--outcome", "satisfied", "--driver", "delay_h", "--to", "0", "--json"))
    assert answer["unit"] == "pp"
    assert answer["gain"]["lo"] < 7 < answer["gain"]["hi"]
    strata = json.loads(asked(cx, "show", "errors", "--outcome", "satisfied", "--by", "channel", "--json"))["strata"]
    assert [*strata["by_stratum"]] == ["app", "web"]


def test_of_too_many_answers_whole_customers_are_drawn(cx: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.storage.drivers.MOST_ANSWERS", 1_000)
    answer = json.loads(asked(cx, "rank", "--json"))
    assert answer["drawn_one_of"] == 3
    assert 400 < answer["customers"] < 600
    assert "one of 3 customers was drawn" in asked(cx, "rank")


def test_a_picture_shows_whom_drivers_affect_and_by_how_much(cx: CliRunner, tmp_path: Path) -> None:
    picture = tmp_path / "drivers.svg"
    asked(cx, "rank", "--picture", str(picture))
    drawn = picture.read_text(encoding="utf-8")
    assert [name for name in ("delay_h", "wait_s", "frustrations", "returns") if f"<!-- {name} -->" in drawn] == [
        "delay_h", "wait_s", "frustrations",
    ]  # fmt: skip
    asked(cx, "rank", "--picture", str(tmp_path / "drivers.png"))
    assert (tmp_path / "drivers.png").read_bytes().startswith(b"\x89PNG")
    assert "No such file" in asked(cx, "rank", "--picture", str(tmp_path / "none" / "a.png"), code=1)


def test_what_is_published_is_what_is_shown(
    cx: CliRunner, filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = asked(cx, "actions", "--publish", code=1)
    assert "driver_actions" in refused, "who may only read cannot publish"
    read_by_commands(filled.writer, tmp_path, monkeypatch)
    asked(cx, "actions", "--publish")
    shown = json.loads(asked(cx, "actions", "--publish", "--json"))["actions"]
    rows = filled.rows(
        "SELECT place, action, driver, gain_lo, at_stake, worth, why, n FROM actions_now ORDER BY place = 0, place"
    )
    assert filled.value("SELECT uniqExact(judged_at) FROM driver_actions") == 2
    ranked = [one for one in shown if one["standing"] == "ranked"]
    assert [(*row[:7],) for row in rows[: len(ranked)]] == [
        (place, one["action"], one["driver"], one["gain"]["lo"], one["value_at_stake_a_month"], one["worth_a_day"], "")
        for place, one in enumerate(ranked, 1)
    ]
    assert sorted(row[2] for row in rows) == sorted(one["driver"] for one in shown)
    assert {row[0] for row in rows[len(ranked) :]} == {0}
    assert {row[7] for row in rows} == {2_974}


WRONG = (
    (["rank", "--picture", "a.gif"], 2, "expected a name that ends with .png or .svg"),
    (["rank", "--outcome", "nps"], 1, "no answer of nps of that time"),
    (["rank", "--from", "2026-05-01", "--to", "2026-05-01T12:00"], 1, "customers are too few: at least 100 are needed"),
    (["rank", "--from", "2026-05-02", "--to", "2026-05-01"], 2, "the start is not before the end"),
    (["rank", "--outcome", "csta"], 2, "'csta' is not one of"),
    (["what-if", "--driver", "wait_s", "--to", "nan"], 2, "'nan' is no number"),
    (["what-if", "--driver", "wait_s", "--to", "9000"], 1, "fewer than 20 customers above 9000"),
    (["what-if", "--driver", "returns", "--to", "0"], 1, "fewer than 20 customers above 0"),
    (["show", "wayt_s"], 2, "'wayt_s' is not one of"),
)


def test_what_cannot_be_asked_is_said(cx: CliRunner) -> None:
    for arguments, code, said in WRONG:
        output = asked(cx, *arguments, code=code)
        assert said in " ".join(output.split()), output
