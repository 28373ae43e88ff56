"""TCP ports of the embedded run."""

import itertools
import secrets
import socket
import sys

LOOPBACK = "127.0.0.1"
# Below those from which systems take the ports of outgoing connections: a client that tries again and again to reach
# a server that is away must not come to hold its port, or to reach itself.
_LOW, _COUNT = 20_000, 10_000
# Each process goes on from a place of its own, so that two that choose at once choose differently.
_places = itertools.count(secrets.randbelow(_COUNT))


def free_port(host: str = LOOPBACK, preferred: int = 0) -> int:
    """
    Return `preferred` when nobody uses it, else any free port; others may still take it before we do.

    Raises:
        OSError: There is none.
    """
    if preferred and _is_free(host, preferred):
        return preferred
    for place in itertools.islice(_places, _COUNT):
        port = _LOW + place % _COUNT
        if _is_free(host, port):
            return port
    raise OSError(f"no free port on {host}")


class PortClaims:
    """
    Ports that a run has chosen and does not use yet: no other run of this machine that starts meanwhile chooses them.

    Only where sockets may have names without a file (Linux): elsewhere runs that start at once may choose the same.
    """

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def choose(self, preferred: int) -> int:
        """
        Return `preferred` when nobody uses or claims it, else any free port.

        Raises:
            OSError: There is none.
        """
        return free_port(preferred=preferred) if self._claim(preferred) else free_port()

    def give_back(self) -> None:
        """Claim nothing any more."""
        while self._held:
            self._held.pop().close()

    def _claim(self, port: int) -> bool:
        if sys.platform != "linux":
            return True
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0cx-streams-port-{port}")
        except OSError:
            claim.close()
            return False
        self._held.append(claim)
        return True


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
