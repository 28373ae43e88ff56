"""Where ClickHouse is, how to reach it, and which of its failures pass by themselves."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError, ProgrammingError
from clickhouse_connect.driver.query import QueryResult
from urllib3.exceptions import HTTPError

from streams.secured.tls import Tls, clickhouse_tls
from streams.settings import ConfigError, Settings, is_loopback

FAILURES: Final = (ClickHouseError, HTTPError, OSError)
"""Everything a request to ClickHouse can fail with."""

# Codes of the server for requests that can never succeed: schema, syntax, settings, access. All others may pass.
_PERMANENT: Final = frozenset({
    6, 8, 10, 16, 20, 26, 27, 36, 38, 41, 42, 43, 44, 46, 47, 48, 50, 53, 57, 60, 62, 63, 69, 70, 72, 73, 80, 81, 82,
    108, 115, 117, 131, 164, 179, 192, 193, 194, 195, 291, 344, 349, 386, 403, 441, 452, 456, 497, 516, 636, 640,
})  # fmt: skip

# What the rows of an insert are to blame for: what they hold is no value of its column, or breaks a rule of the table.
_OF_ROWS: Final = frozenset({6, 20, 26, 27, 38, 41, 53, 69, 70, 72, 108, 117, 131, 321, 349, 395, 407, 441, 469})

# Codes of what has nothing to do with the rows: too much at once, no room, read-only, replicas that are not there.
_OF_SERVER: Final = frozenset({
    202, 203, 209, 210, 218, 225, 234, 236, 242, 243, 244, 252, 279, 285, 286, 297, 319, 335, 364, 382, 394, 410,
    415, 425, 439, 473, 499, 545, 574, 588, 603, 626, 643, 667, 692, 706, 719, 722, 733, 745, 746, 999,
})  # fmt: skip


# How a server of `cx up` refuses the user that it must have and nobody is to use.
_TOO_MANY_SESSIONS: Final = 700
DELETED_AT_ONCE: Final = {"lightweight_deletes_sync": 2}
"""Settings of a DELETE that has taken effect, on all replicas, when it returns."""


def never_a_repeat() -> dict[str, Any]:
    """
    Return the settings of an insert that is not taken for an earlier one, though it may hold the same rows.

    `insert_deduplicate = 0` has no effect on newer servers, and the setting that has is unknown to older ones. Several
    threads would give blocks of one insert the same token.
    """
    return {"async_insert": 0, "insert_deduplication_token": uuid4().hex, "max_insert_threads": 1}


class StorageError(Exception):
    """Something is wrong with the store."""


class PermanentStorageError(StorageError):
    """The store refuses, and will refuse again: wrong schema, wrong credentials, an impossible statement."""


class UnreachableError(StorageError):
    """The store does not answer, or cannot serve just now."""


class RefusedRowsError(StorageError):
    """
    An insert fails though the server answers: one of its rows, or another state of the table, is to blame.

    Attributes:
        by_server: Whether the server said so itself. Else the connection broke, again and again.
    """

    def __init__(self, said: str, *, by_server: bool) -> None:
        super().__init__(said)
        self.by_server = by_server


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """How to reach a database: `url` is the HTTP interface, e.g. http://127.0.0.1:8123."""

    url: str
    database: str = "cx"
    user: str = "default"
    password: str = dataclasses.field(default="", repr=False)
    tls: Tls = dataclasses.field(default=Tls("clickhouse"))


def address_of(settings: Settings) -> Address:
    """
    Return how to reach the configured database.

    Raises:
        ConfigError: the file of the password or of a certificate is missing or holds something else.
    """
    tls = clickhouse_tls(settings)
    if settings.clickhouse.startswith("https:"):
        # At the start, not at the first insert.
        tls.context()
    return Address(
        settings.clickhouse, settings.clickhouse_database, settings.clickhouse_user, settings.clickhouse_password(), tls
    )


def connect(address: Address, *, timeout_s: float = 120.0, database: str | None = None) -> Client:
    """
    Open a client; one client may serve several threads, since it keeps no session.

    `timeout_s` bounds the wait for any answer. `database` replaces the address's, "" means none.

    Raises:
        PermanentStorageError: The server refuses us.
        UnreachableError: It does not answer, or TLS fails.
    """
    parts = urlsplit(address.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise PermanentStorageError(f"{address.url!r} is no address: expected http://host:port or https://host:port")
    options: dict[str, Any] = _tls_options(address) if parts.scheme == "https" else {"secure": False}
    if parts.port:
        options["port"] = parts.port
    try:
        client = clickhouse_connect.get_client(
            host=parts.hostname,
            username=address.user,
            password=address.password,
            database=address.database if database is None else database,
            autogenerate_session_id=False,
            # On loopback compressing costs more than it saves; a remote server is worth it.
            compress=not is_loopback(parts.hostname),
            connect_timeout=10,
            send_receive_timeout=timeout_s,
            query_retries=1,
            **options,
        )
        client.query = _attentive(client.query)  # type: ignore[method-assign]
    except FAILURES as error:
        doing = f"cannot connect to {address.url} as {address.user}"
        if text := address.tls.tell(error) or _wrong_protocol(error):
            raise UnreachableError(f"{doing}: {text}") from error
        if getattr(error, "code", None) == _TOO_MANY_SESSIONS and address.user == "default":
            raise PermanentStorageError(
                f"{doing}: nobody is let in by that name. If this is the ClickHouse of a `cx up`: in the folder of that"
                " run commands find it by themselves, from elsewhere `. FOLDER/.cx/environment` tells them"
            ) from error
        raise explain(error, doing) from error
    return client


def _attentive(query: Callable[..., QueryResult]) -> Callable[..., QueryResult]:
    """
    Have a query fail whose rows were lost on their way.

    A server that holds answers back until they are complete puts them on its disk. When that is full it answers that
    all is well, with nothing: whoever asks what is stored would hear that nothing is.
    """

    def asked(*args: Any, **kwargs: Any) -> QueryResult:
        found = query(*args, **kwargs)
        made = int(found.summary.get("result_rows", 0))
        if made and not found.result_rows:
            raise OperationalError(f"the server made {made} rows and sent none: is its disk full?")
        return found

    return asked


def _tls_options(address: Address) -> dict[str, Any]:
    # The library would fail later, and with fewer words, on a file that is not what it should be.
    try:
        address.tls.context()
    except ConfigError as error:
        # It was there at the start: whoever replaces it may be at it just now.
        raise UnreachableError(str(error)) from error
    options: dict[str, Any] = {"secure": True}
    if address.tls.ca_file:
        options["ca_cert"] = address.tls.ca_file
    if address.tls.cert_file:
        options |= {
            "client_cert": address.tls.cert_file,
            "client_cert_key": address.tls.key_file or None,
            # With a password the certificate opens the connection only; without, it is who we are.
            "tls_mode": "strict" if address.password else "mutual",
        }
    return options


def _wrong_protocol(error: BaseException) -> str:
    """Tell of a server that hangs up or answers no HTTP: most often a port that speaks TLS."""
    said = str(error)
    if any(sign in said for sign in ("RemoteDisconnected", "BadStatusLine", "Connection reset by peer")):
        return "the server does not speak plain HTTP at this port: is it https?"
    return ""


def is_permanent(error: BaseException) -> bool:
    """Return whether repeating what failed is useless."""
    code = getattr(error, "code", None)
    if code is not None:
        return code in _PERMANENT
    return isinstance(error, ProgrammingError) and not isinstance(error, OperationalError)


def blames_rows(error: BaseException) -> bool | None:
    """
    Return whether the rows of a failed insert can be to blame: True for certain, False not at all, None perhaps.

    Perhaps is what may pass by itself as well: memory, an error that is not known here, a broken connection.
    """
    code = getattr(error, "code", None)
    if code in _OF_ROWS:
        # An insert that comes later than its sender's lease breaks a rule, too, but sent anew it is in time.
        return "`in_time`" not in str(error)
    return False if is_permanent(error) or code in _OF_SERVER else None


def explain(error: BaseException, doing: str) -> StorageError:
    """Return the typed error for a failure: what was being done, and what the server said."""
    said = " ".join(str(error).split())[:800] or type(error).__name__
    kind = PermanentStorageError if is_permanent(error) else UnreachableError
    return kind(f"{doing}: {said}")
