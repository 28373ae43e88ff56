"""What commands take and how they explain themselves: moments, incidents, completion, help as it is rendered."""

import fcntl
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from streams.bootstrap import TEST_HELP
from streams.cli import main
from streams.commands.arguments import MomentType, NumberRange
from streams.kpis.catalogue.catalogue import Catalogue
from streams.local.beside import settings_of_run
from streams.shipped import CLONE

TEHRAN = ZoneInfo("Asia/Tehran")


def moment(text: str, zone: ZoneInfo = TEHRAN) -> datetime:
    return MomentType().convert(text, None, None).moment(zone)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01", datetime(2026, 2, 28, 20, 30, tzinfo=UTC)),
        ("2026-03-01T09:30", datetime(2026, 3, 1, 6, 0, tzinfo=UTC)),
        ("2026-03-01 09:30:15", datetime(2026, 3, 1, 6, 0, 15, tzinfo=UTC)),
        ("2026-03-01T09:30Z", datetime(2026, 3, 1, 9, 30, tzinfo=UTC)),
        ("2026-03-01T09:30:00+01:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("۲۰۲۶-۰۳-۰۱", datetime(2026, 2, 28, 20, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_of_the_calendar_is_read_by_the_clocks_of_the_zone(text: str, expected: datetime) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize(
    ("text", "ago"),
    [("-90s", 90), ("-15m", 900), ("-2h", 7200), ("-7d", 7 * 86_400), ("-1w", 7 * 86_400), ("-۲h", 7200), ("now", 0)],
)
def test_a_moment_before_now(text: str, ago: int) -> None:
    before = datetime.now(UTC)
    found = moment(text) + timedelta(seconds=ago)
    assert before <= found <= datetime.now(UTC)


@pytest.mark.parametrize(
    "arguments",
    [
        "value summary --margin", "value summary --lifespan", "value risk --horizon", "drivers what-if --to",
        "experiments show layout --effect", "rules tune --false-alarms-per-day", "rules tune --target",
        "rules tune --drop", "rules tune --try", "simulate --duration", "simulate --rate", "simulate --bad-rate",
        "simulate --speed", "replay olist --shuffle", "up --rate", "up --speed",
    ],
)  # fmt: skip
def test_what_is_no_number_is_within_no_bounds(arguments: str) -> None:
    for given in ("nan", "inf", "-inf"):
        answer = CliRunner().invoke(main, [*arguments.split(), given])
        assert answer.exit_code == 2, answer.output
        said = " ".join(answer.output.split())
        assert any(
            words in said for words in (f"'{given}' is no number", f"{given} is not in the range", "and finite")
        ), said


def test_days_begin_at_midnight_of_the_zone() -> None:
    today, yesterday = moment("today").astimezone(TEHRAN), moment("yesterday").astimezone(TEHRAN)
    assert (today.hour, today.minute, yesterday.hour) == (0, 0, 0)
    assert (today.date() - yesterday.date()).days == 1
    assert timedelta(0) <= datetime.now(UTC) - today < timedelta(hours=25)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("query kpi csat --from yesterdy", "'yesterdy' is no moment; expected e.g. 2026-03-01"),
        ("query kpi csat --from 2026-02-30", "'2026-02-30' is no moment"),
        ("query kpi csat --from -999999w", "'-999999w' is too far away: expected a moment from 1990 to 2100"),
        ("query kpi csat --to 9999-12-31T23:59:59-05:00", "is too far away"),
        ("query kpi csat --from 0001-01-01 --zone Asia/Tehran", "'0001-01-01' is too far away"),
        ("query series csat --from 1405-01-01 --calendar jalali", "is too far away"),
        ("dlq list --since -999999d", "is too far away"),
        ("query kpi csat --from now --to now", "is not before --to"),
        ("query kpi csat --window 5x", "window '5x': expected minutes, hours or days"),
        ("query kpi csat --from -1h --to -2h", "is not before --to"),
        ("rules backtest --from today --to yesterday", "is not before --to"),
        ("simulate --incident payment-outtage@+1m+5m", "did you mean payment-outage?"),
        ("simulate --incident payment-outage@25:00+5m", "expected 12:00, +5m or an ISO time"),
        ("up --incident payment-outage@+1m", "is not understood; expected e.g."),
        ("up --window 6m", "'6m' is not kept; kept: "),
        ("simulate --start 1404-13-01", "is no moment"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(command: str, named: str) -> None:
    result = CliRunner().invoke(main, shlex.split(command))
    assert result.exit_code == 2
    assert named in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("words", "incomplete", "expected"),
    [
        (["query", "kpi"], "csa", "csat"),
        (["kpis", "show"], "service_level_a", "service_level_all_offered"),
        (["rules", "show"], "CsatC", "CsatCollapseByChannel"),
        (["simulate", "--incident"], "pay", "payment-outage@"),
        (["query", "kpi", "csat", "--from"], "yes", "yesterday"),
        ([], "ver", "verify"),
    ],
)
def test_shells_complete_what_is_asked_for(words: list[str], incomplete: str, expected: str) -> None:
    offered = ShellComplete(main, {}, "cx", "_CX_COMPLETE").get_completions(words, incomplete)
    assert expected in [item.value for item in offered]


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, (*path, name))


@pytest.mark.parametrize("path", list(_commands(main)), ids=" ".join)
def test_no_option_takes_for_a_number_what_is_none(path: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in path:
        found = command.get_command(click.Context(command), name) if isinstance(command, click.Group) else None
        assert found is not None
        command = found
    numbers = [one for one in command.params if isinstance(one.type, click.types.FloatParamType)]
    assert [one.name for one in numbers if not isinstance(one.type, NumberRange)] == []


@pytest.mark.parametrize("path", list(_commands(main)), ids=" ".join)
def test_help_is_rendered_as_it_was_written(path: tuple[str, ...]) -> None:
    """Nothing of its mark-up is left, examples stand on lines of their own, and a terminal of 80 columns is enough."""
    if path == ("test",):
        text = TEST_HELP
    else:
        result = CliRunner().invoke(main, [*path, "--help"], terminal_width=80)
        assert result.exit_code == 0
        text = result.output
    assert "\\b" not in text
    assert "\b" not in text
    for line in re.findall(r"^.*\bcx .*$", text.partition("Example")[2].partition("Options:")[0], re.MULTILINE):
        assert len(re.findall(r"(?:^|\s)cx \w", line)) == 1, line


def _examples() -> list[str]:
    """Lines that help and documents give as examples, those that go on in the next one put together."""
    texts = [CliRunner().invoke(main, [*path, "--help"]).output for path in _commands(main) if path != ("test",)]
    for page in (CLONE / "README.md", *sorted((CLONE / "docs").glob("*.md"))):
        blocks = re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        texts += [re.sub(r"^(?:\$ )?(?:\.venv/bin/)?cx ", "  cx ", block, flags=re.MULTILINE) for block in blocks]
    lines = [line for text in texts for line in re.sub(r"\\\n\s*", "", text).splitlines()]
    return sorted(
        {
            line.strip()
            for line in lines
            if re.match(r"\s+(?:CX_\w+=\S+ )*cx [a-z]+( |$)", line) and line.count('"') != 1
        }
    )


@pytest.mark.parametrize("example", _examples())
def test_examples_in_help_are_understood(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their commands, options and values are known; so is a KPI."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(example, comments=True)
    words = list(itertools.takewhile(lambda word: word not in {"|", ">", "&&"}, words[words.index("cx") + 1 :]))
    for number, word in enumerate(words):  # files that an example speaks of
        if number > 1 and (word == "DATA" or re.fullmatch(r"[.]?[\w~/-]+[.][a-z]+|~/[\w/]+", word)):
            words[number] = str(tmp_path / "given")
            (tmp_path / "given").touch()
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, example
        command, words = found, words[1:]
    made = command.make_context("cx", words)
    kpi = made.params.get("kpi_id")
    assert kpi is None or kpi in Catalogue.load()


def test_help_for_the_tests_installs_nothing(tmp_path: Path) -> None:
    """Asked of a clone without an environment, by a bare interpreter: it is printed, and nothing is made."""
    clone = tmp_path / "clone"
    (clone / "streams").mkdir(parents=True)
    here = Path(__file__).resolve().parents[2]
    for name in ("__init__.py", "__main__.py", "bootstrap.py"):
        (clone / "streams" / name).write_bytes((here / "streams" / name).read_bytes())
    for name in ("requirements-local.lock", "requirements-dev.lock"):
        (clone / name).write_bytes((here / name).read_bytes())
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(clone)!r}); sys.argv[1:] = ['test', '--help']; "
        "runpy.run_module('streams', run_name='__main__')"
    )
    python = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(python, cwd=clone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, TEST_HELP)
    assert not (clone / ".venv").exists()


@pytest.fixture
def run_here(tmp_path: Path) -> Iterator[Path]:
    """A folder that a run of `cx up` uses now."""
    folder = tmp_path / ".cx"
    folder.mkdir()
    (folder / "environment").write_text(
        "export CX_KAFKA=127.0.0.1:9\nexport CX_KPIS_PATH='/a b/k.yaml'\nexport PATH=/nowhere\n"
    )
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def test_the_settings_of_a_run_are_those_it_wrote(run_here: Path) -> None:
    assert settings_of_run(run_here) == {"CX_KAFKA": "127.0.0.1:9", "CX_KPIS_PATH": "/a b/k.yaml"}


@pytest.mark.parametrize("line", [b"\n", b"export\n", b"# by hand\n", b"export CX_APP_ID=\0\n"])
def test_lines_that_set_nothing_are_passed_over(run_here: Path, line: bytes) -> None:
    file = run_here / "environment"
    file.write_bytes(line + file.read_bytes())
    assert settings_of_run(run_here) == {"CX_KAFKA": "127.0.0.1:9", "CX_KPIS_PATH": "/a b/k.yaml"}


@pytest.mark.parametrize("line", [b"export CX_KAFKA='127.0.0.1:9\n", b"export CX_KAFKA=\xff\xfe\n"])
def test_what_a_run_wrote_and_somebody_spoilt_is_refused(
    run_here: Path, line: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run_here / "environment").write_bytes(line)
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 2
    assert ".cx/environment of the running `cx up` cannot be read" in result.output


def test_what_a_run_left_behind_is_no_run(tmp_path: Path, run_here: Path) -> None:
    (tmp_path / "ended").mkdir()
    for name in ("environment", "lock"):
        (tmp_path / "ended" / name).write_bytes((run_here / name).read_bytes())
    assert settings_of_run(tmp_path / "ended") == {}
    assert settings_of_run(tmp_path / "never") == {}


@pytest.mark.usefixtures("run_here")
@pytest.mark.parametrize("given", ["", "CX_CLICKHOUSE"])
def test_a_command_finds_the_run_in_its_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its services are named; what the run says comes after what the user says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    for name in [name for name in os.environ if name.startswith("CX_")]:
        monkeypatch.delitem(os.environ, name)
    (tmp_path / ".cx" / "environment").write_text("export CX_METRICS_PORT=9\nexport CX_KAFKA=127.0.0.1:9\n")
    if given:
        monkeypatch.setitem(os.environ, given, "http://127.0.0.1:9")
    CliRunner().invoke(main, ["status"])
    assert ("CX_KAFKA" in os.environ) is not bool(given)
