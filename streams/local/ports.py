"""TCP ports of the embedded run."""

import contextlib
import socket

LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK, preferred: int = 0) -> int:
    """
    Return `preferred` when nobody uses it, else any free port; others may still take it before we do.

    Raises:
        OSError: There is none.
    """
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")
