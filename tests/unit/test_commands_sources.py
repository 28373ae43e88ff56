"""`cx sources`: what does not go on, and the orders that let it go on."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.commands import sources
from streams.events import orders
from streams.local.observe import StoppedSource, WorkerState

STOPPED = WorkerState(
    stopped=(StoppedSource("store/3", 17, 1_767_225_600.0, "not_json", "it looks like gzip", "1f 8b"),),
    waiting=("web/1",),
    uncounted=("app/0",),
)


@pytest.fixture
def cx(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["sources", *arguments])

    return run


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[orders.SourceOrder, int]]:
    """The orders that were given; the first is obeyed at once."""
    found: list[tuple[orders.SourceOrder, int]] = []
    monkeypatch.setattr(sources, "_send", lambda _settings, order, partition: found.append((order, partition)))
    monkeypatch.setattr(sources, "worker_state", lambda *_: WorkerState() if found else STOPPED)
    monkeypatch.setattr(sources, "StartBroker", _Broker)
    return found


class _Broker:
    def __init__(self, _settings: object) -> None: ...

    def __enter__(self) -> SimpleNamespace:
        return SimpleNamespace(end=lambda topic, partition: {("cx.touchpoints.store", 3): 4_711}[topic, partition])

    def __exit__(self, *_: object) -> None: ...


def test_what_does_not_go_on_is_named_with_its_way_out(cx, sent) -> None:
    result = cx("show")
    assert result.exit_code == 1
    assert "store/3 (topic cx.touchpoints.store) is stopped at offset 17 since 2026-01-01 00:00:00 UTC" in result.output
    assert "not_json: it looks like gzip (it begins with the bytes 1f 8b)" in result.output
    assert "`cx sources skip store/3`" in result.output
    assert "web/1 (topic cx.touchpoints.web) waits for a right clock" in result.output
    assert "app/0 (topic cx.touchpoints.app) is stored, but not counted in all KPIs" in result.output
    assert "raise CX_EPOCH by one" in result.output
    told = json.loads(cx("show", "--json").output)
    assert [(one["source"], one["kind"]) for one in told["sources"]] == [
        ("store/3", "stopped"), ("web/1", "waiting"), ("app/0", "uncounted"),
    ]  # fmt: skip
    sent.append((orders.SourceOrder("store/3", 17, 18, 0), 3))
    assert (cx("show").exit_code, cx("show").output) == (0, "all sources go on\n")


@pytest.mark.parametrize(("arguments", "until"), [(["skip"], 4_711), (["skip", "--until", "20"], 20), (["resume"], 18)])
def test_an_order_names_where_the_source_stands_and_its_end(cx, sent, arguments: list[str], until: int) -> None:
    result = cx(*arguments, "store/3")
    assert result.exit_code == 0, result.output
    assert sent == [(orders.SourceOrder("store/3", 17, until, 0), 3)]
    assert "store/3 goes on from offset 17" in result.output
    assert arguments == ["resume"] or f"bad records up to offset {until}, and of the range around it," in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["skip", "web/1"], 1, "web/1 is not stopped, as far as is known at 127.0.0.1:"),
        (["skip", "store/3", "--until", "17"], 1, "--until must be above it, not 17"),
        (["skip", "pigeon/3"], 2, "'pigeon/3' is no source: expected one of web, app, store, call_center"),
        (["resume", "store/99"], 2, "a partition from 0 to"),
        (["resume", "store/03"], 2, "a partition from 0 to"),
        (["resume", "store/۳"], 2, "a partition from 0 to"),
        (["resume", "store/" + "9" * 5_000], 2, "a partition from 0 to"),
        (["skip", "store/3", "--until", "9" * 25], 2, "is not in the range"),
        (["resume", "store/3", "--at", "127.0.0.1:65536"], 2, "is not host:port"),
        (["resume", "store/3", "--at", "worker"], 2, "--at: 'worker' is not host:port"),
    ],
)
def test_an_order_that_makes_no_sense_is_not_given(cx, sent, arguments: list[str], code: int, says: str) -> None:
    result = cx(*arguments)
    assert result.exit_code == code
    assert says in result.output
    assert sent == []


def test_success_is_not_claimed_while_no_worker_answers(cx, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "worker_state", lambda *_: None if sent else STOPPED)
    monkeypatch.setattr(sources, "OBEYED_S", 0.0)
    result = cx("skip", "store/3", "--json")
    assert result.exit_code == 1
    assert "The order is kept" in json.loads(result.output)["error"]


def test_of_a_source_whose_worker_does_not_answer_nothing_is_claimed(cx, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "worker_state", lambda *_: None)
    result = cx("skip", "store/3", "--at", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "whether store/3 is stopped is not known: no worker answers at 127.0.0.1:1" in result.output
    assert sent == []


def test_a_source_that_stops_again_is_told(cx, sent, monkeypatch: pytest.MonkeyPatch) -> None:
    again = WorkerState(stopped=(StoppedSource("store/3", 2_017),))
    monkeypatch.setattr(sources, "worker_state", lambda *_: again if sent else STOPPED)
    result = cx("resume", "store/3")
    assert result.exit_code == 1
    assert "store/3 went on from offset 17, and is stopped at offset 2017" in result.output
