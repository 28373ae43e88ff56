"""What a worker knows of people who were forgotten: looked up in the store at its start, and every now and then."""

import asyncio
from contextlib import closing
from typing import Final

from streams.aside import Aside
from streams.privacy.forgotten import Forgotten
from streams.storage.connection import FAILURES, Address, connect, explain
from streams.storage.erasing import LEARNED_S, read_forgotten

_EVERY_S: Final = LEARNED_S / 4


class ForgottenPeople:
    """Keeps the list of a worker up to date."""

    def __init__(self, store: Address, forgotten: Forgotten) -> None:
        self._store = store
        self._forgotten = forgotten

    def look(self) -> None:
        """
        Look them up.

        Raises:
            StorageError: The store cannot be asked.
        """
        with closing(connect(self._store, timeout_s=30.0)) as client:
            try:
                self._forgotten.learn(read_forgotten(client))
            except FAILURES as error:
                raise explain(error, "reading who was forgotten") from error

    async def keep_looking(self) -> None:
        """Look them up again and again."""
        await Aside("forgetting").keep(self._loop)

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await asyncio.to_thread(self.look)
