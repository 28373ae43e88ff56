"""The short form of the fuzzer (`python -m tests.fuzz` is the long one): all kinds, a whole job, honest senders beside."""

from pathlib import Path

import pytest

from tests.conftest import Broker
from tests.fuzz.attack import attack
from tests.fuzz.records import KINDS, records
from tests.fuzz.requests import KINDS_OF_REQUESTS, requests
from tests.harness.clickhouse import Database
from tests.harness.wholejob import Pipeline


@pytest.mark.slow
def test_nothing_that_is_sent_changes_more_than_dead_letters_and_refusals(
    embedded_broker: Broker, database: Database, tmp_path: Path
) -> None:
    pipeline = Pipeline(embedded_broker.bootstrap, database, tmp_path, 2)
    made, asked = records(10 * len(KINDS), 1), requests(10 * len(KINDS_OF_REQUESTS), 1)
    try:
        found = attack(pipeline, tmp_path, made, asked, rate=20.0, quiet_s=2.0)
    finally:
        pipeline.close()
    assert found.wrong == []
    assert len(KINDS) >= 38
