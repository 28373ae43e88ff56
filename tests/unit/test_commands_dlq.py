"""`cx dlq`: which letters are sent again, and which never."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.commands import dlq
from streams.producers.client import FlushReport
from streams.storage.connection import RefusedRowsError
from streams.storage.plain import StoredRecord
from streams.storage.queries import Answer

WEB = "cx.touchpoints.web"


def record(event_id: str, at: datetime | None = None, **changes) -> bytes:
    envelope = {
        "specversion": "1.0", "id": event_id, "source": "/t", "type": "cx.session.started", "channel": "web",
        "time": (at or datetime.now(UTC)).isoformat(), "subject": f"c-{event_id}", "data": {},
    }  # fmt: skip
    return json.dumps({**envelope, **changes}).encode()


class Letters:
    """A store with dead letters, and a broker."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, bytes]] = []
        self.accepted: set[tuple[str, str, str]] = set()
        self.sent: list[tuple[bytes, str, str]] = []
        self.lost = 0
        self.outcomes: dict[int, str] = {}
        self.later: list[tuple[tuple[str, int], StoredRecord]] = []

    def run_query(self, sql, parameters, _address, **_options) -> Answer:
        if "FROM events" in sql:
            ids = {bytes.fromhex(one).decode() for one in parameters["ids"].split(",")}
            return Answer(("topic", "source", "id"), [list(one) for one in self.accepted if one[2] in ids])
        after = int(parameters["after_offset"]) if parameters["after_topic"] else -1
        rows = [
            [topic, base64.b64encode(payload).decode(), 0, str(offset), self.outcomes.get(offset, "bad")]
            for offset, (topic, payload) in enumerate(self.letters)
            if offset > after
        ]
        return Answer(("topic", "payload", "partition", "offset", "outcome"), rows[:2])

    def store_later(self, source: tuple[str, int], row: StoredRecord) -> None:
        if b"poison" in row.payload:
            raise RefusedRowsError("Constraint `no_poison` is violated", by_server=True)
        self.later.append((source, row))

    def close(self) -> None:
        self.later.sort()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        self.sent.append((payload, channel, subject))

    def flush(self, _timeout_s: float) -> FlushReport:
        return FlushReport(len(self.sent) - self.lost, 0, [], {"broker away": self.lost} if self.lost else {})


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Letters:
    monkeypatch.chdir(tmp_path)
    made = Letters()
    monkeypatch.setattr(dlq, "run_query", made.run_query)
    monkeypatch.setattr(dlq, "producer_of", lambda _settings: made)
    monkeypatch.setattr(dlq, "Writer", lambda _address: made)
    return made


def cx(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dlq", *arguments])


def test_only_what_is_valid_now_is_sent_in_order_and_once(store: Letters) -> None:
    first, second, known = record("a"), record("b"), record("k")
    tomorrow = record("t", datetime.now(UTC) + timedelta(days=1))
    store.letters = [
        (WEB, first), (WEB, b"{"), (WEB, record("x", type="cx.unheard.of")), (WEB, first), (WEB, tomorrow),
        (WEB, known), ("elsewhere", record("z")), (WEB, second), (WEB, record("o", datetime(1980, 1, 1, tzinfo=UTC))),
    ]  # fmt: skip
    store.accepted = {(WEB, "/t", "k"), ("cx.touchpoints.app", "/t", "a"), (WEB, "/other", "a")}
    result = cx("replay", "--all", "--json")
    assert result.exit_code == 0
    assert store.sent == [(first, "web", "c-a"), (second, "web", "c-b")]
    told = json.loads(result.output)
    assert told == {
        "dead_letters": 9, "valid": 2, "accepted_meanwhile": 1, "foreign_topic": 1,
        "still_refused": {"not_json": 1, "unknown_type": 1, "time_in_future": 1, "time_too_old": 1},
        "set_aside": 0, "sent": 2, "stored": 0, "errors": {},
    }  # fmt: skip


def test_what_clickhouse_refused_is_stored_and_not_sent(store: Letters) -> None:
    """It is counted already: sent again, it would be a repeat, and stored nowhere."""
    good, poison = record("a"), record("poison")
    store.letters = [(WEB, good), (WEB, poison), (WEB, record("b")), ("kpi_minutes", b"[]")]
    store.outcomes = {0: "late", 1: "counted", 3: "none"}
    result = cx("replay", "--all")
    assert result.exit_code == 1
    assert store.later == [((WEB, 0), StoredRecord(0, good, late=True))]
    assert [sent[2] for sent in store.sent] == ["c-b"]
    assert f"{WEB}/0/1 is still refused: Constraint `no_poison` is violated" in result.stderr
    assert "1 sent, 1 stored in ClickHouse at once" in result.output


def test_a_dry_run_sends_nothing(store: Letters) -> None:
    store.letters = [(WEB, record("a"))]
    result = cx("replay", "--dry-run")
    assert result.exit_code == 0
    assert "1 valid by now" in result.output
    assert "nothing sent: a dry run" in result.output
    assert store.sent == []


def test_what_the_broker_did_not_take_is_exit_code_one(store: Letters) -> None:
    store.letters, store.lost = [(WEB, record("a")), (WEB, record("b"))], 1
    result = cx("replay", "--reason", "bad_time")
    assert result.exit_code == 1
    assert "1 not sent: broker away" in result.stderr


def test_everything_must_be_asked_for(store: Letters) -> None:
    store.letters = [(WEB, record("a"))]
    assert cx("replay").exit_code == 2
    assert store.sent == []


def test_which_letter_must_be_clear(store: Letters) -> None:
    result = cx("show", "web/1/x")
    assert result.exit_code == 2
    assert "neither topic/partition/offset nor a reason" in result.stderr


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    assert dlq._readable(b'{"\xff":"\x1b[31m\xd8\xb3"}') == '{"\\xff":"\\u001b[31mس"}'
