"""Who may send what, how fast, and from which pages: keys from a file, origins from the settings."""

import hashlib
import hmac
import re
import secrets
import stat
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from streams.collector.answers import RejectedError
from streams.collector.sources import PLAIN, is_plain
from streams.events.decode import Refusal
from streams.events.scalars import CHANNELS, Channel
from streams.events.types import Envelope
from streams.events.visible import spelled_out
from streams.listener.clients import CLIENTS_KEPT, Budget, Client
from streams.settings import ConfigError, Settings, is_loopback

_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d+)?|https?://\[[0-9a-f:]+\](:\d+)?")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
SHORTEST_KEY: Final = 24
"""Characters: keys are random, so a plain hash of them cannot be turned back; shorter ones could be guessed."""
BURST_S: Final = 2.0
"""A key may send so many seconds' worth at once."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of the file: the key, or its hash, and what its owner may send."""

    key: str
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1)] = CHANNELS
    source: str = ""
    """What the `source` of all events must begin with."""
    public: bool = False
    """Whether it may stand in a page, and so in an address: `?key=`. It opens this door and nothing else."""
    events_per_s: Annotated[float, Meta(gt=0)] | None = None

    def refusal(self, index: int, event: Envelope) -> Refusal | None:
        """Tell why an event is not this key's to send; None if it is."""
        if event.channel not in self.channels:
            expected = "one of " + ", ".join(self.channels)
            return _not_allowed(index, "channel", event.channel, expected)
        if not self.source:
            return None
        if not event.source.startswith(self.source):
            return _not_allowed(index, "source", event.source, f"text that begins with {self.source}")
        if not is_plain(event.source):
            return _not_allowed(index, "source", event.source, f"a path below {self.source}, {PLAIN}")
        return None


class Bucket:
    """Events that may come now: fills up at an even pace, and holds `BURST_S` seconds' worth, or one full request."""

    def __init__(self, per_s: float, largest: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._size = max(per_s * BURST_S, float(largest))
        self._left = self._size
        self._clock = clock
        self._at = clock()

    def take(self, events: int) -> None:
        """
        Take room for events.

        Raises:
            RejectedError: they come too fast; it says when there will be room.
        """
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._at) * self._per_s)
        self._at = now
        if events > self._left:
            raise RejectedError(
                429,
                "too_fast",
                f"{events} events now are beyond {self._per_s:g} per second, which may be sent with this key",
                retry_after_s=(events - self._left) / self._per_s,
                verdict="limited",
            )
        self._left -= events


class Caller:
    """Who sends: the key, and what is left of its pace and of its share of the process's time."""

    def __init__(self, name: str, key: Key, settings: Settings) -> None:
        self.name = name
        self.key = key
        self.digest = _digest_of(key.key)
        self.budget = Budget(settings.collect_key_share)
        self._per_s = key.events_per_s or settings.collect_events_per_s
        self._largest = settings.collect_events
        self._bucket = Bucket(self._per_s, self._largest)
        self._client_share = settings.collect_client_share
        self._of_clients: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, events: int, client: Client) -> None:
        """
        Take room for events; with a public key, which anybody can use, one client has a part of its pace only.

        Raises:
            RejectedError: they come too fast; it says when there will be room.
        """
        if self.key.public and not client.proxy:
            bucket = self._of_clients.get(client.name)
            if bucket is None:
                bucket = self._of_clients[client.name] = Bucket(self._per_s * self._client_share, self._largest)
                if len(self._of_clients) > CLIENTS_KEPT:
                    self._of_clients.popitem(last=False)
            self._of_clients.move_to_end(client.name)
            bucket.take(events)
        self._bucket.take(events)

    def afford(self, whole: Budget) -> None:
        """
        Look whether there is time left for this key.

        Raises:
            RejectedError: the process as a whole is short of it, and this key has had its share.
        """
        if whole.left() < 0 and (wait_s := self.budget.wait_s()) > 0:
            raise RejectedError(
                429,
                "too_costly",
                f"what came with this key took more than {self.budget.share:.0%} of the door's time",
                retry_after_s=wait_s,
                verdict="limited",
            )


class KeyAccess:
    """
    Decides who may send.

    Raises:
        ConfigError: the file of keys or an origin cannot be right, or others could reach the door without a key.
    """

    def __init__(self, settings: Settings) -> None:
        self.origins = read_origins(settings.collect_origins)
        keys = read_keys(Path(settings.collect_keys_file)) if settings.collect_keys_file else {}
        self._callers = [Caller(name, key, settings) for name, key in keys.items()]
        if not keys and not is_loopback(settings.collect_host):
            raise ConfigError(
                f"collect_host = {settings.collect_host!r} can be reached from elsewhere, where nobody may "
                "send without a key: set CX_COLLECT_KEYS_FILE (`cx collect --new-key NAME` makes a key), or listen on "
                "127.0.0.1"
            )
        self._anyone = None if keys else Caller("", Key(key=""), settings)

    def admit(self, headers: Mapping[str, str], query_key: str | None) -> Caller:
        """
        Find out who sends.

        Raises:
            RejectedError: a page that is not known, or no key that is known.
        """
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins:
            # Some bodies need no leave of the browser: without this any page could send, if only to this machine.
            raise RejectedError(
                403, "origin_not_allowed", f"pages of {origin[:200]} may not send here: CX_COLLECT_ORIGINS does not "
                "name it", verdict="denied",
            )  # fmt: skip
        if self._anyone is not None:
            return self._anyone
        scheme, _, token = headers.get("authorization", "").partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key")
        caller = self._find(presented or query_key or "")
        if caller is None:
            raise RejectedError(
                401, "unauthorized", "a key is expected, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "
                + ("this one is not known" if presented or query_key else "there is none"), verdict="denied",
            )  # fmt: skip
        if not presented and not caller.key.public:
            raise RejectedError(
                401, "unauthorized", "a key in the address ends in logs: only one that is public may come there; send "
                "this one as `Authorization: Bearer KEY`", verdict="denied",
            )  # fmt: skip
        return caller

    def names(self) -> list[str]:
        """Return the names of all keys."""
        return [caller.name for caller in self._callers]

    def _find(self, presented: str) -> Caller | None:
        digest = hashlib.sha256(presented.encode(errors="surrogateescape")).digest()
        found = None
        for caller in self._callers:
            # All of them are compared, each in constant time: how long it takes tells nothing.
            if hmac.compare_digest(caller.digest, digest):
                found = caller
        return found


def read_origins(text: str) -> tuple[str, ...]:
    """
    Read the comma-separated origins of pages.

    Raises:
        ConfigError: one is no origin: scheme, host, and port if there is one, nothing else.
    """
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ConfigError(
                f"collect_origins: {origin!r} is no origin; expected scheme and host, in lower case, without a path, "
                "such as https://shop.example"
            )
    return origins


def read_keys(path: Path) -> dict[str, Key]:
    """
    Read a file of keys: one TOML table per key, named after its owner.

    Raises:
        ConfigError: the file cannot be read or is open to others, or an entry cannot be right.
    """
    try:
        mode = path.stat().st_mode
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigError(f"collect_keys_file: cannot read {str(path)!r}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: {exc}; expected TOML in UTF-8, one table per key") from exc
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"{path} can be written by others (mode {stat.S_IMODE(mode):o}): chmod go-w {path}")
    keys = {name: _entry(path, name, table) for name, table in tables.items()}
    if not keys:
        raise ConfigError(f"{path} holds no key; `cx collect --new-key NAME` makes one")
    if len({_digest_of(key.key) for key in keys.values()}) < len(keys):
        raise ConfigError(f"{path}: two names have the same key, so nobody could tell who sends")
    plain = [name for name, key in keys.items() if not key.public and not key.key.startswith("sha256:")]
    if plain and mode & (stat.S_IRGRP | stat.S_IROTH):
        raise ConfigError(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):o}) and holds {', '.join(plain)} as plain text: "
            f"chmod 600 {path}, or write its hash as `cx collect --new-key` does"
        )
    return keys


def make_key(name: str) -> tuple[str, str]:
    """Make a random key; return it, and what to add to the file of keys."""
    key = secrets.token_urlsafe(24)
    return key, f'["{name}"]\nkey = "sha256:{hashlib.sha256(key.encode()).hexdigest()}"\n'


def _entry(path: Path, name: str, table: Any) -> Key:
    try:
        entry = msgspec.convert(table, Key)
    except msgspec.ValidationError as exc:
        raise ConfigError(f"{path}: key {name!r}: {exc}") from exc
    if not _DIGEST.fullmatch(entry.key) and (entry.key.startswith("sha256:") or len(entry.key) < SHORTEST_KEY):
        raise ConfigError(
            f"{path}: key {name!r}: `key` is neither sha256: with 64 lower-case hex digits nor text of at least "
            f"{SHORTEST_KEY} characters; `cx collect --new-key {name}` makes one"
        )
    if not is_plain(entry.source):
        raise ConfigError(f"{path}: key {name!r}: `source` is {entry.source!r}, expected a path {PLAIN}")
    return entry


def _digest_of(key: str) -> bytes:
    return bytes.fromhex(key[7:]) if key.startswith("sha256:") else hashlib.sha256(key.encode()).digest()


def _not_allowed(index: int, path: str, got: str, expected: str) -> Refusal:
    got = spelled_out(got)
    return Refusal(index, "not_allowed", path, got, expected, f"{path} is {got}; with this key it must be {expected}")
