"""The check before a worker starts: look, decide, and restore where that is right, one worker at a time."""

import logging
import time
from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import Final

from streams import metrics
from streams.engine.topics import TopicsError
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import LABEL_FORM
from streams.settings import Settings
from streams.start.broker import ClaimLostError, LiveWorkersError, StartBroker
from streams.start.decision import StartVerdict, decide
from streams.start.facts import StartFacts
from streams.start.look import look
from streams.start.restore import Restoration, starts_of
from streams.storage.connection import FAILURES, Address, connect, explain
from streams.storage.starts import record_starts

log = logging.getLogger(__name__)

STORE_WAIT_S: Final = 60.0
"""So long a worker that cannot start without ClickHouse waits for it."""
_PAUSE_S: Final = 1.0
_SESSION_SLACK_S: Final = 10.0
_ATTEMPTS: Final = 4
"""Restorations in one start, at most: after one of them everything agrees, or something else is wrong."""


class StartRefusedError(Exception):
    """A worker cannot start; the text says what was found and what mends it."""


def examine(settings: Settings, store: Address) -> StartVerdict:
    """
    Look and decide; changes nothing.

    Raises:
        TopicsError: Kafka does not answer.
        PermanentStorageError: the store refuses.
    """
    with StartBroker(settings) as broker:
        return decide(look(settings, store, broker, time.time()))


def check_start(
    settings: Settings,
    store: Address,
    catalogue: Catalogue,
    *,
    clean: bool = False,
    alone: bool = False,
    say: Callable[[str], None] = log.info,
    store_wait_s: float = STORE_WAIT_S,
) -> StartVerdict:
    """
    Compare store, topics, changelogs, committed offsets and epoch, and restore what can be; return what was found last.

    Args:
        settings: Of the worker.
        store: An account that may insert, and delete KPI rows.
        catalogue: What KPIs mean.
        clean: Whether the KPIs that are stored are known to be those of the stored events.
        alone: Whether no other worker can be starting.
        say: Told what is done.
        store_wait_s: How long to wait for ClickHouse when nothing can be said without it.

    Raises:
        StartRefusedError: it would lose or double something; the text says what to do.
        TopicsError: Kafka does not answer.
        StorageError: the store refuses.
    """
    with StartBroker(settings) as broker:
        facts, verdict = _decided(settings, store, broker, store_wait_s)
        for _ in range(_ATTEMPTS):
            if verdict.action in ("go", "refuse"):
                break
            # Another worker that starts at the same moment may be restoring: look again once it is done.
            with nullcontext(_unclaimed) if alone else broker.claim(facts.merge.name) as confirm:
                facts, verdict = _decided(settings, store, broker, store_wait_s)
                restoration = Restoration(
                    settings,
                    store,
                    catalogue,
                    broker,
                    confirm=confirm,
                    say=say,
                    wait_s=settings.broker_session_s + _SESSION_SLACK_S,
                )
                failed: TopicsError | None = None
                try:
                    _act(restoration, facts, verdict, clean=clean, say=say)
                except (ClaimLostError, LiveWorkersError) as error:
                    # Whoever took the claim over may have restored it, and be running.
                    log.warning("start: %s: looking again", error)
                    failed = error
                facts, verdict = _decided(settings, store, broker, store_wait_s)
                if isinstance(failed, LiveWorkersError) and verdict.action != "go":
                    raise failed
    if verdict.action != "go":
        raise StartRefusedError(str(verdict))
    for topic, partition, count in verdict.expired:
        metrics.EXPIRED.labels(topic, str(partition)).inc(count)
        log.error("start: %s/%d lost %d records by retention before they were read", topic, partition, count)
    if facts.store is not None:
        _record(store, facts)
    say(f"start: {verdict.text}")
    return verdict


def _unclaimed() -> None:
    """Confirm nothing: no other worker can be starting."""


def _decided(settings: Settings, store: Address, broker: StartBroker, wait_s: float) -> tuple[StartFacts, StartVerdict]:
    deadline = time.monotonic() + wait_s
    while True:
        facts = look(settings, store, broker, time.time())
        verdict = decide(facts)
        if verdict.case != "store away" or time.monotonic() > deadline:
            return facts, verdict
        log.warning("start: %s; waiting for it", verdict.text)
        time.sleep(_PAUSE_S)


def _act(
    restoration: Restoration, facts: StartFacts, verdict: StartVerdict, *, clean: bool, say: Callable[[str], None]
) -> None:
    match verdict.action:
        case "refill":
            say(f"start: {verdict.text}")
            restoration.refill(facts)
        case "restore ids":
            say(f"start: {verdict.text}: restoring it from the store")
            done = restoration.ids(facts, time.time())
            say(f"start: {done.ids:,} event ids restored")
        case "restore":
            say(f"start: {verdict.text}: restoring state from the store")
            done = restoration.everything(facts, time.time(), clean=clean)
            for topic, partition, count in done.expired:
                metrics.EXPIRED.labels(topic, str(partition)).inc(count)
                log.error("start: %s/%d lost %d records by retention before they were stored", topic, partition, count)
            say(f"start: {done.ids:,} event ids and {done.series:,} KPI series restored")
        case _:
            pass  # somebody else has restored it, or it is refused by now


def _record(store: Address, facts: StartFacts) -> None:
    """Record the topics of this epoch when some of them are not yet, so that others in their place are known."""
    assert facts.store is not None
    labelled = facts.store.labels in (None, LABEL_FORM)
    if labelled and all(topic.known_id == topic.id for topic in facts.topics if topic.id):
        return
    with closing(connect(store)) as client:
        try:
            record_starts(client, starts_of(facts))
        except FAILURES as error:
            # An account of an earlier version may not; all that is missing then are the names of topics.
            log.warning("start: %s", explain(error, "recording the topics of this epoch"))
