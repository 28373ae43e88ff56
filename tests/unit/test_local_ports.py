"""Ports of runs that start at the same time."""

import socket
import sys

import pytest

from streams.local.ports import LOOPBACK, PortClaims, free_port


def test_what_nobody_uses_is_preferred_and_what_is_used_is_not_chosen() -> None:
    wanted = free_port()
    claims = PortClaims()
    assert claims.choose(wanted) == wanted
    claims.give_back()
    with socket.create_server((LOOPBACK, wanted)):
        assert claims.choose(wanted) != wanted
    claims.give_back()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names of sockets without a file")
def test_what_another_run_has_chosen_and_does_not_use_yet_is_not_chosen() -> None:
    wanted = free_port()
    one, other = PortClaims(), PortClaims()
    assert one.choose(wanted) == wanted
    assert other.choose(wanted) != wanted
    one.give_back()
    assert other.choose(wanted) == wanted
    other.give_back()
