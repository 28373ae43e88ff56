"""The one place that touches kafka-python: how its client is configured, opened, and shut without hanging."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.codec import has_lz4, has_zstd
from kafka.net.compat import KafkaNetClient
from kafka.partitioner import Partitioner, murmur2

from streams.secured.kafka import knock, server_address

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


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key that Kafka's Java client would choose."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


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
        server_address(server)
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
        # The Kafka client leaks a socket per refused connection, and hangs in a TLS handshake that is not answered.
        knock(list(map(server_address, config["bootstrap_servers"])), config)
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
