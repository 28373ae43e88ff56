"""Cases live: opened by what customers said, moved on by people, told to other systems; exact through a kill."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.board.acting import AskedAction, CaseWriter
from streams.board.store import BoardStore
from streams.cli import main
from streams.delivery.webhook import signature
from streams.loop.desk import CaseDesk
from streams.loop.reading import load_rules
from streams.producers.cases import CaseSender
from streams.producers.readers.base import Touch
from streams.settings import load
from streams.start.cases import case_entries
from streams.storage.cases import read_cases
from tests.harness.receiver import Receiver

RULES = """
- id: low_nps
  kind: cause
  name: {en: Would not recommend us}
  opens: {events: cx.survey.answered, where: metric == 'nps' and score <= 6}
  severity: 3 if score <= 3 else 2
  tier: segment
  contact: 24h
  close: 48h
  warns: 2h
  reopens: 7d
- {id: care, kind: duty, owner: مراقبت}
- {id: order, kind: priority, parts: {tier: {of: tier, weight: 2, points: {gold: 3}}, severity: {of: severity, weight: 3}}}
"""


SURVEYS = """
- {id: limits, kind: limits, gap: 30d}
- {id: order, kind: survey, name: {en: Order}, touchpoint: checkout, opens: {events: cx.order.placed}}
"""


def touch(number: int, customer: str, kind: str, ago: timedelta, segment: str = "gold", **data: Any) -> Touch:
    at = (datetime.now(UTC) - ago).isoformat(timespec="milliseconds")
    raw = {"specversion": "1.0", "id": f"e{number}", "source": "/t", "type": f"cx.{kind}", "time": at}
    raw |= {"subject": customer, "channel": "web", "segment": segment, "data": data}
    return Touch(0.0, "web", customer, json.dumps(raw).encode())


def unhappy(number: int, customer: str, score: int, ago: timedelta, segment: str = "gold") -> Touch:
    answer = {"survey_id": "s", "metric": "nps", "scale": 10, "score": score}
    return touch(number, customer, "survey.answered", ago, segment, **answer)


def cx(pipeline: Any, *arguments: str) -> Any:
    environment = {**pipeline.environment, "COLUMNS": "80", "CX_CONFIG": ""}
    command = arguments if arguments[0] == "value" else ("cases", *arguments)
    return CliRunner().invoke(main, command, env=environment)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_cases_live(pipelines: Any, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES, encoding="utf-8")
    surveys = tmp_path / "surveys.yaml"
    surveys.write_text(SURVEYS, encoding="utf-8")
    secret = tmp_path / "secret"
    secret.write_text("a secret of webhooks")
    with Receiver() as receiver:
        pipeline = pipelines(
            partitions=2,
            cases=str(rules),
            surveys_live=True,
            surveys_path=str(surveys),
            idle_s=1,
            retention_s=200_000,
            case_webhooks=receiver.url,
            webhook_secret_file=str(secret),
        )
        worker = pipeline.start_alone()
        sent = [unhappy(1, "c-1", 2, timedelta(hours=1)), unhappy(2, "c-2", 5, timedelta(hours=23), "silver")]
        sent += [unhappy(3, "c-3", 9, timedelta(hours=1)), touch(4, "c-4", "page.viewed", timedelta(0), page="home")]
        sent += [
            touch(n, f"c-{n - 6}", "order.placed", timedelta(hours=3), amount=n, currency="EUR") for n in (7, 8, 9)
        ]
        pipeline.send(sent)
        pipeline.wait(lambda: opened(pipeline) == {"c-1", "c-2"}, "two cases")
        worker.kill()
        worker = pipeline.start_alone()
        pipeline.send([touch(10, "c-1", "order.placed", timedelta(hours=2), amount=0, currency="EUR")])
        pipeline.send(
            [unhappy(5, "c-1", 1, timedelta(minutes=30)), unhappy(6, "c-5", 0, timedelta(hours=30), "silver")]
        )
        pipeline.wait(lambda: opened(pipeline) == {"c-1", "c-2", "c-5"}, "a third one")
        said = "SELECT arraySort(groupArray((subject, type))) FROM events WHERE type IN ('cx.case.warned', 'cx.case.escalated')"
        expected = [("c-2", "cx.case.warned"), ("c-5", "cx.case.escalated"), ("c-5", "cx.case.warned")]
        pipeline.wait(lambda: pipeline.database.value(said) == expected, "one warning each, and one escalation")

        listed = json.loads(cx(pipeline, "list", "--json").output)
        ids = {one["subject"]: one["case_id"] for one in listed["cases"]}
        assert [one["subject"] for one in listed["cases"]] == ["c-1", "c-5", "c-2"]
        text = cx(pipeline, "list").output
        assert "مراقبت" in text
        assert max(map(len, text.splitlines())) <= 80

        taken = cx(pipeline, "contact", ids["c-1"], "--by", "Neda", "--key", "k1", "--json")
        assert json.loads(taken.output)["taken"] is True, taken.output
        again = cx(pipeline, "contact", ids["c-1"], "--by", "Neda", "--key", "k1", "--json")
        assert json.loads(again.output) == {**json.loads(taken.output), "repeat": True}
        stale = cx(pipeline, "close", ids["c-1"], "--outcome", "lost", "--if-version", "1", "--by", "Omid")
        assert (stale.exit_code, "contacted by Neda meanwhile, version 2" in stale.output) == (3, True), stale.output
        closed = cx(pipeline, "close", ids["c-1"], "--outcome", "rescued")
        assert (closed.exit_code, "closed: rescued, version 3" in closed.output) == (0, True), closed.output
        worth = json.loads(cx(pipeline, "value", "publish", "--json").output)
        assert (worth["customers"], worth["changed"]) == (3, 3)
        valued = "SELECT arraySort(groupArray((subject, JSONExtractFloat(data, 'clv'), channel, outcome))) FROM events WHERE type = 'cx.customer.valued'"
        told = [(f"c-{n}", n + 6.0, "web", "counted") for n in (1, 2, 3)]
        pipeline.wait(lambda: pipeline.database.value(valued) == told, "what customers are worth, through the broker")
        assert json.loads(cx(pipeline, "value", "publish", "--json").output)["changed"] == 0
        asked = "SELECT arraySort(groupArray((subject, type))) FROM events WHERE startsWith(type, 'cx.survey.') AND source = '/cx/surveys'"
        decided = [("c-1", "eligible"), ("c-1", "suppressed"), ("c-2", "eligible"), ("c-3", "eligible")]
        wanted = [(subject, f"cx.survey.{what}") for subject, what in decided]
        pipeline.wait(lambda: pipeline.database.value(asked) == wanted, "who may be asked")
        pipeline.wait(lambda: pipeline.total("surveys_suppressed")[1] == 1, "the KPI of those who were left alone")
        worths = "SELECT value FROM cases FINAL WHERE subject = 'c-2'"
        pipeline.wait(lambda: pipeline.database.value(worths) == 8.0, "a case that is open shows it")
        unknown = cx(pipeline, "assign", "none", "--to", "Omid")
        assert (unknown.exit_code, "there is no case none" in unknown.output) == (3, True)
        assert on_the_page(pipeline, ids["c-5"]) == [
            (200, "set to wait for the customer by Neda", False),
            (200, "set to wait for the customer by Neda", True),
            (409, "set to wait for the customer by Neda meanwhile, version 2", False),
            (404, "there is no case none", False),
        ]
        shown = cx(pipeline, "show", ids["c-1"]).output
        assert "closed: rescued" in shown
        assert "[refused: contacted by Neda meanwhile, version 2]" in shown

        kpi = "SELECT count() FROM events WHERE type = 'cx.case.contacted' AND JSONExtractBool(data, 'in_sla')"
        assert pipeline.database.value(kpi) == 1
        assert pipeline.database.value("SELECT count() FROM dead_letters") == 0
        pipeline.wait(lambda: pipeline.total("cases_opened")[1] == 3, "the KPI of openings")
        pipeline.wait(lambda: {"rescued"} <= outcomes(receiver), "the closing told")
        one = receiver.received[-1]
        headers = one.headers
        expected_signature = signature(
            b"a secret of webhooks", headers["webhook-id"], int(headers["webhook-timestamp"]), one.body
        )
        assert headers["webhook-signature"] == expected_signature
        pipeline.wait(lambda: not pipeline.verify().differences, "verified")
        assert restored(pipeline, rules) == {
            row.case_id: (row.state, row.version) for row in read_cases(pipeline.database.client)
        }


def on_the_page(pipeline: Any, case_id: str) -> list[tuple[int, str, bool]]:
    """What becomes of what two people do to one case on the page, the first of them twice."""
    settings = load(environ=pipeline.environment, kafka=pipeline.bootstrap)
    writer = CaseWriter(BoardStore(pipeline.database.reader), CaseSender(settings))

    async def act() -> list[tuple[int, str, bool]]:
        asked = [
            (case_id, "held", "Neda"),
            (case_id, "held", "Neda"),
            (case_id, "closed", "Omid"),
            ("none", "held", "Neda"),
        ]
        said = {"held": {}, "closed": {"outcome": "lost"}}
        answers = [await writer.act(one, AskedAction(what, 1, said[what]), by) for one, what, by in asked]
        return [(answer.status, answer.says, answer.repeat) for answer in answers]

    try:
        return asyncio.run(act())
    finally:
        writer.close()


def restored(pipeline: Any, rules: Path) -> dict[str, tuple[str, int]]:
    """State and version of the cases that workers would begin with, had their changelogs been lost."""
    settings = load(environ={}, cases=str(rules))
    found = {}
    for partition, key, value in case_entries(pipeline.database.client, settings, 1e9):
        desk = CaseDesk(load_rules([rules]), partition=partition)
        desk.restore([(key, value)])
        cases = ((case_id, file.case(lambda _cause: None)) for _, case_id, file in desk.files())
        found |= {case_id: (case.state, case.version) for case_id, case in cases if case is not None}
    return found


def opened(pipeline: Any) -> set[str]:
    return {subject for (subject,) in pipeline.database.rows("SELECT subject FROM cases FINAL")}


def outcomes(receiver: Receiver) -> set[str]:
    return {one.json["case"]["outcome"] for one in receiver.received}
