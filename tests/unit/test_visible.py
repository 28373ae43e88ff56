"""What strangers wrote never reaches a terminal, a log, a page or an alert as it is."""

import io
import json
import logging
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from streams.alerts.rules.texts import compile_text
from streams.board.pages import PageRenderer
from streams.cli import main
from streams.commands.output import table
from streams.commands.printing import echo, log_to_stderr, write_what_encodings_lack
from streams.delivery.notice import Notice, body_of
from streams.events.decode import decode_one
from streams.events.refusal import Refusal
from streams.events.visible import spelled_out, visible, visible_line
from streams.shipped import CLONE

ATTACK = "cx.\x1b[31m\x1b]0;owned\x07\x9b2J\x7fsur\u202evey\u2028\U000e0041"
SHOWN = r"cx.\u001b[31m\u001b]0;owned\u0007\u009b2J\u007fsur\u202evey\u2028\udb40\udc41"


def test_what_terminals_obey_is_escaped():
    """As JSON escapes it, so that JSON stays JSON."""
    assert visible(ATTACK) == SHOWN
    assert json.loads(f'"{visible(ATTACK)}"') == ATTACK


def test_words_stay_as_they_are_written():
    """Half-spaces, marks of direction, accents, emoji and lines hide nothing."""
    text = "می\u200cخواهم 👍🏽\n\tnaïve \u200f۴٫۵ 日本\u202fkm"
    assert visible(text) == text
    assert visible_line("a\nb\tc\rd") == r"a\nb\tc\u000dd"
    assert spelled_out("\u200f۵\u200c") == r"\u200f۵\u200c"


@given(st.text())
def test_nothing_that_steers_is_left(text: str):
    """Of no text at all: no control but tab and line break, no override, no half of a pair."""
    shown = visible(text)
    assert not [
        char
        for char in shown
        if (unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} and char not in "\n\t")
        or unicodedata.bidirectional(char) in {"RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI"}
    ]
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "value",
    [
        {"type": ATTACK},
        {"type": "cx.survey.answered", "channel": ATTACK},
        {"type": "cx.survey.answered", ATTACK: 1},
        {"type": "cx.survey.answered", "dataschema": ATTACK},
        ATTACK,
        [ATTACK],
    ],
)
def test_a_refusal_holds_nothing_raw(value: object):
    """Neither what came, nor the field, nor the sentence; so no dead letter does."""
    refusal = decode_one(json.dumps(value, ensure_ascii=False).encode())
    assert isinstance(refusal, Refusal)
    assert (refusal.path + refusal.got + refusal.expected + refusal.message).isprintable()


def test_a_table_is_aligned_as_terminals_show_it():
    """Joiners take no column, wide characters two, and a line break stays in its cell."""
    lines = table(("label", "n"), [("می\u200cشود", 1), ("日本", 2), ("a\nb", 3)]).splitlines()
    assert lines == ["label  n", "می\u200cشود  1", "日本   2", "a\\nb   3"]


@pytest.mark.parametrize("encoding", ["cp1252", "cp1256", "latin-1", "ascii", "utf-8"])
def test_output_does_not_die_of_its_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str):
    """What the encoding lacks is escaped so that JSON reads it back."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    write_what_encodings_lack()
    text = "«۴٫۵» é 👍 \udc80"
    echo(json.dumps(text, ensure_ascii=False))
    assert json.loads(raw.getvalue().decode(encoding)) == text.replace("\udc80", "\udc80")
    if encoding == "cp1252":
        assert b"\\u06f4" in raw.getvalue()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("command", [["kpis", "list"], ["--help"]])
def test_a_full_disk_is_said_in_one_line(command: list[str]):
    """And makes no success of it."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", "from streams.cli import main; main()", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
        )
    assert (ended.returncode, ended.stderr.decode()) == (1, "cannot write: No space left on device\n")


@pytest.mark.parametrize("charset", ["cp1252", "ascii"])
def test_every_command_writes_in_any_encoding(charset: str):
    """The catalogue's texts hold characters that neither has."""
    for command in (["kpis", "list"], ["kpis", "show", "csat"], ["rules", "list"], ["--help"], ["kpis", "show", "نه"]):
        result = CliRunner(charset=charset).invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), command
        assert result.output


def test_a_message_is_one_line_of_the_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Nobody forges the next one, or clears the screen of who follows it."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    log_to_stderr("WARNING")
    root.warning("refused: %s", "x\n2026-01-01 CRITICAL all is lost\x1b[2J")
    root.error("failed", exc_info=ValueError(ATTACK))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(r"refused: x\n2026-01-01 CRITICAL all is lost\u001b[2J")
    assert lines[1].endswith("failed")
    assert lines[-1] == f"ValueError: {SHOWN}"


def test_alerts_tell_nothing_raw():
    """Labels and texts, for Alertmanager and for webhooks alike."""
    said = compile_text("{{ labels.region }} fell\nsee {{ runbook }}", ("region",)).fill(
        {"labels": {"region": ATTACK}, "runbook": "r"}
    )
    assert said == f"{SHOWN} fell\nsee r"
    body = body_of(Notice(labels={"alertname": "A", "region": ATTACK}, annotations={"t": ATTACK}, starts_at=0), 0, 60)
    assert body["labels"] == {"alertname": "A", "region": SHOWN}
    assert body["annotations"] == {"t": SHOWN}


def test_the_page_shows_nothing_raw():
    """Whatever a template is given, in whatever place, goes through the same door."""
    template = PageRenderer()._templates.from_string("<b title='{{ x }}'>{{ x }}</b>")
    assert ATTACK not in template.render(x=ATTACK)
    assert SHOWN in template.render(x=ATTACK)


def test_commands_print_through_one_door():
    """No command writes to the terminal by itself."""
    root = CLONE / "streams"
    for path in [root / "cli.py", *(root / "commands").glob("*.py")]:
        found = re.findall(
            r"click\.s?echo\(|console\.print\(|(?<![\w.])print\(|sys\.std\w+\.write", path.read_text(encoding="utf-8")
        )
        assert set(found) == ({"print("} if path.name == "printing.py" else set()), path.name
