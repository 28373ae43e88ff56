"""A store with a day of customers, and what the shipped relations made of them."""

import json

from streams.kpis.catalogue.catalogue import Catalogue
from streams.relations.catalogue import Relations, load
from streams.relations.results import event_of
from streams.relations.timelines import play
from streams.shipped import RELATIONS
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database
from tests.harness.pipeline import Pipeline
from tests.unit.test_relations_oracle import LATENESS, START, arrivals_of, history, iso


def fill_with_relations(database: Database) -> Relations:
    """
    Store events of customers c-0, c-1, … and what is derived of them until their last one; return the relations.

    Those from c-9 on turn out to be one person after twenty hours.
    """
    relations = load([RELATIONS])
    lines = history(relations, 1, events=900, days=1) + [
        json.dumps(
            {"specversion": "1.0", "id": f"link-{number}", "source": "s", "channel": "web", "subject": subject}
            | {"time": iso(START + 20 * 3_600_000), "type": f"cx.identity.{kind}", "data": data}
        )
        for number, (subject, kind, data) in enumerate(
            [("c-10", "linked", {"alias": "c-11"}), ("c-9", "merged", {"merged_into": "c-10"})]
        )
    ]
    arrivals = arrivals_of(lines)
    until = max(one.at for one in arrivals)
    played = [result for clock, result in play(relations, arrivals, LATENESS).results if clock <= until]
    writer = Writer(database.writer)
    pipeline = Pipeline(writer, Catalogue({}))
    pipeline.feed([line.encode() for line in lines])
    sent = [json.dumps(event_of(relations[one.relation], one)).encode() for one in played]
    pipeline.feed_derived(sent, until / 1000 + 1)
    pipeline.finish()
    writer.close()
    return relations
