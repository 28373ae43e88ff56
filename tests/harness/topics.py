"""Topics for tests."""

import time
from collections.abc import Mapping

from kafka import KafkaAdminClient
from kafka.admin import NewTopic


def create_topics(bootstrap: str, partitions: Mapping[str, int], config: Mapping[str, str] | None = None) -> None:
    """Create topics with so many partitions each."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        names = list(partitions)
        admin.create_topics(
            [NewTopic(name, count, 1, topic_configs=dict(config or {})) for name, count in partitions.items()]
        )
        while any(topic["error_code"] for topic in admin.describe_topics(names)):
            time.sleep(0.05)
    finally:
        admin.close()
