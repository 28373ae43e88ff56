"""
Who may act on the page: people who know its key, by a session that only this page can use.

The key is asked for once. What a browser keeps is a name and an end, signed by a key made of it: nothing is remembered
here, a restart signs nobody out, and another key ends all sessions.
"""

import hashlib
import hmac
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Final

from streams.events.visible import visible
from streams.settings import ConfigError

SHORTEST_KEY: Final = 24
"""Characters: shorter ones could be guessed."""
LONGEST_NAME: Final = 64
SESSION_S: Final = 43_200
"""A session ends by itself, a long working day after its beginning."""
WRONG_KEYS: Final = 5
WRONG_WITHIN_S: Final = 60.0
"""So many wrong keys may come from one address within this time."""
_CLIENTS_KEPT: Final = 10_000


class WrongKeys:
    """Counts wrong keys by address, so that nobody tries many."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Return how long an address has to wait before it may try again."""
        tries = self._tries.get(client, deque())
        return max(0.0, tries[0] + WRONG_WITHIN_S - self._clock()) if len(tries) == WRONG_KEYS else 0.0

    def note(self, client: str) -> None:
        """Take note of a wrong key."""
        self._tries.setdefault(client, deque(maxlen=WRONG_KEYS)).append(self._clock())
        self._tries.move_to_end(client)
        if len(self._tries) > _CLIENTS_KEPT:
            self._tries.popitem(last=False)


class WriteAccess:
    """
    Signs people in and knows them again.

    Attributes:
        cookie: Name of the cookie: pages of one machine share cookies, whatever their ports.

    Raises:
        ConfigError: The key could be guessed.
    """

    def __init__(self, key: str, clock: Callable[[], float] = time.time) -> None:
        if len(key) < SHORTEST_KEY:
            raise ConfigError(
                f"board_write_key_file: the key has {len(key)} characters, expected {SHORTEST_KEY} or more"
            )
        self._key = key.encode()
        self._clock = clock
        self.cookie = f"cx_page_{self._mac(b'cookie')[:8]}"

    def sign_in(self, presented: str, name: str) -> str:
        """Return a session for who knows the key; empty: the key is another one."""
        # Hashed first, so that how long it takes says nothing of the key's length either.
        given, expected = (hashlib.sha256(text).digest() for text in (presented.encode(errors="replace"), self._key))
        if not hmac.compare_digest(given, expected):
            return ""
        said = f"{name.encode().hex()}.{int(self._clock()) + SESSION_S}"
        return f"{said}.{self._mac(said.encode())}"

    def who(self, cookies: Mapping[str, str]) -> str:
        """Return the name in a session that is valid; empty: there is none."""
        said, _, mac = cookies.get(self.cookie, "").rpartition(".")
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(said.encode(errors="replace")).encode()):
            return ""
        name, _, ends = said.partition(".")
        return bytes.fromhex(name).decode() if int(ends) > self._clock() else ""

    def _mac(self, text: bytes) -> str:
        return hmac.new(self._key, b"session of the live page\0" + text, hashlib.sha256).hexdigest()


def name_of_person(text: str) -> str:
    """Return the name under which somebody acts; empty: it can be none."""
    name = " ".join(text.split())
    return name if visible(name) == name and len(name) <= LONGEST_NAME else ""
