"""`cx up`: being asked to stop."""

import os
import signal
from dataclasses import replace

import pytest

from streams.commands.up import _signals, _Stopped
from streams.local.observe import WorkerState
from streams.local.until_done import ProgressRate


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
