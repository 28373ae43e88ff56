"""Files that `cx forget`, `cx export` and `cx report` read and write: what is wrong with one is said in a line."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streams.commands import report
from streams.commands.people import _lines_of, _read, forget


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_mark_that_editors_put_first_is_no_part_of_a_name(tmp_path: Path, mark: bytes) -> None:
    file = tmp_path / "people.txt"
    file.write_bytes(mark + "customer-4711\r\nمشتری-۱\n".encode())
    assert _lines_of(file) == ["customer-4711", "مشتری-۱"]


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_bytes(b"a\xff\n")
    found = CliRunner().invoke(forget, ["--from", str(file)])
    assert (found.exit_code, "cannot be read" in found.output) == (2, True)


def test_a_record_that_is_nested_without_end_is_given_as_it_is() -> None:
    assert _read('{"a": 1}') == {"a": 1}
    assert _read("[" * 200_000) == "[" * 200_000


def test_a_report_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="cannot be written"):
        report._write("<p>", tmp_path / "nowhere" / "report.html")
