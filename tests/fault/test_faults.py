"""The short form of the fault suite; the long one is `make fault`."""

import pytest

from tests.fault.report import summary
from tests.fault.running import Stage
from tests.fault.scenarios import SCENARIOS
from tests.harness.kafka import KafkaUnavailableError, jars, require_or_skip

SHORT = [("pauses", 1, 3), ("held", 1, 3), ("kills", 2, 2)]
"""Scenario, seed and number of faults."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    try:
        jars()
    except KafkaUnavailableError as error:
        require_or_skip(str(error))
    with Stage(tmp_path_factory.mktemp("fault")) as made:
        yield made


@pytest.mark.kafka
@pytest.mark.parametrize(("name", "seed", "faults"), SHORT)
def test_nothing_is_lost_doubled_or_wrong(stage, name, seed, faults):
    outcome = stage.run(SCENARIOS[name], seed, rate=200.0, faults=faults)
    assert outcome.passed, "\n".join([summary(outcome), *outcome.told])
    assert outcome.faults >= faults
    assert outcome.records > 0
