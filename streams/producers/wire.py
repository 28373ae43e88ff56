"""The one place that touches kafka-python: how its client is configured, opened, and shut without hanging."""

import logging
import socket
import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.codec import has_lz4, has_zstd
from kafka.net.compat import KafkaNetClient
from kafka.partitioner import Partitioner, murmur2

log = logging.getLogger(__name__)

SECURITY_KEYS = frozenset(
    key
    for key in KafkaProducer.DEFAULT_CONFIG
    if key.startswith(("ssl_", "sasl_")) or key in ("security_protocol", "proxy_url")
)
"""Options of a secured connection that are passed through to the Kafka client as they are."""

TUNING_KEYS = frozenset({"linger_ms", "batch_size", "compression_type", "client_id", "max_request_size"})
"""Other options of the Kafka client that a caller may set."""

BOOTSTRAP_TIMEOUT_MS = 3_000
KNOCK_S = 3.0
"""Longest wait for a server to accept a connection, and for its TLS handshake."""


class SubjectPartitioner(Partitioner):  # type: ignore[misc]
    """
    The partition Kafka's Java client would choose (murmur2), remembered per key.

    The hash is pure Python in the client, and customers send many events.
    """

    def __init__(self) -> None:
        self._hash = lru_cache(maxsize=100_000)(murmur2)

    def partition(
        self, topic: str, key: object, serialized_key: bytes, value: object, serialized_value: bytes, cluster: Any
    ) -> int:
        """Choose among the partitions the broker tells of, in their numeric order."""
        del key, value, serialized_value
        partitions = sorted(cluster.partitions_for_topic(topic))
        chosen: int = partitions[(self._hash(serialized_key) & 0x7FFFFFFF) % len(partitions)]
        return chosen


def best_compression() -> str:
    """Name the best codec the installed packages give the Kafka client: lz4, else zstd, else gzip."""
    if has_lz4():
        return "lz4"
    return "zstd" if has_zstd() else "gzip"


def connection_options(
    bootstrap: str, delivery_timeout_s: float, block_s: float, options: Mapping[str, Any]
) -> dict[str, Any]:
    """
    Put together the configuration of the Kafka client.

    Raises:
        ValueError: an option is unknown, `bootstrap` is empty, or the delivery timeout is too short to work with.
    """
    unknown = sorted(set(options) - SECURITY_KEYS - TUNING_KEYS)
    if unknown:
        allowed = ", ".join(sorted(SECURITY_KEYS | TUNING_KEYS))
        raise ValueError(f"unknown producer options {', '.join(unknown)}; expected some of: {allowed}")
    servers = [server.strip() for server in bootstrap.split(",") if server.strip()]
    if not servers:
        raise ValueError(f"bootstrap is {bootstrap!r}; expected host:port, several separated by commas")
    for server in servers:
        _address(server)
    tuned: dict[str, Any] = {
        "linger_ms": 20,
        "batch_size": 256 * 1024,
        "max_request_size": 1024 * 1024,
        "compression_type": best_compression(),
        **options,
    }
    # The client wants linger + request timeout inside the delivery timeout.
    request_ms = int(min(30_000, delivery_timeout_s * 1000 - tuned["linger_ms"]))
    if request_ms < 100:
        raise ValueError(f"delivery_timeout_s is {delivery_timeout_s:g}; expected at least 0.1 s more than linger_ms")
    return tuned | {
        "bootstrap_servers": servers,
        "acks": "all",
        "enable_idempotence": True,
        "delivery_timeout_ms": int(delivery_timeout_s * 1000),
        "request_timeout_ms": request_ms,
        "max_block_ms": int(block_s * 1000),
        "reconnect_backoff_max_ms": 1_000,
        "retry_backoff_ms": 100,
        "metadata_max_age_ms": 60_000,
        "bootstrap_timeout_ms": min(BOOTSTRAP_TIMEOUT_MS, request_ms),
        "metrics_enabled": False,
        "partitioner": SubjectPartitioner(),
    }


def open_client(config: Mapping[str, Any]) -> KafkaProducer:
    """
    Connect, or fail within the bootstrap timeout without leaving sockets behind.

    Raises:
        Exception: whatever the Kafka client raises; its kinds are many (Kafka errors, OSError, ssl, SASL).
    """
    if not config.get("proxy_url"):
        _knock(config)
    opened: list[KafkaNetClient] = []

    def client(**options: Any) -> KafkaNetClient:
        opened.append(KafkaNetClient(**options))
        return opened[-1]

    try:
        return KafkaProducer(**config, kafka_client=client)
    except BaseException:
        for half_open in opened:
            half_open.close()
        raise


def _knock(config: Mapping[str, Any]) -> None:
    """
    Try whether any server listens, and speaks TLS if it shall.

    The Kafka client leaks a socket per refused connection, and hangs in a TLS handshake that is not answered.

    Raises:
        ConnectionError: none does; the text holds what each answered.
    """
    refusals = []
    for server in config["bootstrap_servers"]:
        address = _address(server)
        try:
            with socket.create_connection(address, timeout=KNOCK_S) as connection:
                if config.get("security_protocol") in ("SSL", "SASL_SSL"):
                    _tls(config).wrap_socket(connection, server_hostname=address[0]).close()
                return
        except OSError as error:
            refusals.append(f"{server}: {error.strerror or error}")
    raise ConnectionError("; ".join(refusals))


def _tls(config: Mapping[str, Any]) -> ssl.SSLContext:
    given: ssl.SSLContext | None = config.get("ssl_context")
    if given is not None:
        return given
    context = ssl.create_default_context(cafile=config.get("ssl_cafile"))
    context.check_hostname = config.get("ssl_check_hostname", True)
    if config.get("ssl_certfile"):
        context.load_cert_chain(config["ssl_certfile"], config.get("ssl_keyfile"), config.get("ssl_password"))
    return context


def _address(server: str) -> tuple[str, int]:
    """
    Split `host`, `host:port` or `[ipv6]:port`; the port is 9092 if not given.

    Raises:
        ValueError: the port is no number.
    """
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        return server.strip("[]"), 9092
    if not port.isdecimal():
        raise ValueError(f"bootstrap server {server!r} has port {port!r}; expected host:port, such as 127.0.0.1:9092")
    return host.strip("[]"), int(port)


def shut_client(producer: KafkaProducer) -> None:
    """
    Stop a client now, failing what it still holds.

    Its own `close` raises, and leaves its thread running, when records are still open; so these are failed first.
    """
    sender = producer._sender  # noqa: SLF001
    sender.force_close()
    sender.join(10)
    if sender.is_alive():
        log.warning("the thread of the Kafka client does not stop; it is left to end by itself")
    try:
        producer.close(timeout=0)
    except kafka_errors.KafkaTimeoutError as error:
        log.warning("the Kafka client still held records when it was closed: %s", error)
