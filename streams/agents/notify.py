"""
Notify: alerts that fire or have ended, and changes of cases, to webhooks; acknowledged when every one of them has it or
never will.

It reads a topic of its own, so a receiver that is away holds back nothing but itself: neither KPIs nor storage.
"""

import asyncio
import logging
from functools import partial as bound
from typing import Any, Final, Literal

import msgspec

from streams.agents import records
from streams.aside import Aside
from streams.delivery.endpoint import read_addresses
from streams.delivery.webhook import Message, Webhook, Webhooks, signing_key
from streams.engine.app import BatchApp
from streams.engine.batch import RecordBatch
from streams.engine.lane import Assignment
from streams.engine.names import Topics
from streams.loop.sending import decode_message
from streams.secured.web import ReceiverAccess
from streams.settings import Settings

log = logging.getLogger(__name__)

UNDER_WAY: Final = 2_000
"""Messages waiting for their receivers, above which no more are read."""


GRACE_S: Final = 1.0
"""Partitions that move wait so long for receivers to answer: what they have then need not be repeated."""


class Notify:
    """The notify agent of one worker."""

    def __init__(self, app: BatchApp, settings: Settings, topics: Topics) -> None:
        """
        Raises:
            AddressError: an address or the secret of webhooks cannot be right.
            ConfigError: the secret's file cannot be read.
        """
        self._aside = Aside("webhooks")
        key = signing_key(settings.webhook_secret())
        access = ReceiverAccess.of("webhook", settings)

        def receivers(setting: str, urls: str) -> Webhooks:
            found = read_addresses(setting, urls, encrypted=True)
            return Webhooks([Webhook(url, key, access=access) for url in found], may_send=app.may_tell)

        self._webhooks = {
            "alert": receivers("webhooks", settings.webhooks),
            "case": receivers("case_webhooks", settings.case_webhooks),
        }
        self._waiting: dict[asyncio.Task[None], int] = {}
        self._room = asyncio.Event()
        self.lane = app.lane(topics.notifications, stall_limit_s=None)
        self.lane.on_assigned(self._take_over)
        self.lane.on_finish(self._give_up)
        app.agent(self.lane.topic, name="notify")(self._run)

    async def _take_over(self, assignment: Assignment) -> None:
        await self._give_up()
        log.info("notify: partitions %s taken over", list(assignment.owned))

    async def _give_up(self) -> None:
        """Let go of what is under way: whoever owns the partitions next delivers it again, under the same ids."""
        if self._waiting:
            await asyncio.wait(list(self._waiting), timeout=GRACE_S)
        tasks = list(self._waiting)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for webhooks in self._webhooks.values():
            with self._aside.attempt():
                await webhooks.close()

    async def _run(self, stream: Any) -> None:
        async for batch in self.lane.batches(stream):
            messages = self._messages(batch)
            batch.release()
            # Not awaited: what is for other receivers, or of other alerts, must not wait behind it.
            task = asyncio.create_task(self._aside.keep(bound(self._deliver, batch, messages)))
            self._waiting[task] = len(messages)
            task.add_done_callback(self._done)
            while sum(self._waiting.values()) > UNDER_WAY:
                self._room.clear()
                await self._room.wait()

    def _messages(self, batch: RecordBatch) -> list[tuple[Webhooks, Message]]:
        """Read the notifications of a batch; one that nobody can read is left out, and stays where it comes from."""
        messages: list[tuple[Webhooks, Message]] = []
        for value in batch.values:
            if value is not None:
                with self._aside.attempt():
                    about, message = _message(value)
                    messages.append((self._webhooks[about], message))
        return messages

    async def _deliver(self, batch: RecordBatch, messages: list[tuple[Webhooks, Message]]) -> None:
        await asyncio.gather(*(webhooks.deliver(message) for webhooks, message in messages))
        self.lane.ack(batch)
        self.lane.report_lag(batch.topic, batch.partition)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._waiting[task]
        self._room.set()


def _message(value: bytes) -> tuple[Literal["alert", "case"], Message]:
    if msgspec.json.decode(value, type=_About).about == "case":
        case = decode_message(value)
        return "case", Message(case.id, case.case.case_id, value, case.published)
    alert = records.decode_alert(value)
    return "alert", Message(alert.id, f"{alert.rule}/{sorted(alert.labels.items())}", value, alert.published)


class _About(msgspec.Struct):
    about: str = "alert"
