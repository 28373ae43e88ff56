"""`cx collect`: the HTTP door for events."""

import logging
import sys
from typing import NoReturn

import click

from streams import metrics
from streams.collector.access import make_key
from streams.collector.server import Door, listen, server_of
from streams.settings import is_loopback, load


@click.command()
@click.option("--host", help="Where to listen; default: only this machine (CX_COLLECT_HOST).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Default: 8090 (CX_COLLECT_PORT); 0: a free one.")
@click.option("--new-key", metavar="NAME", help="Make a key, print it and what to add to the file of keys; then end.")
def collect(host: str | None, port: int | None, new_key: str | None) -> None:
    r"""Take events over HTTP, check them, and put them into Kafka.

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
    settings = load(collect_host=host, collect_port=port)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The outbox says in one line what they say in a hundred while Kafka is away.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # Else whoever sends nonsense fills the log.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    door = Door(settings)
    try:
        listening = listen(settings.collect_host, settings.collect_port)
    except OSError as exc:
        _refuse(settings.collect_host, settings.collect_port, "CX_COLLECT_PORT", exc)
    with listening:
        if settings.collect_metrics_port:
            try:
                metrics.serve(settings.metrics_host, settings.collect_metrics_port)
            except OSError as exc:
                _refuse(settings.metrics_host, settings.collect_metrics_port, "CX_COLLECT_METRICS_PORT", exc)
        names = door.access.names()
        who = f"with the keys of {', '.join(names)}" if names else "from this machine, without keys"
        if not is_loopback(settings.collect_host):
            click.echo(f"cx collect: {settings.collect_host} can be reached from elsewhere, in plain HTTP", err=True)
        url = f"http://{settings.collect_host}:{listening.getsockname()[1]}/v1/events"
        click.echo(f"events may be sent to {url} {who}; they go to Kafka at {settings.kafka}")
        server_of(door, settings).run([listening])
    click.echo("ended; all that was accepted is in Kafka")


def _refuse(host: str, port: int, name: str, error: OSError) -> NoReturn:
    click.echo(f"cx collect: cannot listen at {host}:{port} ({name}): {error.strerror or error}", err=True)
    sys.exit(1)


def _print_new(name: str) -> None:
    key, entry = make_key(name)
    click.echo(f"# for the sender, shown only now: {key}\n# for CX_COLLECT_KEYS_FILE:\n{entry}", nl=False)
