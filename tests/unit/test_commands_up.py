"""`cx up`: being asked to stop."""

import os
import signal

import pytest

from streams.commands.up import _signals, _Stopped


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
