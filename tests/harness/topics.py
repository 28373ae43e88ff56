"""Topics for tests."""

from collections.abc import Mapping

from kafka import KafkaAdminClient
from kafka.admin import NewTopic


def create_topics(bootstrap: str, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Create topics with so many partitions each."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        admin.create_topics(
            [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in partitions.items()]
        )
    finally:
        admin.close()
