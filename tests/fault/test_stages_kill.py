"""A worker killed before each step of each stage, on both brokers: the next one finishes what it had begun."""

import pytest

from tests.fault.test_pipeline_kill import simulated

STAGES = ("ingest", "merge", "store")
STEPS = (1, 2, 3)
"""Save, emit and acknowledge of a first flush; the crash suite stops before every single record."""

PART = 400


@pytest.mark.slow
def test_a_worker_killed_before_each_step_of_each_stage(pipelines):
    pipeline = pipelines()
    deaths = [(stage, step) for stage in STAGES for step in STEPS]
    touches = simulated(PART * (len(deaths) + 1), bad=0.01, duplicate=0.02)
    for number, (stage, step) in enumerate(deaths):
        pipeline.send(touches[PART * number : PART * (number + 1)])
        worker = pipeline.start_alone(command=("-m", "tests.harness.dying_worker", stage, str(step)))
        pipeline.wait(lambda worker=worker: worker.process.poll() is not None, f"step {step} of {stage}")
        assert worker.process.returncode == -9, worker.tail()
    pipeline.send(touches[PART * len(deaths) :])
    pipeline.start_alone()

    records = pipeline.wait_stored(len(touches))

    assert records["read"] == len(touches)
    assert records["read"] == sum(records[outcome] for outcome in ("counted", "duplicate", "late", "bad"))
    assert pipeline.verify().differences == []
    assert pipeline.database.value("SELECT count() - uniqExact(topic, partition, offset) FROM events") == 0
    assert pipeline.database.value("SELECT count() - uniqExact(topic, partition, first) FROM outcomes") == 0
