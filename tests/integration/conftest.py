"""Fixtures shared by the integration tests."""

from collections.abc import Iterator

import pytest

from streams.local.clickhouse import EmbeddedClickHouse
from tests.harness.clickhouse import Database, fresh_database, running_server


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedClickHouse]:
    """The ClickHouse server of the test session."""
    with running_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


@pytest.fixture
def database(clickhouse: EmbeddedClickHouse) -> Iterator[Database]:
    """A migrated database of the test's own."""
    with fresh_database(clickhouse) as fresh:
        yield fresh
