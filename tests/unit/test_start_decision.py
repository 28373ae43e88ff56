"""Every combination of store, topics, changelogs, offsets and epoch has one verdict; the documentation has them all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.agents.records import position
from streams.events.scalars import CHANNELS, DERIVED
from streams.start.decision import CASES, decide
from streams.start.facts import RESTORING, Held, Log, StartFacts, StoredSource, Topic

OPERATIONS = Path(__file__).parents[2] / "docs" / "OPERATIONS.md"
PARTITIONS = 2
READ = 100
"""Records of each source partition: all read, all stored."""


def topic(name: str, *logs: Log) -> Topic:
    return Topic(name, logs, id=f"{name}-1", known_id=f"{name}-1")


def same(name: str, log: Log) -> Topic:
    return topic(name, *[log] * PARTITIONS)


def running(epoch: int = 0) -> StartFacts:
    """An installation at rest: everything read, merged and stored."""
    sources = tuple(same(f"cx.touchpoints.{channel}", Log(0, READ, READ)) for channel in (*CHANNELS, DERIVED))
    stored = Held(last=True)
    facts = StartFacts(
        epoch=epoch,
        partitions=PARTITIONS,
        sources=sources,
        ingest=same("cx-ingest-changelog", Log(0, 10, 10)),
        merge=same("cx-merge-changelog", Log(0, 10, 10)),
        relate=same("cx-relate-changelog", Log(0, 10, 10)),
        facts=same("cx.facts", Log(0, 40, 40)),
        cases=same("cx-cases-changelog", Log(0, 10, 10)),
        case_facts=same("cx.case_facts", Log(0, 40, 40)),
        case_rows=same("cx.cases", Log(0, 4, 4)),
        partials=same("cx.kpi.partials", Log(0, 40, 40)),
        blocks=same("cx.blocks", Log(0, 8, 8)),
        kpis=same("cx.kpis", Log(0, 50, 50)),
        alerts=same("cx.alerts", Log(0, 2, 2)),
        notifications=same("cx.notifications", Log(0, 0)),
        newest=epoch,
        store=StoredSource(
            epoch=epoch,
            partitions=PARTITIONS,
            marks={(source.name, p): position(epoch, READ - 1) for source in sources for p in range(PARTITIONS)},
        ),
        blocks_held=(stored,) * PARTITIONS,
        kpis_held=(stored,) * PARTITIONS,
    )
    return replace(facts, counts={one.name: PARTITIONS for one in facts.topics})


def fresh(epoch: int = 0) -> StartFacts:
    """Topics and tables that were just made."""
    facts = running(epoch)

    def empty(one: Topic) -> Topic:
        return replace(one, logs=(Log(),) * PARTITIONS, known_id="")

    return replace(
        each(facts, empty), newest=None, store=StoredSource(), blocks_held=(Held(),) * PARTITIONS,
        kpis_held=(Held(),) * PARTITIONS,
    )  # fmt: skip


def each(facts: StartFacts, change: Callable[[Topic], Topic]) -> StartFacts:
    """The same with all topics changed."""
    names = (
        "ingest", "merge", "relate", "facts", "cases", "case_facts", "case_rows", "partials", "blocks", "kpis",
        "alerts", "notifications",
    )  # fmt: skip
    return replace(
        facts, sources=tuple(map(change, facts.sources)), **{name: change(getattr(facts, name)) for name in names}
    )


def with_log(facts: StartFacts, name: str, p: int = 0, **changes: Any) -> StartFacts:
    """The same with one partition of one topic changed; `sources` means the first of them."""
    one = facts.sources[0] if name == "sources" else getattr(facts, name)
    logs = [*one.logs]
    logs[p] = logs[p]._replace(**changes)
    return with_topic(facts, name, logs=tuple(logs))


def with_topic(facts: StartFacts, name: str, **changes: Any) -> StartFacts:
    if name == "sources":
        return replace(facts, sources=(replace(facts.sources[0], **changes), *facts.sources[1:]))
    return replace(facts, **{name: replace(getattr(facts, name), **changes)})


def made_anew(facts: StartFacts, *names: str) -> StartFacts:
    """Topics deleted and created: another id, no records, no offsets."""
    for name in names:
        facts = with_topic(facts, name, id="anew", logs=(Log(),) * PARTITIONS)
    return facts


def with_store(facts: StartFacts, **changes: Any) -> StartFacts:
    assert facts.store is not None
    return replace(facts, store=replace(facts.store, **changes))


def behind(facts: StartFacts, **changes: Any) -> StartFacts:
    """A store that lacks what was stored of all topics."""
    lacking = (Held(last=False, first=changes.pop("first", None)),) * PARTITIONS
    return with_store(replace(facts, blocks_held=lacking, kpis_held=lacking), **changes)


def dropped(facts: StartFacts) -> StartFacts:
    return behind(facts, epoch=None, partitions=None, marks={})


ALL = ("sources", "ingest", "merge", "partials", "blocks", "kpis", "alerts", "notifications")


def all_anew(facts: StartFacts) -> StartFacts:
    facts = each(facts, lambda one: replace(one, id="anew", logs=(Log(),) * PARTITIONS))
    return replace(facts, newest=None, blocks_held=(Held(),) * PARTITIONS, kpis_held=(Held(),) * PARTITIONS)


def without_offsets(facts: StartFacts) -> StartFacts:
    """The group's offsets have expired, or somebody has deleted the group."""
    return each(facts, lambda one: replace(one, logs=tuple(log._replace(committed=None) for log in one.logs)))


def nameless(facts: StartFacts) -> StartFacts:
    """A broker that does not tell what topics are called, or a store that recorded nothing."""
    return each(facts, lambda one: replace(one, id="", known_id=""))


TABLE: list[tuple[str, StartFacts, str]] = [
    # Nothing is wrong.
    ("at rest", running(), "right"),
    ("at rest under a higher epoch", running(3), "right"),
    ("fresh", fresh(), "right"),
    ("fresh under a higher epoch", fresh(2), "right"),
    ("sources go on while nobody reads", with_log(running(), "sources", end=500), "right"),
    ("not everything stored yet", with_log(running(), "blocks", committed=5), "right"),
    ("stored and not committed yet", with_log(running(), "sources", committed=60), "right"),
    ("first range frozen, nothing committed", with_log(fresh(), "ingest", end=1), "right"),
    ("topics of an installation that recorded no names", nameless(running()), "right"),
    ("a source that nothing was read of, made anew",
     with_store(made_anew(running(), "sources"), marks={}), "right"),
    ("offsets of a stopped group expired",
     without_offsets(running()), "right"),
    ("offsets expired, and sums are gone", without_offsets(with_log(running(), "merge", start=10)), "sums lost"),
    ("offsets expired, and sums were made anew", without_offsets(made_anew(running(), "merge")), "sums lost"),
    ("offsets expired, and values were made anew", without_offsets(made_anew(running(), "kpis")), "values lost"),
    ("alerts made anew", made_anew(running(), "alerts", "notifications"), "right"),
    ("blocks made anew, all stored", made_anew(running(), "blocks"), "right"),
    # The store is away.
    ("store away", replace(running(), store=None), "not compared"),
    ("store away, epoch raised", replace(running(), store=None, epoch=1), "store away"),
    ("store away, nothing read", replace(fresh(), store=None), "store away"),
    ("store away, ids lost", made_anew(replace(running(), store=None), "ingest"), "store away"),
    ("store away, sums lost", with_log(replace(running(), store=None), "merge", end=0), "store away"),
    ("store away, ids cut at their end", with_log(replace(running(), store=None), "ingest", end=9), "store away"),
    ("store away, sums cut at their end", with_log(replace(running(), store=None), "merge", end=9), "store away"),
    ("store away, restoration interrupted", with_log(replace(running(), store=None), "partials", committed=RESTORING),
     "store away"),
    ("store away, partials expired", with_log(replace(running(), store=None), "partials", start=41, end=50), "store away"),
    ("store away, source cut", with_log(replace(running(), store=None), "sources", end=90), "store away"),
    ("tables missing", replace(running(), store=StoredSource(tables=False)), "no tables"),
    ("tables missing, fresh", replace(fresh(), store=StoredSource(tables=False)), "no tables"),
    # Topics and partitions.
    ("topic missing", replace(running(), missing=("cx.blocks",)), "no topic"),
    ("partitions raised in the settings", replace(running(), partitions=4), "partitions"),
    ("partitions raised on topics and in the settings",
     replace(running(), partitions=4, counts=dict.fromkeys(running().counts, 4)), "partitions"),
    ("partitions raised on topics", replace(running(), counts=dict.fromkeys(running().counts, 4)), "partitions"),
    ("partitions lowered in the settings", replace(running(), partitions=1), "partitions"),
    ("one topic with other partitions", replace(fresh(), counts={**fresh().counts, "cx.kpis": 3}), "partitions"),
    ("partitions raised, store recorded nothing",
     with_store(
         replace(
             each(running(), lambda one: replace(one, logs=(*one.logs, Log(0, 0)))),
             partitions=3, counts=dict.fromkeys(running().counts, 3)),
         partitions=None), "partitions"),
    # The epoch.
    ("epoch lowered", replace(running(2), epoch=1), "epoch lowered"),
    ("epoch lowered, seen in the blocks", with_store(replace(running(2), epoch=1), epoch=1), "epoch lowered"),
    ("epoch raised", replace(running(), epoch=1), "epoch raised"),
    ("labels of an earlier version", with_store(running(), labels=0, named_otherwise=3), "other labels"),
    ("labels of an earlier version, none of them otherwise", with_store(running(), labels=0), "right"),
    ("labels of an earlier version, epoch raised",
     with_store(replace(running(), epoch=1), labels=0, named_otherwise=3), "epoch raised"),
    ("epoch raised, topics anew", replace(all_anew(running()), epoch=1), "epoch raised"),
    ("epoch raised, database dropped", replace(dropped(running()), epoch=1), "epoch raised"),
    ("epoch raised, everything lost", replace(made_anew(running(), *ALL), epoch=1), "epoch raised"),
    ("epoch raised, topics and database anew", replace(fresh(), epoch=1), "right"),
    ("backup from before the epoch was raised", behind(running(1), epoch=0, first=False), "store lost"),
    ("restoration interrupted, nothing taken in under this epoch",
     with_store(replace(with_log(running(1), "partials", committed=RESTORING), newest=None), marks={}), "interrupted"),
    ("restoration interrupted before it was recorded",
     replace(with_log(running(), "partials", committed=RESTORING), epoch=1), "epoch raised"),
    ("restoration interrupted under an epoch that was used",
     with_log(running(1), "partials", committed=RESTORING), "sums lost"),
    # Sources.
    ("all topics anew, same epoch", all_anew(running()), "sources anew"),
    ("all topics anew, same epoch, no names", all_anew(nameless(running())), "sources anew"),
    ("one source anew", made_anew(running(), "sources"), "sources anew"),
    ("one source anew, longer than before",
     with_topic(running(), "sources", id="anew", logs=(Log(0, 900),) * PARTITIONS), "sources anew"),
    ("one source cut behind what was committed", with_log(running(), "sources", end=90), "sources anew"),
    ("one source cut behind what was stored", with_log(running(), "sources", end=90, committed=80), "sources anew"),
    ("records expired before they were read", with_log(running(), "sources", start=120, end=130), "expired"),
    ("records expired, offsets too", with_log(running(), "sources", start=120, end=130, committed=None), "expired"),
    ("alerts expired before they were stored", with_log(running(), "alerts", start=3, end=4), "expired"),
    # Changelogs.
    ("ids restored behind a cut",
        with_topic(with_log(running(), "ingest", start=4), "ingest", begins=(4, 0)), "right"),
    ("ids cut again", with_topic(with_log(running(), "ingest", start=5), "ingest", begins=(4, 0)), "ids lost"),
    ("ids emptied", with_log(running(), "ingest", start=10), "ids lost"),
    ("ids cut", with_log(running(), "ingest", start=4), "ids lost"),
    ("ids cut at their end", with_log(running(), "ingest", end=9), "ids lost"),
    ("ids cut at their end, not all stored",
     with_store(with_log(running(), "ingest", end=9),
                marks={**running().store.marks, ("cx.touchpoints.web", 0): 60}), "ids in doubt"),  # type: ignore[union-attr]
    ("ids of one partition cut at their end, another in doubt",
     with_log(with_log(running(), "ingest", end=9), "sources", 1, committed=60), "ids lost"),
    ("ids written and not committed", with_log(running(), "ingest", end=11), "right"),
    ("ids of an installation that committed no ends", with_log(running(), "ingest", committed=None), "right"),
    ("ids anew", made_anew(running(), "ingest"), "ids lost"),
    ("ids anew, filled by somebody", with_topic(running(), "ingest", id="anew"), "ids lost"),
    ("ids lost, a range in doubt",
     with_log(with_log(running(), "ingest", end=0), "sources", committed=60), "ids in doubt"),
    ("ids lost, not all stored",
     with_store(with_log(running(), "ingest", end=0),
                marks={**running().store.marks, ("cx.touchpoints.web", 0): 60}), "ids in doubt"),  # type: ignore[union-attr]
    ("ids lost of one partition, another in doubt",
     with_log(with_log(running(), "ingest", end=0), "sources", 1, committed=60), "ids lost"),
    ("ids lost, an insert cut off",
     with_store(with_log(running(), "ingest", end=0), beyond=frozenset({("cx.touchpoints.web", 0)})), "ids in doubt"),
    ("restoration of ids interrupted",
     with_log(running(), "sources", committed=RESTORING), "ids lost"),
    ("relations emptied", with_log(running(), "relate", start=10), "relations lost"),
    ("relations anew", made_anew(running(), "relate"), "relations lost"),
    ("facts expired", with_log(running(), "facts", start=41, end=45), "relations lost"),
    ("cases emptied", with_log(running(), "cases", start=10), "cases lost"),
    ("cases anew", made_anew(running(), "cases"), "cases lost"),
    ("facts of cases expired", with_log(running(), "case_facts", start=41, end=45), "cases lost"),
    ("sums emptied", with_log(running(), "merge", start=10), "sums lost"),
    ("sums cut at their end", with_log(running(), "merge", end=9), "sums lost"),
    ("both changelogs cut at their end",
     with_log(with_log(running(), "ingest", end=9), "merge", 1, end=9), "sums lost"),
    ("sums written and not committed", with_log(running(), "merge", end=11), "right"),
    ("sums of an installation that committed no ends", with_log(running(), "merge", committed=None), "right"),
    ("sums anew", made_anew(running(), "merge"), "sums lost"),
    ("both changelogs anew", made_anew(running(), "ingest", "merge"), "sums lost"),
    # Topics in between.
    ("partials anew", made_anew(running(), "partials"), "partials lost"),
    ("partials cut", with_log(running(), "partials", end=30), "partials lost"),
    ("partials expired", with_log(running(), "partials", start=41, end=50), "partials lost"),
    ("blocks anew, not all stored",
     with_store(made_anew(running(), "blocks"), marks={("cx.touchpoints.web", 0): 60}), "blocks lost"),
    ("blocks anew, not all stored, no names",
     with_store(made_anew(nameless(running()), "blocks"), marks={("cx.touchpoints.web", 0): 60}), "blocks lost"),
    ("blocks expired", with_store(
        with_log(running(), "blocks", start=9, end=12), marks={("cx.touchpoints.web", 0): 60}), "blocks lost"),
    ("blocks expired, all stored", with_log(running(), "blocks", start=9, end=12), "right"),
    ("sums and partials anew", made_anew(running(), "merge", "partials"), "partials lost"),
    ("sums and partials anew, no names", made_anew(nameless(running()), "merge", "partials"), "sums lost"),
    ("values anew", made_anew(running(), "kpis"), "values lost"),
    ("values expired", with_log(running(), "kpis", start=51, end=60), "values lost"),
    # The store.
    ("database dropped", dropped(running()), "store behind"),
    ("database dropped, topics anew", dropped(all_anew(fresh())), "store behind"),
    ("older backup", behind(running()), "store behind"),
    ("only values are missing", replace(running(), kpis_held=(Held(last=False), Held(last=True))), "store behind"),
    ("older backup, the rest is retained",
     with_log(behind(running(), first=True), "blocks", start=3), "store behind"),
    ("older backup, the rest is not retained",
     with_log(behind(running(), first=False), "blocks", start=3), "store lost"),
    ("older backup, values are not retained",
     with_log(behind(running(), first=False), "kpis", start=3), "store lost"),
    ("database dropped, blocks expired", with_log(dropped(running()), "blocks", start=3), "store lost"),
    ("database dropped, blocks expired before they were looked at", with_log(
        replace(dropped(running()), blocks_held=(Held(),) * 2, kpis_held=(Held(),) * 2), "blocks", start=8), "store lost"),
    ("database dropped under a higher epoch", dropped(running(1)), "store lost"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "case"), [pytest.param(*row[1:], id=row[0]) for row in TABLE])
def test_each_combination_has_its_verdict(facts: StartFacts, case: str) -> None:
    """What was found, in words, with the way out wherever the start is refused, and no number that is not right."""
    verdict = decide(facts)
    assert verdict.case == case, str(verdict)
    assert verdict.text
    assert bool(verdict.mend) == (verdict.action == "refuse" or bool(verdict.expired))


SEVERITY = {"go": 0, "refill": 1, "restore ids": 1, "restore": 2, "refuse": 3}

LOSSES: dict[str, Callable[[StartFacts], StartFacts]] = {
    "store dropped": dropped,
    "store older": lambda facts: behind(facts, first=True),
    "topic missing": lambda facts: replace(facts, missing=("cx.blocks",)),
    "partitions": lambda facts: replace(facts, partitions=3),
    "epoch lowered": lambda facts: replace(facts, epoch=facts.epoch - 1),
    "source anew": lambda facts: made_anew(facts, "sources"),
    "source cut": lambda facts: with_log(facts, "sources", end=90),
    "source offset behind": lambda facts: with_log(facts, "sources", committed=60),
    "offsets gone": without_offsets,
    "ids emptied": lambda facts: with_log(facts, "ingest", start=10),
    "ids cut": lambda facts: with_log(facts, "ingest", start=4),
    "ids cut at their end": lambda facts: with_log(facts, "ingest", end=9),
    "ids anew": lambda facts: made_anew(facts, "ingest"),
    "sums emptied": lambda facts: with_log(facts, "merge", start=10),
    "sums cut at their end": lambda facts: with_log(facts, "merge", end=9),
    "sums anew": lambda facts: made_anew(facts, "merge"),
    "partials anew": lambda facts: made_anew(facts, "partials"),
    "partials expired": lambda facts: with_log(facts, "partials", start=41, end=50),
    "blocks anew": lambda facts: made_anew(facts, "blocks"),
    "blocks expired": lambda facts: with_log(facts, "blocks", start=9, end=12),
    "values anew": lambda facts: made_anew(facts, "kpis"),
}
UNSEEN = {"ids cut at their end", "sums cut at their end", "partials expired"}
"""Only the committed offsets tell of these. Sums go on from their marker then, and ranges that overlap are told."""
IN_TURN = {"ids emptied", "ids cut", "ids cut at their end", "ids anew"}
"""Restored first; then everything is looked at again."""


@pytest.mark.parametrize("one", LOSSES)
def test_two_losses_at_once_are_no_less_than_each_of_them(one: str) -> None:
    alone = {name: decide(lose(running(2))) for name, lose in LOSSES.items()}
    for other in LOSSES.keys() - {one}:
        both = decide(LOSSES[other](LOSSES[one](running(2))))
        seen = "offsets gone" not in {one, other} or not UNSEEN & {one, other}
        in_turn = both.case == "ids lost" and IN_TURN & {one, other}
        if seen and not in_turn:
            least = max(SEVERITY[alone[name].action] for name in (one, other))
            assert SEVERITY[both.action] >= least, f"{other}: {both.case}: {both}"


def test_the_table_has_every_case() -> None:
    assert {case for _, _, case in TABLE} == CASES.keys()


@pytest.mark.parametrize("row", [row for row in TABLE if CASES[row[2]][0] == "refuse"], ids=lambda row: row[0])
def test_what_is_advised_really_leads_on(row: tuple[str, StartFacts, str]) -> None:
    """Whoever raises the epoch as advised is not refused again, and state is restored."""
    verdict = decide(row[1])
    told = [word for word in verdict.mend.split() if word.startswith("CX_EPOCH=")]
    if not told:
        return
    epoch = int(told[-1].removeprefix("CX_EPOCH="))
    facts = replace(row[1], epoch=epoch)
    if verdict.case == "partitions":
        facts = replace(all_anew(running()), epoch=epoch)
    assert decide(facts).action == ("go" if verdict.case == "epoch lowered" else "restore")


def test_expired_records_are_counted() -> None:
    facts = with_log(with_log(running(), "sources", start=120, end=130), "alerts", start=3, end=4)
    assert decide(facts).expired == (("cx.touchpoints.web", 0, 20), ("cx.alerts", 0, 1))


def test_raised_partitions_say_what_is_true() -> None:
    """Topics that were enlarged cannot be made smaller: the way out leads over new ones, and the store."""
    enlarged = replace(running(), partitions=4, counts=dict.fromkeys(running().counts, 4))
    text = str(decide(enlarged))
    assert "begun with 2 partitions, CX_PARTITIONS is 4" in text
    assert "set CX_PARTITIONS=2" in text
    assert "delete all topics" in text
    assert "CX_EPOCH=1" in text
    assert str(decide(replace(running(), partitions=4))).endswith("set CX_PARTITIONS=2")


def test_the_documentation_has_the_table() -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    for found, done in (case[1:] for case in CASES.values()):
        assert f"| {found} | {done} |" in text
