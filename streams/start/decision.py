"""
What a worker does with what it finds when it starts: go, restore by itself, or refuse with the way out.

Pure: facts in, verdict out. `CASES` is the whole table; the documentation and the tests are made of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from streams.start.facts import RESTORING, StartFacts, Topic

Action: TypeAlias = Literal["go", "refill", "restore ids", "restore", "refuse"]

_RAISE: Final = "raise `CX_EPOCH`"
CASES: Final[Mapping[str, tuple[Action, str, str]]] = {
    "right": ("go", "everything agrees, or nothing was ever read", "the worker goes on"),
    "not compared": (
        "go",
        "ClickHouse does not answer; topics, changelogs and committed offsets are whole",
        "the worker goes on, and says that the store was not compared",
    ),
    "store away": (
        "refuse",
        "ClickHouse does not answer, and Kafka alone does not prove that state is whole",
        "the worker waits a minute for it, then ends",
    ),
    "no tables": ("refuse", "the database or some of its tables are missing", "refused: `cx migrate`"),
    "no topic": ("refuse", "a topic is missing", "refused: `cx topics`; the next start restores what it held"),
    "partitions": (
        "refuse",
        "another number of partitions than the installation was begun with",
        "refused: set `CX_PARTITIONS` as it was; if topics were enlarged, make them anew and " + _RAISE,
    ),
    "epoch lowered": ("refuse", "`CX_EPOCH` is below the newest one in the store or in `cx.blocks`", "refused: set it"),
    "epoch raised": (
        "restore",
        "`CX_EPOCH` is above the newest one in the store and in `cx.blocks`",
        "ids, sums and read positions are restored from the store; KPIs that differ from its events are recomputed",
    ),
    "other labels": (
        "refuse",
        "KPI series are named by labels as an earlier version made them",
        "refused: " + _RAISE + "; they are named and recomputed as now, with the sums of workers",
    ),
    "interrupted": ("restore", "a restoration did not come to its end", "it is done again"),
    "sources anew": ("refuse", "touchpoint topics were made anew, or cut, under the same epoch", "refused: " + _RAISE),
    "partials lost": (
        "refuse",
        "`cx.kpi.partials` was made anew, or lost records that were not added up",
        "refused: " + _RAISE,
    ),
    "sums lost": ("refuse", "the changelog of sums is empty, cut or made anew", "refused: " + _RAISE),
    "relations lost": (
        "refuse",
        "`cx.facts` or the changelog of relations is empty, cut or made anew, or lost records that were not read",
        "refused: " + _RAISE + "; relations begin anew, and know of nothing that was open",
    ),
    "cases lost": (
        "refuse",
        "`cx.case_facts` or the changelog of cases is empty, cut or made anew, or lost records that were not read",
        "refused: " + _RAISE + "; cases that are not closed are restored from the store",
    ),
    "ids lost": (
        "restore ids",
        "the changelog of ids is empty, cut or made anew; all that sources have finished is stored",
        "it is restored from the store under the same epoch",
    ),
    "ids in doubt": (
        "refuse",
        "the changelog of ids is empty, cut or made anew; not all that sources have finished is stored",
        "refused: " + _RAISE,
    ),
    "blocks lost": (
        "refuse",
        "`cx.blocks` was made anew, or lost records that were not stored",
        "refused: " + _RAISE + "; sources are read again from where the store ends",
    ),
    "values lost": (
        "refuse",
        "`cx.kpis` was made anew, or lost records that were not stored",
        "refused: " + _RAISE + "; KPIs are recomputed from the stored events",
    ),
    "store behind": (
        "refill",
        "the store lacks what was stored (dropped, or an older backup), and `cx.blocks` and `cx.kpis` retain it",
        "it is stored again from these topics",
    ),
    "store lost": (
        "refuse",
        "the store lacks what was stored, and the topics do not retain all of it",
        "refused: restore a backup; or " + _RAISE + " to go on with what the store and the touchpoint topics have",
    ),
    "expired": (
        "go",
        "records left their topic by its retention before they were read",
        "the worker goes on, logs how many and counts them in `cx_expired_records`; `cx doctor` says so",
    ),
}
"""By name: what is done, what was found, what the worker does, for people."""


@dataclass(frozen=True, slots=True)
class StartVerdict:
    """
    What to do.

    Attributes:
        case: Which of `CASES`.
        text: What was found, in one sentence.
        mend: What to do about it; empty: nothing.
        expired: Records that nobody can read any more, by topic and partition.
    """

    case: str
    text: str
    mend: str = ""
    expired: tuple[tuple[str, int, int], ...] = ()

    @property
    def action(self) -> Action:
        """What is done."""
        return CASES[self.case][0]

    def __str__(self) -> str:
        return f"{self.text}: {self.mend}" if self.mend else self.text


def decide(facts: StartFacts) -> StartVerdict:
    """Compare everything; the first thing that is not right decides."""
    for look in _LOOKS:
        found = look(facts)
        if found is not None:
            return found
    return _right(facts)


def _topics(facts: StartFacts) -> StartVerdict | None:
    if not facts.missing:
        return None
    names = ", ".join(facts.missing)
    return StartVerdict("no topic", f"{names} missing", "`cx topics` creates what is missing")


def _partitions(facts: StartFacts) -> StartVerdict | None:
    """Refuse another number of partitions: which of them holds a customer's ids follows from it."""
    known = facts.store.partitions if facts.store else None
    if known is None and facts.partials.committed:
        # Sources tell every partition of the partials what they know: committed ones are those there were.
        known = sum(1 for log in facts.partials.logs if log.committed is not None)
    other = {name: count for name, count in facts.counts.items() if count != (known or facts.partitions)}
    if not other and facts.partitions == (known or facts.partitions):
        return None
    why = "which of them holds a customer's ids and a KPI's sums follows from their number, which is fixed"
    listed = ", ".join(f"{name} has {count}" for name, count in sorted(other.items()))
    if known is None:
        counts = set(facts.counts.values())
        text = f"CX_PARTITIONS is {facts.partitions}, but {listed} partitions; {why}"
        if len(counts) == 1:
            return StartVerdict("partitions", text, f"set CX_PARTITIONS={counts.pop()}")
        return StartVerdict(
            "partitions", text, "delete these topics, if nothing of them is needed, and run `cx topics`"
        )
    text = f"this installation was begun with {known} partitions, CX_PARTITIONS is {facts.partitions}; {why}"
    if not other:
        return StartVerdict("partitions", text, f"set CX_PARTITIONS={known}")
    return StartVerdict(
        "partitions",
        f"{text}; {listed}",
        f"set CX_PARTITIONS={known}; topics cannot be made smaller, so stop all workers, delete all topics of"
        f" this installation, {_raise(facts)}, run `cx topics` and start again: state is restored from the store",
    )


def _store(facts: StartFacts) -> StartVerdict | None:
    if facts.store is not None:
        return None if facts.store.tables else _no_tables()
    whole = not facts.lost_ingest() and not facts.lost_merge()
    interrupted = any(topic.interrupted for topic in facts.topics)
    # Only records of this epoch prove that nothing has to be restored for it.
    known = facts.newest == facts.epoch and any(source.committed for source in facts.sources)
    lost = any(topic.anew for topic in facts.topics) or any(
        _count(_expired(topic)) for topic in (facts.partials, facts.blocks, facts.kpis)
    )
    if whole and known and not interrupted and not lost:
        return StartVerdict(
            "not compared", "ClickHouse does not answer: state is whole in Kafka, the store was not compared"
        )
    return StartVerdict(
        "store away",
        "ClickHouse does not answer, and without it nothing proves that the state in Kafka is whole",
        "start ClickHouse; `cx doctor` says why it cannot be reached",
    )


def _no_tables() -> StartVerdict:
    return StartVerdict("no tables", "the database, or some of its tables, are missing", "run `cx migrate`")


def _epoch(facts: StartFacts) -> StartVerdict | None:
    known = facts.known_epoch
    if known is None or facts.epoch == known:
        return None
    if facts.epoch < known:
        return StartVerdict(
            "epoch lowered",
            f"CX_EPOCH is {facts.epoch}, but there are records of epoch {known}",
            f"set CX_EPOCH={known}",
        )
    return StartVerdict("epoch raised", f"CX_EPOCH is {facts.epoch}, the newest that is stored is {known}")


def _labels(facts: StartFacts) -> StartVerdict | None:
    """Refuse to go on with sums of series under names that nobody gives any more: new ones would stand beside them."""
    assert facts.store is not None
    count = facts.store.named_otherwise
    if not count:
        return None
    text = f"{count:,} KPI series are named by labels as an earlier version made them"
    return StartVerdict("other labels", text, _mend(facts))


def _interrupted(facts: StartFacts) -> StartVerdict | None:
    if not facts.partials.interrupted:
        return None
    text = "a restoration of state from the store did not come to its end"
    return StartVerdict("sums lost", text, _mend(facts)) if facts.used() else StartVerdict("interrupted", text)


def _sources(facts: StartFacts) -> StartVerdict | None:
    anew = [source.name for source in facts.sources if _source_anew(facts, source)]
    if not anew:
        return None
    return StartVerdict(
        "sources anew",
        f"{', '.join(anew)} made anew under the epoch {facts.epoch}: new records would be taken for stored ones",
        _mend(facts),
    )


def _source_anew(facts: StartFacts, source: Topic) -> bool:
    marks = [facts.mark(source.name, p) for p in range(len(source.logs))]
    cut = any(mark is not None and mark >= log.end for mark, log in zip(marks, source.logs, strict=True))
    # Without a committed offset and without state everything would be read again as new.
    forgotten = any(
        mark is not None and log.committed is None and not facts.ingest.whole(p)
        for p, (mark, log) in enumerate(zip(marks, source.logs, strict=True))
    )
    used = source.committed or any(mark is not None for mark in marks)
    return cut or forgotten or (used and source.anew)


def _partials(facts: StartFacts) -> StartVerdict | None:
    topic = facts.partials
    used = topic.committed or any(log.end for log in facts.merge.logs) or facts.used()
    if used and topic.anew:
        return StartVerdict("partials lost", f"{topic.name} was made anew: sums would miss what it held", _mend(facts))
    if expired := _count(_expired(topic)):
        return StartVerdict(
            "partials lost", f"{topic.name} lost {expired:,} records that were not added up", _mend(facts)
        )
    return None


def _changelogs(facts: StartFacts) -> StartVerdict | None:
    """Look at ids and sums; the sums of a partition cannot be proven while more of them may be on their way."""
    ids, sums = facts.lost_ingest(), facts.lost_merge()
    if sums:
        names = facts.merge.name + (f" and {facts.ingest.name}" if ids else "")
        return StartVerdict("sums lost", f"{names} lost what it held of partitions {_listed(sums, ids)}", _mend(facts))
    interrupted = any(source.interrupted for source in facts.sources)
    if not ids and not interrupted:
        return None
    ids = ids or list(range(len(facts.ingest.logs)))
    text = f"{facts.ingest.name} lost what it held of partitions {_listed(ids)}"
    if all(_finished(facts, source, p) for source in facts.sources for p in ids):
        return StartVerdict("ids lost", text)
    return StartVerdict("ids in doubt", f"{text}, and not all of it is stored", _mend(facts))


def _finished(facts: StartFacts, source: Topic, partition: int) -> bool:
    """Tell whether exactly what was read of a source is stored: nothing more, and nothing of it without its balance."""
    committed, mark = source.logs[partition].committed, facts.mark(source.name, partition)
    assert facts.store is not None
    if facts.store.beyond is None or (source.name, partition) in facts.store.beyond:
        return False
    if committed is None:
        return mark is None
    if committed == RESTORING:
        return True
    return committed == (source.begun(partition) if mark is None else mark + 1)


def _relations(facts: StartFacts) -> StartVerdict | None:
    """Refuse to go on with relations that have forgotten what was open, or missed what happened, without saying so."""
    return _of_customers(facts, "relations lost", facts.lost_relations(), facts.relate, facts.facts)


def _cases(facts: StartFacts) -> StartVerdict | None:
    """Refuse to go on with cases that were forgotten, or facts that nobody has looked at."""
    return _of_customers(facts, "cases lost", facts.lost_cases(), facts.cases, facts.case_facts)


def _of_customers(
    facts: StartFacts, name: str, lost: Sequence[int], changelog: Topic, read: Topic
) -> StartVerdict | None:
    if lost:
        text = f"{changelog.name} lost what it held of partitions {_listed(lost)}"
    elif read.committed and (read.anew or _count(_expired(read))):
        text = f"{read.name} was made anew, or lost records that were not read"
    else:
        return None
    return StartVerdict(name, text, _mend(facts))


def _blocks(facts: StartFacts) -> StartVerdict | None:
    topic = facts.blocks
    lost = topic.anew or any(
        log.committed is None and not log.end and any(_read(facts, p)) for p, log in enumerate(topic.logs)
    )
    expired = _count(_expired(topic))
    if not (lost or expired) or not facts.unstored():
        return None
    what = "was made anew" if lost else f"lost {expired:,} records"
    return StartVerdict("blocks lost", f"{topic.name} {what} before all of it was stored", _mend(facts))


def _read(facts: StartFacts, partition: int) -> Iterator[bool]:
    for source in facts.sources:
        yield (source.logs[partition].committed or 0) > source.begun(partition)


def _values(facts: StartFacts) -> StartVerdict | None:
    topic = facts.kpis
    used = topic.committed or facts.partials.committed or facts.used()
    expired = _count(_expired(topic))
    if not (used and topic.anew) and not expired:
        return None
    what = f"lost {expired:,} records" if expired else "was made anew"
    return StartVerdict("values lost", f"{topic.name} {what} before all of it was stored", _mend(facts))


def _behind(facts: StartFacts) -> StartVerdict | None:
    assert facts.store is not None
    empty = facts.store.epoch is None
    expired = empty and any(log.committed == log.start > 0 for log in facts.blocks.logs)
    held = [*facts.blocks_held, *facts.kpis_held]
    if not expired and all(one.last is not False for one in held):
        return None
    what = "is empty" if empty else "lacks what was stored"
    # What a restoration has written is in no topic: only the store knows where a later epoch began.
    reaches = facts.epoch in (0, facts.store.epoch) and all(
        topic.retained(p) or one.first is True
        for topic, of_topic in ((facts.blocks, facts.blocks_held), (facts.kpis, facts.kpis_held))
        for p, one in enumerate(of_topic)
    )
    if reaches and not expired:
        return StartVerdict("store behind", f"the store {what}: it is filled again from {facts.blocks.name}")
    return StartVerdict(
        "store lost",
        f"the store {what}, and {facts.blocks.name} and {facts.kpis.name} do not retain all of it",
        f"restore a backup; or, to go on with what the store and the touchpoint topics have, {_mend(facts)}",
    )


def _right(facts: StartFacts) -> StartVerdict:
    expired = tuple(_unread(facts))
    if expired:
        return StartVerdict(
            "expired",
            f"{_count(expired):,} records left their topics before they were read, the first of them"
            f" {expired[0][0]}/{expired[0][1]}: they are lost",
            "have the topics keep records for longer (retention.ms), or read them sooner",
            expired,
        )
    started = facts.used() or any(source.committed for source in facts.sources)
    return StartVerdict("right", "store, topics, changelogs and offsets agree" if started else "nothing was read yet")


def _unread(facts: StartFacts) -> Iterator[tuple[str, int, int]]:
    """Return what left the topics that can be gone on with all the same."""
    for source in facts.sources:
        yield from _expired(source)
        for p, log in enumerate(source.logs):
            mark = facts.mark(source.name, p)
            if log.committed is None and mark is not None and mark + 1 < log.start:
                yield source.name, p, log.start - mark - 1
    for topic in (facts.alerts, facts.notifications):
        yield from _expired(topic)


def _expired(topic: Topic) -> Iterator[tuple[str, int, int]]:
    for partition, log in enumerate(topic.logs):
        if log.committed is not None and log.committed < log.start:
            yield topic.name, partition, log.start - log.committed


def _count(expired: Iterator[tuple[str, int, int]] | Sequence[tuple[str, int, int]]) -> int:
    return sum(count for _, _, count in expired)


def _listed(*partitions: Sequence[int]) -> str:
    return ", ".join(map(str, sorted({p for some in partitions for p in some})))


def _raise(facts: StartFacts) -> str:
    return f"set CX_EPOCH={max(facts.epoch, facts.known_epoch or 0) + 1} for all of them"


def _mend(facts: StartFacts) -> str:
    return f"stop all workers, {_raise(facts)} and start them: they restore their state from the store"


_LOOKS: Final[Sequence[Callable[[StartFacts], StartVerdict | None]]] = (
    _partitions, _topics, _store, _epoch, _interrupted, _labels, _sources, _partials, _changelogs, _relations, _cases,
    _blocks, _values, _behind,
)  # fmt: skip
