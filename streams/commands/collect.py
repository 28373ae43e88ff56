"""`cx collect`: the HTTP door for events."""

import contextlib
import logging
import os
import socket
import sys

import click

from streams.collector.access import make_key
from streams.collector.processes import supervise
from streams.collector.server import Door, door_server
from streams.commands.printing import echo, log_to_stderr
from streams.listener.exposition import serve
from streams.listener.hosts import named_hosts
from streams.listener.serving import listen
from streams.settings import is_loopback, load

HANDOVER_S = 0.001
"""The thread that sends to Kafka waits so long for one that computes; Python's own 5 ms would hold each answer back."""


@click.command()
@click.option("--host", help="Where to listen; default: only this machine (CX_COLLECT_HOST).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Default: 8090 (CX_COLLECT_PORT); 0: a free one.")
@click.option("--processes", type=click.IntRange(1, 64), help="On this port; default: 1 (CX_COLLECT_PROCESSES).")
@click.option("--new-key", metavar="NAME", help="Make a key, print it and what to add to the file of keys; then end.")
def collect(host: str | None, port: int | None, processes: int | None, new_key: str | None) -> None:
    """Take events over HTTP, check them, and put them into Kafka.

    POST /v1/events takes CloudEvents (structured, batched, binary) and plain JSON, one event or an array.
    The answer comes when Kafka has confirmed them, and names the field of each event that is wrong.
    See docs/PRODUCERS.md.

    Beyond this machine it needs keys (CX_COLLECT_KEYS_FILE), and TLS from a proxy in front of it.

    \b
    Exit codes: 0 ended by Ctrl-C or SIGTERM, all that was accepted is in Kafka; 1 a port is taken;
    2 settings or keys are refused.
    """
    if new_key is not None:
        _print_new(new_key)
        return
    settings = load(collect_host=host, collect_port=port, collect_processes=processes)
    log_to_stderr(settings.log_level)
    # The outbox says in one line what they say in a hundred while Kafka is away.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # Else whoever sends nonsense fills the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    door = Door(settings)
    with contextlib.ExitStack() as open_sockets:

        def listening_at(host: str, port: int, name: str) -> socket.socket:
            try:
                return open_sockets.enter_context(listen(host, port))
            except OSError as exc:
                echo(f"cx collect: cannot listen at {host}:{port} ({name}): {exc.strerror or exc}", err=True)
                sys.exit(1)

        listening = listening_at(settings.collect_host, settings.collect_port, "CX_COLLECT_PORT")
        metrics_ports = [settings.collect_metrics_port + place for place in range(settings.collect_processes)]
        exposing = [
            listening_at(settings.metrics_host, port, "CX_COLLECT_METRICS_PORT")
            for port in metrics_ports
            if settings.collect_metrics_port
        ]
        names = door.access.names()
        who = f"with the keys of {', '.join(names)}" if names else "from this machine, without keys"
        if not is_loopback(settings.collect_host):
            echo(f"cx collect: {settings.collect_host} can be reached from elsewhere, in plain HTTP", err=True)
        url = f"http://{settings.collect_host}:{listening.getsockname()[1]}/v1/events"
        echo(f"events may be sent to {url} {who}; they go to Kafka at {settings.kafka}")
        sys.stdout.flush()
        parent = os.getpid()

        def run(place: int) -> None:
            sys.setswitchinterval(HANDOVER_S)
            if exposing:
                serve(exposing[place], settings.metrics_host, named_hosts(settings.http_hosts))
            door_server(door, settings, lambda: parent not in (os.getpid(), os.getppid())).run([listening])

        if settings.collect_processes == 1:
            run(0)
        else:
            supervise(settings.collect_processes, run, open_sockets.close)
    echo("ended; all that was accepted is in Kafka")


def _print_new(name: str) -> None:
    key, entry = make_key(name)
    echo(f"# for the sender, shown only now: {key}\n# for CX_COLLECT_KEYS_FILE:\n{entry.rstrip()}")
