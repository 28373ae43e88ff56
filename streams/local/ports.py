"""TCP ports of the embedded run."""

import itertools
import secrets
import socket

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


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
