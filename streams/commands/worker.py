"""`cx worker` and `cx topics`."""

import ctypes
import gc
import logging
import platform
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import faust

from streams.agents.forgetting import ForgottenPeople
from streams.app import build
from streams.aside import Aside
from streams.commands.printing import echo, log_to_stderr
from streams.definitions import catalogue_of
from streams.delivery.endpoint import AddressError
from streams.engine.app import BatchApp
from streams.engine.copies import ChangelogCopies
from streams.engine.rights import Right, rights_of
from streams.engine.topics import TopicsError, check_topics, ensure_topics, topic_plan
from streams.kpis.language.blocks import CatalogueError
from streams.listener.exposition import serve
from streams.listener.hosts import named_hosts
from streams.listener.serving import listen
from streams.secured.kafka import kafka_client_options
from streams.secured.protection import protection_of
from streams.settings import Settings, load
from streams.start.broker import StartBroker
from streams.start.check import StartRefusedError, check_start
from streams.start.member import MemberFile, give_back, run_alone
from streams.storage.connection import StorageError, address_of
from streams.storage.writer import Writer

_HAS_GLIBC = platform.libc_ver()[0] == "glibc"
_M_ARENA_MAX = -8  # as in the C library's malloc.h
_RETURN_EVERY_S = 30.0
_MEMORY = Aside("memory")
_COPIES = Aside("copies")


def _problems(settings: Settings, *, create: bool, rights: Iterable[Right] = ()) -> list[str]:
    plan = topic_plan(settings.partitions, settings.replication, settings.app_id, settings.topic_prefix)
    options = kafka_client_options(settings)
    try:
        if create:
            return ensure_topics(settings.kafka, plan, **options)
        return check_topics(settings.kafka, plan, rights, **options)
    except TopicsError as exc:
        return [str(exc)]


def _refuse(problems: list[str]) -> None:
    for problem in problems:
        echo(problem, err=True)
    if problems:
        sys.exit(1)


@click.command()
@click.option("--check", is_flag=True, help="Create nothing; exit 1 if something is missing or wrong.")
def topics(*, check: bool) -> None:
    """Create the topics that are missing, and check all of them.

    Partitions and replication come from the settings (CX_PARTITIONS, CX_REPLICATION).
    """
    settings = load()
    _refuse(_problems(settings, create=not check))
    echo(f"topics at {settings.kafka} are right: {settings.partitions} partitions each")


def calm_garbage_collector() -> None:
    """
    Look for cycles rarely.

    Ranges, pages and rows are thousands of containers that hold no cycles and are freed by counting; looking through
    them again and again finds nothing. What was made until here stays to the end.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)


def _share_heaps() -> None:
    """
    Have all threads of the process share two heaps, where its C library keeps one per thread otherwise.

    Batches are allocated by one thread and freed by another, so each heap would grow to the size of all.
    """
    if _HAS_GLIBC:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


async def _return_memory() -> None:
    """Give back to the system what lies free between what is in use: after a backlog that is a quarter of it all."""
    with _MEMORY.attempt():
        ctypes.CDLL(None).malloc_trim(0)


def _expose(settings: Settings) -> None:
    """Serve metrics and state; the command ends where it cannot."""
    if not settings.metrics_port:
        return
    try:
        listening = listen(settings.metrics_host, settings.metrics_port)
    except OSError as exc:
        where = f"{settings.metrics_host}:{settings.metrics_port} (CX_METRICS_HOST, CX_METRICS_PORT)"
        echo(f"cx worker: cannot listen at {where}: {exc.strerror or exc}", err=True)
        sys.exit(1)
    serve(listening, settings.metrics_host, named_hosts(settings.http_hosts))


def _copy_changelogs(app: BatchApp, settings: Settings) -> None:
    """Have a restart read only what is new, as far as it can: without a copy it reads all, as ever."""
    with _COPIES.attempt():
        with StartBroker(settings) as broker:
            found = broker.describe([table.changelog for table in app.fenced_tables])
        file = Path(app.conf.datadir) / f"{settings.app_id}.changelogs"
        app.copy_changelogs(ChangelogCopies(file, {name: topic.id for name, topic in found.items()}))


@click.command()
def worker() -> None:
    """Run one worker; start more of them to share the partitions.

    Stops cleanly on SIGTERM and Ctrl-C. Ends with a non-zero exit code when it cannot go on
    without losing or doubling something: have it restarted.
    """
    gc.disable()  # what is read until the worker runs is there to stay
    _share_heaps()
    settings = load()
    log_to_stderr(settings.log_level)
    logging.getLogger("kafka").setLevel(logging.WARNING)  # every connection is news to it
    store = address_of(settings)
    rights = rights_of("worker", settings.topic_prefix, settings.app_id)
    try:
        catalogue = catalogue_of(settings)
        protection = protection_of(settings)
        app = build(settings, Writer(store), catalogue, protection)
        folder = Path(app.conf.datadir)
        if settings.sole_worker:
            _lock = run_alone(folder / f"{settings.app_id}.sole")  # held until the process ends
        elif not settings.instance:  # by that name it goes on with the membership
            members = MemberFile(folder / f"{settings.app_id}.member")
            app.on_member = members.note
            if members.before:
                give_back(members.before, settings)
        check_start(settings, store, catalogue, alone=settings.sole_worker)
        if protection:
            ForgottenPeople(store, protection.forgotten).look()
    except TopicsError as exc:
        _refuse(_problems(settings, create=False, rights=rights) or [str(exc)])
        raise
    except (CatalogueError, AddressError, StartRefusedError, StorageError) as exc:
        _refuse([str(exc)])
        raise
    _refuse(_problems(settings, create=False, rights=rights))
    if settings.changelog_copy:
        _copy_changelogs(app, settings)
    if _HAS_GLIBC:
        app.timer(_RETURN_EVERY_S)(_return_memory)
    calm_garbage_collector()
    _expose(settings)
    faust.Worker(app, loglevel=settings.log_level, override_logging=False).execute_from_commandline()
