"""Rebuild the cases that are not closed from the store, where what happened to them stands among the events."""

from collections.abc import Iterator

from clickhouse_connect.driver.client import Client

from streams.asking.desk import LATE_MS, SurveyDesk
from streams.definitions import case_rules_of, live_survey_rules_of
from streams.events.decode import decode_batch
from streams.loop.definition import CaseRules
from streams.loop.desk import CaseDesk
from streams.relations.facts import Fact
from streams.relations.ranges import FactRange
from streams.settings import Settings
from streams.storage.cases import STANDING, events_of_cases, events_of_surveys, read_cases
from streams.value.valuations import Valuations


def case_entries(client: Client, settings: Settings, now: float) -> Iterator[tuple[int, bytes, bytes]]:
    """
    Yield what the changelog of cases has to hold so that they, and surveys, go on: by partition, key and value.

    Of the facts that a case is about, only its opening is known; what its actions came to is as it was.

    Raises:
        CatalogueError: The rules for cases cannot be right.
        StorageError: The store does not answer, or refuses.
    """
    yield from _survey_entries(client, settings, now)
    rules = case_rules_of(settings) or CaseRules({})
    reader = rules.reader()
    refused = {line.name for row in read_cases(client, STANDING) for line in row.story if line.refused}
    facts: dict[int, list[tuple[str, Fact]]] = {}
    for partition, payload in events_of_cases(client):
        event = decode_batch([payload])[0][0]
        fact = reader.fact(event) if event is not None else None
        if event is not None and fact is not None and f"{fact.source} {fact.id}" not in refused:
            # What was judged once is not judged again: versions counted by another order by then.
            values = {name: value for name, value in fact.values.items() if name != "if_version"}
            facts.setdefault(partition, []).append(
                (event.subject, Fact(fact.time, fact.source, fact.id, fact.type, values))
            )
    for partition, found in facts.items():
        desk = CaseDesk(rules)
        desk.take(FactRange(f"restored/{partition}", 0, 0, None, caught_up=True, facts=found), 0)
        if desk.begin(now):
            for key, value in desk.records():
                if value is not None:
                    yield partition, key, value


def _survey_entries(client: Client, settings: Settings, now: float) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield what customers were shown, or may be on its way to them, as far back as it holds a survey back."""
    rules = live_survey_rules_of(settings)
    if rules is None:
        return
    reader, desks = rules.reader(answers=False), dict[int, SurveyDesk]()
    for partition, payload in events_of_surveys(client, (rules.longest_gap() + LATE_MS) / 1000):
        event = decode_batch([payload])[0][0]
        fact = reader.fact(event) if event is not None else None
        if event is not None and fact is not None:
            desks.setdefault(partition, SurveyDesk(rules, Valuations())).take(event.subject, fact, 0)
    for partition, desk in desks.items():
        if desk.begin(now):
            yield from ((partition, key, value) for key, value in desk.records(0) if value is not None)
