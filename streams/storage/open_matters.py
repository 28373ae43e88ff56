"""How many matters are open beside those that have ended, by relation: worked out from the stored events."""

from collections import Counter
from dataclasses import dataclass, field

from clickhouse_connect.driver.client import Client

from streams.relations.catalogue import Relations
from streams.relations.facts import is_made_up
from streams.relations.kinds import LookbackRelation
from streams.relations.recount import recount, still_open
from streams.storage.connection import FAILURES, explain
from streams.storage.persons import PersonScan


@dataclass
class RelationStanding:
    """
    How a relation stands at the watermark of what is stored.

    Attributes:
        open: Matters that wait for their end, and are in no share of the others.
        oldest_ms: When the oldest of them was opened; None: none is open.
        ended: Matters by outcome.
        stages: Journeys by the stage that they are in.
    """

    open: int = 0
    oldest_ms: int | None = None
    ended: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)


def standings(client: Client, relations: Relations, lateness_s: float) -> dict[str, RelationStanding]:
    """
    Return how each relation stands that waits for something; memory is bounded by the customers of one bucket.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    waiting = {name: one for name, one in relations.items() if not isinstance(one, LookbackRelation)}
    found = {name: RelationStanding() for name in waiting}
    try:
        scan = PersonScan(client, relations)
        until = scan.watermarks(lateness_s)
        for person, _ in scan.persons():
            if is_made_up(person.keys[0]) or not person.events:
                continue
            facts = [event.fact for event in person.events]
            end = min(until.get(event.partition, 0) for event in person.events)
            for name, relation in waiting.items():
                standing = found[name]
                for ended in recount(relation, person.keys[0], facts, end):
                    standing.ended[ended.result.data["outcome"]] += 1
                for matter in still_open(relation, facts, end):
                    opened = matter.inside[0].time
                    standing.open += 1
                    standing.oldest_ms = min(opened, standing.oldest_ms or opened)
                    standing.stages.update([matter.kept["stage"]] if relation.kind == "stages" else [])
    except FAILURES as error:
        raise explain(error, "reading what relations read") from error
    return found
