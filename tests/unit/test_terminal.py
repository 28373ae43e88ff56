"""What fits a terminal: the live view, tables and lists at 80 by 24, wide, in Persian, and where there is none."""

import dataclasses
import subprocess
import sys

import pytest
from click.testing import CliRunner
from rich.cells import cell_len
from rich.console import Console

from streams.cli import main
from streams.commands.dlq import _listed
from streams.commands.output import cut, fitted, table, wrapped
from streams.events.scalars import CHANNELS
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.observe import StoppedSource, WorkerState
from streams.local.view import SHOWN, LiveView, ShownValue, short

PLACES = [
    ("live page", "http://127.0.0.1:8080/"),
    ("clickhouse", f"http://127.0.0.1:8123 (user cx_reader, password in /{'x' * 90})"),
    ("other cx", ". .cx/environment"),
]
BUSY = WorkerState(
    outcomes={"read": 123_456_789, "counted": 98_765_432, "duplicate": 12_345, "late": 4_321, "bad": 999_999},
    channels=dict.fromkeys(CHANNELS, 30_864_197),
    lag={"cx.blocks": 1_234_567},
    stopped=(StoppedSource("web/2"), StoppedSource("call_center/11")),
)


def screen(width: int, height: int, *, by_channel: bool = False, state: WorkerState = BUSY) -> list[str]:
    """The live view during an incident: long numbers, wide intervals, no data, something stopped."""
    view = LiveView(Catalogue.load(), PLACES, by_channel=by_channel)
    cells = {
        (kpi, channel): ShownValue(None, 0, None, None)
        if channel == "store"
        else ShownValue(-61_234.56, 1_234_567, -255_354.1, 100.0)
        for kpi in SHOWN
        for channel in ("all", *CHANNELS)
    }
    view.tell(state, cells | {("csat", "all"): ShownValue(100.0, 250, 98.5, 100.0)}, 1.0)
    console = Console(width=width, height=height, no_color=True)
    with console.capture() as captured:
        console.print(view.render(width, height))
    return captured.get().splitlines()


def test_events_that_came_again_with_other_content_are_told_where_there_are_any() -> None:
    """So that what is told sums to what was read."""
    quiet, busy = (dataclasses.replace(BUSY, outcomes=BUSY.outcomes | {"conflict": count}) for count in (0, 7))
    for state, told in ((quiet, False), (busy, True)):
        view = LiveView(Catalogue.load(), PLACES)
        view.tell(state, {}, 1.0)
        assert ("conflict 7" in view.line()) is told
        assert any("7: an event came again with other content" in line for line in screen(80, 24, state=state)) is told


@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 40), (160, 40), (200, 50), (300, 60)])
def test_the_live_view_fits(width: int, height: int, *, by_channel: bool) -> None:
    """No line is longer, no value is cut, and what had no room is told."""
    lines = screen(width, height, by_channel=by_channel)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height
    kpis = [line for line in lines if "Customer satisfaction" in line]
    assert len(kpis) == 1
    assert "100 %" in kpis[0]
    assert "98.5–100" in kpis[0]
    assert "250" in kpis[0]
    assert not [line for line in lines if "…" in line and "password" not in line]


def test_at_80_by_24_every_kpi_has_its_line() -> None:
    """While nothing is stopped, all of them; with channels, as many as fit, and how many did not."""
    lines = screen(80, 24, state=dataclasses.replace(BUSY, stopped=()))
    names = [Catalogue.load()[kpi].name for kpi in SHOWN]
    assert [name for name in names if not any(line.strip().startswith(name) for line in lines)] == []
    assert lines[-1].strip() == "Ctrl-C stops everything"
    below = screen(80, 24, by_channel=True)
    assert any(line.startswith("   web") for line in below)
    assert "lines more on a higher terminal" in below[-1]


def test_without_a_terminal_the_state_is_a_line() -> None:
    view = LiveView(Catalogue.load(), PLACES)
    view.tell(BUSY, {}, 1.0)
    assert view.line().startswith("0 events/s, read 123,456,789, counted 98,765,432")
    assert "\n" not in view.line()
    assert "web/2" in view.line()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_999, "1.0M"),
        (1_234_567, "1.2M"),
        (10**9, "1.0G"),
    ],
)
def test_long_numbers_are_short(count: int, text: str) -> None:
    assert short(count) == text


def test_texts_give_way_and_numbers_and_names_do_not() -> None:
    rows = [("name", "n", "text", "less"), ("a-name-of-some-length", "1,234,567", "می\u200cشود " * 8, "x" * 9)]
    shown = fitted(rows, [3], width=60)
    assert shown[1][:2] == ["a-name-of-some-length", "1,234,567"]
    assert len(shown[0]) == 3
    assert shown[1][2].endswith("…")
    assert sum(map(cell_len, shown[1])) + 4 <= 60
    assert fitted(rows, width=400) == [list(row) for row in rows]
    assert cut("日本語", 4) == "日…"


def test_times_are_whole_and_empty_columns_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `cx query series`, where a time that is cut says nothing."""
    monkeypatch.setenv("COLUMNS", "60")
    columns = ("time", "labels", "stat", "value", "zone")
    rows = [("2026-03-01 12:00+03:30", "region=" + "s" * 50, None, 99.5, "UTC")]
    lines = table(columns, rows, least=("unit", "zone")).splitlines()
    assert lines[0].split() == ["time", "labels", "value"]
    assert lines[1].startswith("2026-03-01 12:00+03:30  region=sss")
    assert max(map(cell_len, lines)) <= 60
    monkeypatch.setenv("COLUMNS", "200")
    assert table(columns, rows, least=("zone",)).splitlines()[0].split() == [*columns]


def test_a_long_line_is_wrapped_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "WRONG ids: " + "events of /a-source counted twice " * 5
    monkeypatch.setenv("COLUMNS", "40")
    lines = wrapped(line, 6).splitlines()
    assert max(map(len, lines)) <= 40
    assert all(one.startswith("      ") for one in lines[1:])
    assert " ".join(map(str.strip, lines)) == line.strip()
    monkeypatch.delenv("COLUMNS")
    assert wrapped(line, 6) == line


def test_dead_letters_fit_and_name_what_to_show() -> None:
    """One row per reason, and under it the newest: whole where there is no terminal."""
    row = ("bad_rating", "data.score", "cx.touchpoints.web", "12", "2026-11-28 10:00:00", "2026-11-28 16:00:00")
    said = "data.score is " + "x" * 200
    lines = list(_listed([[*row, said, "cx.touchpoints.web/2/1077"]], 80))
    assert max(map(cell_len, lines)) <= 80
    assert lines[1].split()[:4] == ["12", "bad_rating", "data.score", "web"]
    assert lines[2].startswith("    cx.touchpoints.web/2/1077: data.score is x")
    assert list(_listed([[*row, said, "cx.touchpoints.web/2/1077"]], None))[2].endswith("x" * 200)


@pytest.mark.parametrize("command", [["kpis", "list"], ["rules", "list"]])
@pytest.mark.parametrize("width", [80, 200])
def test_lists_fit(monkeypatch: pytest.MonkeyPatch, command: list[str], width: int) -> None:
    """And where there is no terminal nothing is cut."""
    monkeypatch.setenv("COLUMNS", str(width))
    assert max(map(cell_len, CliRunner().invoke(main, command).output.splitlines())) <= width
    monkeypatch.delenv("COLUMNS")
    assert "…" not in CliRunner().invoke(main, command).output


def test_a_rate_is_known_however_rarely_it_is_looked_at() -> None:
    """Without a terminal the state is looked at less often than the rate is a mean of."""
    view = LiveView(Catalogue.load(), PLACES)
    for now, read in ((0.0, 0), (12.0, 1_200), (24.0, 3_600)):
        view.tell(WorkerState(outcomes={"read": read}), {}, now)
    assert view.rate == 200


def test_commands_about_definitions_start_without_clients_of_services() -> None:
    """These imports took two thirds of the time of `cx kpis list`."""
    code = "import sys, streams.commands.contract as c; c.Catalogue.load(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"faust", "aiokafka", "kafka", "clickhouse_connect", "numpy"}.isdisjoint(done.stdout.split())
