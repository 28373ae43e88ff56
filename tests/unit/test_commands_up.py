"""`cx up`: being asked to stop."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from streams.commands.up import _signals, _Stopped
from streams.local import run as running
from streams.local.beside import settings_of_run
from streams.local.observe import NotStored, StoppedSource, WorkerState
from streams.local.run import EmbeddedRun, Load
from streams.local.until_done import ProgressRate
from streams.settings import load


def asked_meanwhile(number: signal.Signals) -> None:
    """A library that is careful about everything."""
    try:
        os.kill(os.getpid(), number)
        signal.pause()
    except Exception:  # noqa: BLE001 - as libraries do
        pytest.fail("swallowed")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nobody_on_the_way_swallows_a_request_to_stop(number: signal.Signals) -> None:
    """Whatever the libraries catch that happen to run; a second request changes nothing any more."""
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(_Stopped), _signals():
            asked_meanwhile(number)
        os.kill(os.getpid(), number)
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "the worker does not answer"),
        (WorkerState(), "the worker does not say yet what it was given"),
        (WorkerState(lag={"web": 0}, pending=3), "3 open minutes that are not published yet"),
        (WorkerState(lag={"web": 0}), "perhaps nothing: all that came was finished"),
        (WorkerState(lag={"web": 2}), "2 records of web"),
    ],
)
def test_what_is_not_stored_is_always_named(state: WorkerState | None, said: str) -> None:
    [line] = running.unstored(state)
    assert line.startswith(said)


@pytest.mark.slow
def test_the_end_waits_for_nothing_that_does_not_come_and_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A source that is stopped would be waited for in vain; what is left is told, and every part gets its time."""
    monkeypatch.setattr(running, "STOP_S", 2.0)
    monkeypatch.setattr(running, "_DRAINED_S", 1.0)
    said: list[str] = []
    ends: list[tuple[str, float]] = []

    class Part:
        pid = 1

        def __init__(self, name: str) -> None:
            self.name = name

        def stop(self, timeout_s: float) -> None:
            ends.append((self.name, timeout_s))

    run = EmbeddedRun(load(environ={}, data_dir=str(tmp_path)), Load(), said.append, keep=True)
    run.producer, run.board, run.worker, run._parts = Part("producer"), None, Part("worker"), [Part("broker")]  # type: ignore[assignment,list-item]
    stopped = StoppedSource("store/3", 17, 0.0, "not_json", "it looks like gzip")
    not_stored = (NotStored("events", 0.0, "disk full", held=True),)
    state = WorkerState(stopped=(stopped,), lag={"cx.touchpoints.store": 3_100, "cx.blocks": 0}, not_stored=not_stored)
    monkeypatch.setattr(run, "state", lambda: state)
    (tmp_path / "unfinished").touch()
    began = time.monotonic()
    run.stop()
    assert time.monotonic() - began < running.STOP_S
    assert [name for name, _ in ends] == ["producer", "worker", "broker"]
    assert all(0 < timeout_s <= 2.5 for _, timeout_s in ends)
    text = "\n".join(said)
    assert (
        "store/3 is stopped at offset 17: most of its records are bad, the first is not_json: it looks like gzip"
        in text
    )
    assert "3,100 records of cx.touchpoints.store" in text
    assert "events: disk full" in text
    assert "cx.blocks" not in text
    assert (tmp_path / "unfinished").exists()
    state = WorkerState(lag={"cx.touchpoints.store": 0})
    monkeypatch.setattr(running, "QUIET_S", 0.1)
    run.stop()
    assert not (tmp_path / "unfinished").exists(), "all is stored"


def test_work_anywhere_is_progress() -> None:
    """Records that are all stored say nothing of KPIs that are still published, judged, inserted."""
    rate = ProgressRate(0.0)
    assert rate.still_s(1.0, -1, None) == 0.0
    assert rate.still_s(100.0, 5, WorkerState(lag={"cx.kpis": 9})) == 0.0
    assert rate.still_s(250.0, 5, WorkerState(lag={"cx.kpis": 9})) == 150.0
    for now, state in enumerate(
        (
            WorkerState(lag={"cx.kpis": 8}),
            WorkerState(lag={"cx.kpis": 8}, pending=3),
            WorkerState(lag={"cx.kpis": 8}, pending=3, steps=1),
            WorkerState(lag={"cx.kpis": 8}, pending=3, steps=1, watermarks={"web": 60.0}),
            WorkerState(lag={"cx.kpis": 8}, pending=3, steps=1, watermarks={"web": 60.0}, outcomes={"read": 1}),
        ),
        start=251,
    ):
        assert rate.still_s(now, 5, state) == 0.0
    # CPU seconds alone are none: who turns in circles uses them as well.
    assert rate.still_s(300.0, 5, replace(state, cpu_s=9.0)) > 0


def test_settings_of_the_run_before_are_gone_when_a_run_begins(tmp_path: Path) -> None:
    """A command beside one that is still starting would work on ports that others have by now."""
    (tmp_path / "environment").write_text("export CX_KAFKA=127.0.0.1:9\n")
    run = EmbeddedRun(load(environ={}, data_dir=str(tmp_path)), Load(), print, keep=True)
    run._take_folder()
    assert run._lock is not None
    with run._lock:
        assert settings_of_run(tmp_path) == {}
