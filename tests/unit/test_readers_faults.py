"""One bad record ends no run, and nothing is no success: every reader, and `cx replay` over them."""

import csv
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.commands import traffic
from streams.producers.client import MAX_EVENT_BYTES, BufferFullError, EventTooLargeError, FlushReport
from streams.producers.readers import DATA_SETS, DataSetError, ReadReport, Touch, read
from streams.producers.replay import replay

GOOD = {
    "specversion": "1.0", "id": "e", "source": "/case", "type": "cx.page.viewed", "time": "2026-11-28T16:00:00Z",
    "subject": "c", "channel": "web", "data": {"page": "checkout"},
}  # fmt: skip


def line(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}, ensure_ascii=False).encode()


BAD = {
    b"{": "not_json",
    b"not an event": "not_json",
    b"\xff": "not_utf8",
    b"[1, 2]": "not_an_object",
    b"a,b,c": "not_json",
    b"null": "not_an_object",
    line(channel="fax"): "not_in_enum",
    line(time="2026-11-28T16:00:00"): "bad_time",
    line(time="9999-12-31T23:59:59.999999Z"): "bad_time",
    line(time="0001-01-01T00:00:00+10:00"): "bad_time",
    line(subject=7): "wrong_type",
    json.dumps({name: value for name, value in GOOD.items() if name != "subject"}).encode(): "missing_field",
    line(note="x" * MAX_EVENT_BYTES): "too_large",
    b'{"x":' * 5_000: "too_deep",
}


def jsonl(folder: Path, *lines: bytes) -> Path:
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: BAD[bad])
def test_a_line_that_cannot_be_sent_costs_itself_alone(tmp_path: Path, bad: bytes) -> None:
    """It is told by its row, and in the words of its dead letter."""
    report = ReadReport("jsonl")
    touches = list(read("jsonl", jsonl(tmp_path, line(id="1"), bad, line(id="3")), report))
    assert [touch.value for touch in touches] == [line(id="1"), line(id="3")]
    [(reason, rows)] = report.dropped.items()
    assert (reason.partition(":")[0], rows) == (BAD[bad], [2])
    assert report.examples[reason]
    assert report.nothing == ""


def test_a_line_is_never_held_whole_when_it_is_too_long(tmp_path: Path) -> None:
    path = jsonl(tmp_path, b"x" * (3 * MAX_EVENT_BYTES), line(), line(note="y" * (MAX_EVENT_BYTES - 100)))
    report = ReadReport("jsonl")
    assert len(list(read("jsonl", path, report))) == 1
    assert sorted(row for rows in report.dropped.values() for row in rows) == [1, 3]
    assert {reason.partition(":")[0] for reason in report.dropped} == {"too_large"}


def test_what_is_mended_on_the_way_in_is_mended_here_too(tmp_path: Path) -> None:
    """A byte order mark costs no event, nor does what nobody sees in what routes it."""
    odd = [b"\xef\xbb\xbf" + line(id="1"), b"\xef\xbb\xbf" + line(id="2"), line(id="3", channel="\u200fweb")]
    report = ReadReport("jsonl")
    touches = list(read("jsonl", jsonl(tmp_path, *odd), report))
    assert [json.loads(touch.value)["id"] for touch in touches] == ["1", "2", "3"]
    assert report.noted == {"byte_order_mark mended": [2], "invisible mended": [3]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"time,subject,channel\n2026-11-28T16:00:00Z,c,web\n", "table (CSV)"),
        (b"[" + line() + b"," + line() + b"]", "JSON array"),
        (json.dumps([GOOD], indent=1).encode(), "JSON array"),
        (b"[\n" + line(id="1") + b",\n" + line(id="2") + b"\n]\n", "JSON array"),
        (b"\xef\xbb\xbf[" + line(id="1") + b",\n" + line(id="2") + b"]\n", "JSON array"),
        (b"PK\x03\x04\x14", "looks like a ZIP file, expected one JSON object per line"),
        (b"\x28\xb5\x2f\xfd\x04", "looks like zstd, expected"),
        (line().decode().encode("utf-32"), "is UTF-32, expected UTF-8"),
        (json.dumps(GOOD, indent=1).encode(), "one JSON object per line"),
        (b"{}\n{}\n", "with time, subject and channel"),
    ],
)
def test_nothing_is_no_success(tmp_path: Path, content: bytes, said: str) -> None:
    """A table or an array given as lines of JSON is told for what it seems to be."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(content)
    for arguments in ([], ["--json"]):
        done = CliRunner().invoke(main, ["replay", "jsonl", "--path", str(path), *arguments])
        assert done.exit_code == 1
        assert said in done.stderr
        if arguments:
            assert said in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("first", [b"[1, 2]", b"[broken", b"[" * 5_000, b"[]"])
def test_a_bracket_in_the_first_line_makes_no_array(tmp_path: Path, first: bytes) -> None:
    report = ReadReport("jsonl")
    assert [touch.value for touch in read("jsonl", jsonl(tmp_path, first, line(id="1")), report)] == [line(id="1")]
    assert [*report.dropped.values()] == [[1]]


@pytest.mark.parametrize("command", ["kpis", "rules"])
@pytest.mark.parametrize("content", ["", "[]\n", "# nothing yet\n"])
def test_a_file_without_definitions_is_not_sound(tmp_path: Path, command: str, content: str) -> None:
    """Whoever names a file wants what is in it checked."""
    path = tmp_path / "own.yaml"
    path.write_text(content)
    done = CliRunner().invoke(main, [command, "check", str(path)])
    assert done.exit_code == 1
    assert "own.yaml" in done.stderr
    assert "all sound" not in done.stdout


def test_utf_16_and_gzip_without_its_ending_are_known(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(gzip.compress(line() + b"\n"))
    assert len(list(read("jsonl", path))) == 1
    path.write_bytes(line().decode().encode("utf-16"))
    with pytest.raises(DataSetError, match="UTF-16"):
        list(read("jsonl", path))


# -- tables ----------------------------------------------------------------------------------------------------------

ROWS: dict[str, tuple[str, str, dict[str, str]]] = {
    "rees46": (
        "s.csv", ",",
        {"event_time": "2019-10-01 00:00:01 UTC", "event_type": "view", "product_id": "1", "category_code": "", "price": "4",
         "user_id": "7", "user_session": "s"},
    ),
    "breadbasket": ("b.csv", ",", {"Date": "2016-10-29", "Time": "09:58:11", "Transaction": "1", "Item": "Bread"}),
    "rmv": ("w.csv", ",", {"timestamp": "14/07/2015 9:00 AM", "Boston": "6.9"}),
    "cafebazaar": (
        "c.csv", ",",
        {"id": "1", "app_package": "a", "app_name": "n", "comment": "خوب", "rating": "5", "likes": "0", "total_votes": "0",
         "date": "۱۴۰۳/۰۱/۰۱", "version_code": "1", "from_developer": "False", "is_edited": "False"},
    ),
    "airbnb": (
        "a.txt", "|",
        {"id_visitor": "v", "id_session": "s", "dim_session_number": "1", "dim_device_app_combo": "iPhone - iOS",
         "ts_min": "2014-06-01 10:00:00", "ts_max": "2014-06-01 10:01:00", "did_search": "1", "sent_message": "0",
         "sent_booking_request": "0"},
    ),
    "online_shoppers": (
        "o.csv", ",",
        {"Administrative": "1", "Informational": "0", "ProductRelated": "2", "Administrative_Duration": "1",
         "Informational_Duration": "0", "ProductRelated_Duration": "2.5", "Month": "Nov", "Region": "1", "TrafficType": "2",
         "VisitorType": "New_Visitor", "Weekend": "TRUE", "Revenue": "FALSE"},
    ),
    "boston311": (
        "x.csv", ",",
        {"case_enquiry_id": "1", "open_dt": "2015-05-01 10:00:00", "target_dt": "2015-05-02 10:00:00",
         "closed_dt": "2015-05-01 12:00:00", "ontime_status": "ONTIME", "type": "Pothole", "source": "Self Service"},
    ),
    "technion": (
        "t.csv", ",",
        {"vru+line": "AA01", "call_id": "1", "type": "PS", "vru_entry": "10:00:00", "vru_exit": "10:00:10",
         "q_start": "10:00:10", "q_exit": "10:00:20", "ser_start": "10:00:20", "ser_exit": "10:01:20", "outcome": "AGENT",
         "server": "A"},
    ),
}  # fmt: skip
GARBAGE = [
    "", " ", "\x00", "\x1b[2J", "\u202e5", "9" * 5_000, "1e308", "-1e308", "nan", "inf", "0001-01-01 00:00:00",
    "9999-12-31 23:59:59", "31/12/9999 11:59 PM", "x" * 200_000, "a\nb", "۵", "99:99:99", "0/0/0", "\ufeff", "-0", "1_0", "½",
]  # fmt: skip


def table(delimiter: str, rows: list[dict[str, str]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def test_every_set_is_tried() -> None:
    """Olist is several tables; its rows go through the same two functions."""
    assert ROWS.keys() | {"olist"} == DATA_SETS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_no_cell_of_any_row_ends_the_reading(tmp_path: Path, name: str) -> None:
    """The good row after the worst ones is always read; all rows are there or told."""
    file, delimiter, good = ROWS[name]
    bad = [{**good, column: garbage} for column in good for garbage in GARBAGE]
    path = tmp_path / file
    path.write_text(table(delimiter, [*bad, good]), encoding="utf-8", newline="")
    report = ReadReport(name)
    assert list(read(name, path, report))
    assert report.rows >= len(bad) + 1
    for reason, rows in report.dropped.items():
        assert reason.isprintable()
        assert all(row > 1 for row in rows)


def test_a_quote_that_never_closes_costs_its_own_line(tmp_path: Path) -> None:
    """And so does a field without end, or bytes that are no text."""
    file, delimiter, good = ROWS["rees46"]
    [header, row] = table(delimiter, [good]).splitlines()
    endless = row.replace("view", '"view')
    lines = [header, endless, row, row.replace("view", "v" * 200_000), row, endless, row]
    path = tmp_path / file
    path.write_bytes(
        "\n".join(lines).encode() + b"\n" + row.replace(",s", ",\xe9").encode("latin-1") + b"\n" + row.encode()
    )
    report = ReadReport("rees46")
    assert len(list(read("rees46", path, report))) == 4
    assert report.dropped == {
        "s.csv: not 7 fields": [6],
        "s.csv: too_large: field larger than field limit (131072)": [2, 4],
        "s.csv: not_utf8: the row is not UTF-8": [8],
    }


# -- the command -----------------------------------------------------------------------------------------------------


class Producer:
    """Takes everything but what is too large; `full_after` so many it has no room."""

    def __init__(self, full_after: int = 1_000) -> None:
        self.sent: list[bytes] = []
        self._full_after = full_after
        self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        if len(payload) > MAX_EVENT_BYTES:
            raise EventTooLargeError(f"the event has {len(payload)} bytes; expected at most {MAX_EVENT_BYTES}")
        if len(self.sent) == self._full_after:
            raise BufferFullError("no room for 30 s")
        self.sent.append(payload)

    def flush(self, timeout_s: float = 30.0) -> FlushReport:
        told, self._told = self._told, len(self.sent)
        return FlushReport(delivered=self._told - told, pending=0, undelivered=[], errors={})


def replayed(monkeypatch: pytest.MonkeyPatch, path: Path, producer: Producer, *arguments: str) -> Result:
    monkeypatch.setattr(traffic, "producer_of", lambda _: producer)
    monkeypatch.setattr(traffic, "stop_on_signals", lambda: None)
    return CliRunner().invoke(main, ["replay", "jsonl", "--path", str(path), "--speed", "max", *arguments])


def test_the_run_tells_rows_and_reasons_in_words_and_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line above the limit, which once ended the run after two of five."""
    path = jsonl(tmp_path, line(id="1"), line(id="2"), line(note="x" * MAX_EVENT_BYTES), b"{", line(id="5"))
    producer = Producer()
    done = replayed(monkeypatch, path, producer, "--json")
    summary = json.loads(done.stdout)
    assert (done.exit_code, summary["sent"], len(producer.sent)) == (0, 3, 3)
    assert {one["reason"].partition(":")[0]: one["rows"] for one in summary["left_out"]} == {
        "too_large": [3],
        "not_json": [4],
    }
    words = replayed(monkeypatch, path, Producer()).stdout
    assert "3 of 3 events delivered" in words
    assert "too_large: the record, expected at most 900000 bytes (rows 3)" in words
    assert "not_json: the record, expected a JSON object (rows 4)" in words


def test_a_broker_that_takes_no_more_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path, line(id="1"), line(id="2"))
    done = replayed(monkeypatch, path, Producer(full_after=1), "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"] == "no room for 30 s; the replay had sent 1 of 2 events"


def test_what_grows_too_large_by_being_moved_is_counted_and_the_rest_goes_on() -> None:
    """Nor does a time, a number or a depth that cannot be moved end it."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    bare = json.dumps({**GOOD, "id": "1", "note": ""}, separators=(",", ":")).encode()
    large = bare.replace(b'"note":""', b'"note":"%s"' % (b"x" * (MAX_EVENT_BYTES - len(bare))))
    odd = [line(id="2").replace(b'"page"', b'"x": 1e999, "page"'), line(id="3", time="0001-01-01T00:00:00Z")]
    touches = [Touch(1.0, "web", "c", value) for value in (large, *odd[:1], line(id="4"))]
    touches.append(Touch(datetime(1, 1, 1, tzinfo=UTC).timestamp(), "web", "c", odd[1]))
    producer = Producer()
    report = replay(touches, producer, "max", rebase=now)
    assert (report.sent, report.delivered, report.undelivered) == (4, 3, 1)
    [(error, count)] = report.errors.items()
    assert (error.partition(":")[0], count) == ("too_large", 1)
