"""The short form of the fault suite; the long one is `make fault`."""

from collections.abc import Iterator

import pytest

from tests.fault.report import summary
from tests.fault.running import Stage
from tests.fault.scenarios import SCENARIOS
from tests.harness.kafka import KafkaUnavailableError, jars, require_or_skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    try:
        jars()
    except KafkaUnavailableError as error:
        require_or_skip(str(error))
    with Stage(tmp_path_factory.mktemp("fault")) as made:
        yield made


@pytest.mark.kafka
@pytest.mark.parametrize(("name", "seed", "faults"), [("pauses", 1, 2), ("kills", 2, 1)])
def test_nothing_is_lost_doubled_or_wrong(stage: Stage, name: str, seed: int, faults: int) -> None:
    outcome = stage.run(SCENARIOS[name], seed, rate=200.0, faults=faults)
    assert outcome.passed, "\n".join([summary(outcome), *outcome.told])
    assert outcome.faults >= faults
    assert outcome.records > 0
