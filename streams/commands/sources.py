"""`cx sources`: source partitions that have stopped, why, and how they go on without a restart of the workers."""

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, NoReturn

import click
from kafka import KafkaProducer
from kafka.errors import KafkaError

from streams.commands.output import as_json_option, plain_errors, print_json
from streams.commands.printing import echo
from streams.engine.names import Topics
from streams.engine.topics import TopicsError
from streams.events import orders
from streams.events.orders import SourceOrder
from streams.events.scalars import CHANNELS
from streams.local.observe import UNCOUNTED_WAY_OUT, StoppedSource, WorkerState, worker_places, worker_state
from streams.producers.client import topic_of
from streams.secured.kafka import kafka_client_options, knock, server_address
from streams.settings import Settings, load
from streams.start.broker import StartBroker

OBEYED_S: Final = 30.0
"""Longest wait for a worker to go on."""
_LOOK_S: Final = 0.25

_at_option = click.option(
    "--at", "places", multiple=True, metavar="HOST:PORT", help="Metrics of a worker; repeatable.  [default: settings]"
)


@click.group()
def sources() -> None:
    """Show source partitions that do not go on, and let stopped ones go on.

    \b
    Examples:
      cx sources show
      cx sources skip store/3
      cx sources resume store/3
    """


@sources.command()
@_at_option
@as_json_option
@plain_errors
def show(places: tuple[str, ...], *, as_json: bool) -> None:
    """Show what does not go on: topic, partition, offset, first bytes, since when, why, and the ways out.

    Exit code 1 when there is any, or a worker does not answer.
    """
    settings = load()
    states = _states(settings, places)
    silent = [place for place, state in states.items() if state is None]
    found = [one for state in states.values() if state is not None for one in _standing(state, settings)]
    if as_json:
        print_json({"ok": not (found or silent), "sources": [one._asdict() for one in found], "no_answer": silent})
    else:
        for one in found:
            echo(f"{one.source} {one.text}")
            echo(f"  {one.ways_out}")
        if not (found or silent):
            echo("all sources go on")
        for place in silent:
            echo(f"no worker answers at http://{place}/metrics: is it running, and is the port right?", err=True)
    sys.exit(1 if found or silent else 0)


@sources.command()
@click.argument("source", metavar="CHANNEL/PARTITION")
@click.option(
    "--until", type=click.IntRange(1, 2**63 - 1), help="First offset to judge again.  [default: the end, as of now]"
)
@_at_option
@as_json_option
@plain_errors
def skip(source: str, until: int | None, places: tuple[str, ...], *, as_json: bool) -> None:
    """Let a stopped source go on to its end: bad records become dead letters, all others are counted.

    Behind that end it is watched again. Exit code 1 if it is not stopped, or does not go on.
    """
    settings = load()
    _give(settings, source, places, lambda topic, partition: until or _end(settings, topic, partition), as_json=as_json)


@sources.command()
@click.argument("source", metavar="CHANNEL/PARTITION")
@_at_option
@as_json_option
@plain_errors
def resume(source: str, places: tuple[str, ...], *, as_json: bool) -> None:
    """Let a stopped source go on, once its producer is mended, and watch it from the next range on.

    Of the records that stopped it, the bad ones become dead letters. It stops again when most of those behind them are
    bad as well. Exit code 1 if it is not stopped, or does not go on.
    """
    _give(load(), source, places, None, as_json=as_json)


class _Standing(NamedTuple):
    """A source that does not go on."""

    source: str
    kind: str
    topic: str
    partition: int
    text: str
    ways_out: str
    details: dict[str, Any]


def _standing(state: WorkerState, settings: Settings) -> list[_Standing]:
    def one(source: str, kind: str, text: str, ways_out: str, details: dict[str, Any]) -> _Standing:
        channel, _, partition = source.partition("/")
        topic = topic_of(channel, settings.topic_prefix)
        return _Standing(source, kind, topic, int(partition), f"(topic {topic}) {text}", ways_out, details)

    return [
        *(one(stopped.source, "stopped", stopped.text, stopped.ways_out, dataclasses.asdict(stopped))
          for stopped in state.stopped),
        *(one(source, "waiting", "waits for a right clock; nothing is lost",
              "set the worker's clock, or the reference's: see CxClockWrong in docs/OPERATIONS.md", {})
          for source in state.waiting),
        *(one(source, "uncounted", "is stored, but not counted in all KPIs: its ranges contradict each other",
              UNCOUNTED_WAY_OUT, {})
          for source in state.uncounted),
    ]  # fmt: skip


def _states(settings: Settings, places: Sequence[str]) -> dict[str, WorkerState | None]:
    return {f"{host}:{port}": worker_state(port, host) for host, port in worker_places(settings, places)}


def _find(states: Iterable[WorkerState | None], source: str) -> StoppedSource | None:
    return next((one for state in states if state for one in state.stopped if one.source == source), None)


def _give(
    settings: Settings,
    source: str,
    places: Sequence[str],
    end: Callable[[str, int], int] | None,
    *,
    as_json: bool,
) -> None:
    """Order that a stopped source goes on, wait until it does, and say so; `end`: of what is let through."""
    channel, _, number = source.rpartition("/")
    if channel not in CHANNELS or number not in map(str, range(settings.partitions)):
        raise click.UsageError(
            f"{source!r} is no source: expected one of {', '.join(CHANNELS)}, a slash and a partition from 0 to"
            f" {settings.partitions - 1}, e.g. web/0"
        )
    states = _states(settings, places)
    stopped = _find(states.values(), source)
    if stopped is None and (silent := [place for place, state in states.items() if state is None]):
        _refuse(
            f"whether {source} is stopped is not known: no worker answers at {', '.join(silent)}. Is it running, and is"
            " the port right?",
            as_json,
        )
    if stopped is None:
        _refuse(
            f"{source} is not stopped, as far as is known at {', '.join(states)}: `cx sources show` tells what is",
            as_json,
        )
    topic, partition = topic_of(channel, settings.topic_prefix), int(number)
    until = stopped.offset + 1 if end is None else end(topic, partition)
    if until <= stopped.offset:
        _refuse(f"{source} is stopped at offset {stopped.offset}: --until must be above it, not {until}", as_json)
    _send(settings, SourceOrder(source, stopped.offset, until, settings.epoch), partition)
    deadline = time.monotonic() + OBEYED_S
    while True:
        answers = _states(settings, places).values()
        now = _find(answers, source)
        if (now is None and None not in answers) or (now is not None and now.offset > stopped.offset):
            break
        if time.monotonic() > deadline:
            _refuse(
                f"{source} did not go on within {OBEYED_S:.0f} s. The order is kept, and will be obeyed: look whether"
                " its worker answers (`cx status`)",
                as_json,
            )
        time.sleep(_LOOK_S)
    if as_json:
        again = now.offset if now else None
        answer = {"ok": now is None, "source": source, "from": stopped.offset, "until": until, "stopped_again": again}
        print_json(answer)
    elif now is None:
        bad = (
            "the bad records that stopped it"
            if end is None
            else f"bad records up to offset {until}, and of the range around it,"
        )
        echo(f"{source} goes on from offset {stopped.offset}: {bad} become dead letters, all others are counted")
    else:
        echo(f"{source} went on from offset {stopped.offset}, and {now.text}", err=True)
    sys.exit(0 if now is None else 1)


def _refuse(text: str, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"ok": False, "error": text})
    else:
        echo(text, err=True)
    sys.exit(1)


def _end(settings: Settings, topic: str, partition: int) -> int:
    with StartBroker(settings) as broker:
        return broker.end(topic, partition)


def _send(settings: Settings, order: SourceOrder, partition: int) -> None:
    servers = [server.strip() for server in settings.kafka.split(",") if server.strip()]
    topic = Topics(settings.topic_prefix).control
    options = {"client_id": "cx-sources", **kafka_client_options(settings)}
    try:
        knock(list(map(server_address, servers)), options)
        producer = KafkaProducer(bootstrap_servers=servers, acks="all", **options)
    except (KafkaError, ConnectionError, ValueError) as error:
        raise TopicsError(f"no broker answers at {settings.kafka}: {error}") from error
    try:
        producer.send(topic, orders.encode(order), order.source.encode(), partition=partition).get(OBEYED_S)
    except KafkaError as error:
        raise TopicsError(f"{settings.kafka} does not take the order in {topic}: {error}") from error
    finally:
        producer.close()
