"""Where commands find the services that the settings name."""

from streams.settings import Settings
from streams.storage.connection import Address


def clickhouse_address(settings: Settings) -> Address:
    """Return how to reach the configured ClickHouse."""
    return Address(
        settings.clickhouse, settings.clickhouse_database, settings.clickhouse_user, settings.clickhouse_password()
    )
