"""What an installation keeps in Kafka and in the store is lost, while nobody runs: restored, or refused with the way out."""

import os
from collections.abc import Callable, Mapping, Sequence

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from streams.engine.topics import ensure_topics, topic_plan
from streams.storage.migrations import migrate
from tests.fault.rig import PARTITIONS, BrickedError, Rig
from tests.harness.kafka import KafkaBroker
from tests.harness.topics import PATIENCE_S


def losses(rig: Rig, count: int) -> None:
    """
    Lose one thing after the other. Workers are started as they are; one that refuses must say how to go on, and does.

    Traffic goes on meanwhile, unless it is its own topics that are lost: then it waits until there are new ones.
    """
    rig.begin(2)
    chosen = rig.chance.sample(list(LOSSES.values()), k=min(count, len(LOSSES)))
    # What was in topics that are gone is in the store alone: to lose that afterwards is to lose it for good.
    for lose in sorted(chosen, key=lambda one: one is not store_anew):
        lost(rig, lose)


def lost(rig: Rig, lose: Callable[[Rig], None]) -> None:
    """Run for a while, stop all workers, lose something, start again, do as one is told."""
    rig.sleep(rig.chance.uniform(8, 15))
    rig.traffic.hold(rig.pipeline.producer)
    rig.settle()
    for worker in rig.workers:
        rig.leave(worker)
    rig.tell((lose.__doc__ or "").strip())
    lose(rig)
    rig.outcome.faults += 1
    began = start_as_advised(rig, rig.traffic.go_on)
    rig.recover((lose.__doc__ or "").strip(), began)


def truncation(rig: Rig, count: int) -> None:
    """Lose a changelog, or half of it, while workers run, and kill one: who takes its partitions over must see it."""
    rig.begin(2)
    for _ in range(count):
        rig.sleep(rig.chance.uniform(8, 15))
        lose = rig.chance.choice((ids_cut, ids_half, sums_cut))
        rig.away.update(rig.workers)
        rig.tell((lose.__doc__ or "").strip())
        lose(rig)
        rig.outcome.faults += 1
        rig.kill(rig.victim())
        rig.wait(lambda: not rig.workers, "the other workers to see that state is lost")
        began = start_as_advised(rig)
        rig.recover(f"{(lose.__doc__ or '').strip()} Workers run.", began)


def start_as_advised(rig: Rig, started: Callable[[], None] = lambda: None) -> float:
    """Start two workers, under a higher epoch if a first one is told so; return when they ran."""
    worker = rig.join()
    rig.away.add(worker)
    started()
    rig.wait(lambda: worker.process.poll() is not None or bool(rig.owned(worker)), "a start or a refusal")
    if worker.process.poll() is not None:
        said = worker.tail()
        rig.tell(f"refused: {said.strip().splitlines()[-1][:300]}")
        if "CX_EPOCH" not in said:
            raise BrickedError(f"a start was refused without a way out: {said}")
        rig.raise_epoch()
        worker = rig.join()
        rig.away.add(worker)
    rig.wait(lambda: bool(rig.owned(worker)), "a start as advised")
    rig.away.discard(worker)
    rig.join()
    return rig.now()


def ids_cut(rig: Rig) -> None:
    """The changelog of ids is emptied."""
    _empty(rig, rig.changelogs[0], 1.0)


def ids_half(rig: Rig) -> None:
    """The changelog of ids loses its older half."""
    _empty(rig, rig.changelogs[0], 0.5)


def sums_cut(rig: Rig) -> None:
    """The changelog of sums is emptied."""
    _empty(rig, rig.changelogs[1], 1.0)


def ids_end(rig: Rig) -> None:
    """The newest records of the changelog of ids are gone, as with a leader that lacked them."""
    _cut_off(rig, rig.changelogs[0])


def sums_end(rig: Rig) -> None:
    """The newest records of the changelog of sums are gone, as with a leader that lacked them."""
    _cut_off(rig, rig.changelogs[1])


def changelogs_deleted(rig: Rig) -> None:
    """Both changelogs are deleted and made anew."""
    _make_anew(rig, rig.changelogs)


def store_anew(rig: Rig) -> None:
    """The database is dropped and made anew."""
    database = rig.pipeline.database
    database.client.command(f"DROP DATABASE `{database.name}` SYNC")
    migrate(database.admin)


def sources_anew(rig: Rig) -> None:
    """The topics of the touchpoints are deleted and made anew."""
    rig.evidence.next_generation(rig.epoch + 1)
    _make_anew(rig, rig.pipeline.topics.sources)


def all_topics_anew(rig: Rig) -> None:
    """All topics are deleted and made anew."""
    rig.evidence.next_generation(rig.epoch + 1)
    _make_anew(rig, [spec.name for spec in _plan(rig)])


LOSSES = {
    lose.__name__: lose
    for lose in (
        ids_cut,
        ids_half,
        ids_end,
        sums_cut,
        sums_end,
        changelogs_deleted,
        store_anew,
        sources_anew,
        all_topics_anew,
    )
}


def _plan(rig: Rig):
    name = rig.pipeline.environment["CX_APP_ID"]
    return topic_plan(PARTITIONS, 1, name, name)


def _empty(rig: Rig, topic: str, share: float) -> None:
    parts = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    ends = rig.end_offsets(parts)
    [config] = [dict(spec.config) for spec in _plan(rig) if spec.name == topic]
    with rig.admin() as admin:
        # The broker deletes records of topics only from which some may leave.
        _configure(admin, topic, {**config, "cleanup.policy": "compact,delete"})
        admin.delete_records({part: int(end * share) for part, end in ends.items()})
        _configure(admin, topic, config)


def _configure(admin: KafkaAdminClient, topic: str, config: Mapping[str, str]) -> None:
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])


def _cut_off(rig: Rig, topic: str) -> None:
    """Cut the newest third off a partition's file while the broker is down."""
    assert isinstance(rig.broker, KafkaBroker)
    parts = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    before = rig.end_offsets(parts)
    rig.broker.kill()
    folder = rig.broker.folder / "data" / f"{topic}-{rig.chance.randrange(PARTITIONS)}"
    file = max(folder.glob("*.log"))
    data = file.read_bytes()
    starts = [0]  # of record batches: base offset, then the length of what follows
    while starts[-1] + 12 <= len(data):
        starts.append(starts[-1] + 12 + int.from_bytes(data[starts[-1] + 8 : starts[-1] + 12], "big"))
    os.truncate(file, starts[2 * len(starts) // 3])
    rig.broker.start()
    after = rig.end_offsets(parts)
    assert sum(after.values()) < sum(before.values()), "the broker has brought them back"


def _make_anew(rig: Rig, topics: Sequence[str]) -> None:
    with rig.admin() as admin:
        admin.delete_topics(list(topics))
        rig.wait(lambda: _gone(admin, topics), "the deletion of topics", PATIENCE_S)
    assert ensure_topics(rig.pipeline.bootstrap, _plan(rig)) == []


def _gone(admin: KafkaAdminClient, topics: Sequence[str]) -> bool:
    return not set(topics) & set(admin.list_topics())
