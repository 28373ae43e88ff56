"""An incident goes through the whole job: it fires, with its evidence, to the topic, the store, a webhook; and ends."""

import json
import time

import pytest

from streams.delivery.webhook import signature
from tests.harness.incident import RULES, answer, answers
from tests.harness.receiver import Receiver

COLLAPSE = """
      - alert: CsatGone
        kpi: csat
        by: [channel]
        method: cusum
        params: {p0: 95, p1: 80, collapse: 40}
        window: 1h
        inhibit_by: []
        severity: page
        owner: customer-insight
        runbook: https://runbooks.example/csat
"""
SECRET = b"a secret of the test"
HOUR = 3600.0


@pytest.fixture
def receiver():
    with Receiver() as made:
        yield made


def alerting(pipelines, tmp_path, receiver, **settings):
    rules, secret = tmp_path / "rules.yaml", tmp_path / "secret"
    rules.write_text(RULES)
    secret.write_bytes(SECRET)
    # No source is left behind for its silence, and a store has the time it needs: who stalls would change what is judged.
    return pipelines(
        rules_path=rules, webhooks=f"{receiver.url}/hook", webhook_secret_file=secret, idle_s=3600, alert_words_s=60,
        public_url="https://cx.example", **settings,
    )  # fmt: skip


def start_minute(minutes_ago):
    return time.time() // 60 * 60 - 60 * minutes_ago


def log_of(pipeline):
    """Transitions by id, as the topic has them; what was sent again is the same."""
    found = {}
    for record in pipeline.consume(pipeline.topics.alerts):
        alert = json.loads(record.value)
        known = found.setdefault(alert["id"], alert)
        assert {**known, "published": 0} == {**alert, "published": 0}
    return [found[key] for key in sorted(found, key=lambda key: (key.split("/")[0], int(key.split("/")[2])))]


def test_an_incident_fires_and_ends(pipelines, tmp_path, receiver):
    pipeline = alerting(pipelines, tmp_path, receiver)
    worker = pipeline.start()
    start = start_minute(60)
    sent = pipeline.send(answers(start, 55, {"app": [range(20, 32)]}))
    pipeline.wait_stored(sent)
    pipeline.wait(lambda: len(receiver.received) >= 2, "both messages")

    # The topic: every transition, in order, about the one channel.
    log = [one for one in log_of(pipeline) if one["rule"] == "CsatLow"]
    assert [(one["old"], one["new"]) for one in log][:3] == [
        ("inactive", "pending"), ("pending", "firing"), ("firing", "resolved")
    ]  # fmt: skip
    assert {one["labels"]["channel"] for one in log} == {"app"}
    assert len({one["episode"] for one in log[:3]}) == 1
    pending, firing, resolved = log[:3]
    assert start + 20 * 60 < pending["at"] <= start + 26 * 60
    assert firing["minute"] - pending["minute"] == 3
    assert firing["why"].startswith("PENDING => FIRING: ")
    assert firing["evidence"]["value"] < 70
    assert firing["evidence"]["n"] >= 30
    assert firing["annotations"]["summary"].startswith("CSAT of app is ")
    assert firing["alert_labels"] == {"journey": "purchase"}
    assert resolved["minute"] > firing["minute"]
    assert f"alert CsatLow{{channel=app}} {firing['why']}" in worker.log.read_text()

    # The store: the same, with columns for the evidence.
    def stored():
        return pipeline.database.rows(
            "SELECT id, new, value, n, labels, links FROM alerts FINAL WHERE rule = 'CsatLow' ORDER BY at"
        )

    pipeline.wait(lambda: len(stored()) >= 3, "alerts in the store")
    rows = stored()
    assert [row[1] for row in rows][:3] == ["pending", "firing", "resolved"]
    assert rows[1][0] == firing["id"]
    assert rows[1][2] == pytest.approx(firing["evidence"]["value"])
    assert rows[1][4] == {"channel": "app"}
    assert set(rows[1][5]) == {"dashboard", "events", "runbook"}

    # The webhook: only what concerns people, signed, in order.
    # A receiver that was held up for long is told again, under the same id.
    told = {request.headers["idempotency-key"]: request for request in receiver.received}
    hooks = [request for request in told.values() if request.json["rule"] == "CsatLow"]
    assert [request.json["new"] for request in hooks] == ["firing", "resolved"]
    for request in hooks:
        stamp = int(request.headers["webhook-timestamp"])
        name = request.headers["idempotency-key"]
        assert request.headers["webhook-signature"] == signature(SECRET, name, stamp, request.body)
        assert request.json["id"] == name
    for name in ("dashboard", "events"):
        assert hooks[0].json["evidence"]["links"][name].startswith("https://cx.example/d/cx-explorer?")
    assert pipeline.verify().differences == []


def test_words_of_customers_travel_with_an_alert_that_fires_live(pipelines, tmp_path, receiver):
    """
    What is stored by the time it fires is in the alert: three recent texts of the channel, and none of another.

    A collapse is told before its minute has closed.
    """
    pipeline = alerting(pipelines, tmp_path, receiver)
    (tmp_path / "rules.yaml").write_text(RULES + COLLAPSE)
    pipeline.start()
    start = start_minute(40)
    touches = answers(start, 38, {"app": [range(20, 60)]})

    def heard(rule, channel):
        told = [request.json for request in receiver.received]
        return [one for one in told if (one["rule"], one["labels"]["channel"]) == (rule, channel)]

    early, late = touches[: 24 * 48], touches[24 * 48 :]
    pipeline.wait_stored(pipeline.send(early))
    pipeline.send(late)
    pipeline.wait(lambda: heard("CsatLow", "app"), "the message")
    [firing, *_] = heard("CsatLow", "app")
    assert firing["new"] == "firing"
    assert len(firing["evidence"]["verbatims"]) == 3, firing["annotations"]
    assert all("نرسید" in text for text in firing["evidence"]["verbatims"])

    pipeline.send([answer(10_000 + number, start + 38 * 60 + number, "web", 1) for number in range(30)])
    pipeline.wait(lambda: heard("CsatGone", "web"), "the collapse, though nothing closes the minute")
    [gone] = heard("CsatGone", "web")
    assert (gone["new"], gone["evidence"]["ahead"]) == ("firing", 3)
    assert gone["at"] == start + 36 * 60, (
        "as of the newest closed minute: others may still come late for those after it"
    )
    assert gone["evidence"]["window"] == "1m"
    assert gone["evidence"]["value"] < 30
    assert "of which the last is not over" in gone["why"]


def test_clickhouse_away_holds_back_no_alert(embedded_broker, tmp_path, receiver):
    """Without a store the alert says what it lacks, and goes out; the store gets it later."""
    from tests.harness.clickhouse import fresh_database, running_server
    from tests.harness.wholejob import Pipeline

    with running_server(tmp_path / "store", restart=False) as server, fresh_database(server) as database:
        rules = tmp_path / "rules.yaml"
        rules.write_text(RULES)
        pipeline = Pipeline(
            embedded_broker.bootstrap,
            database,
            tmp_path,
            rules_path=rules,
            webhooks=f"{receiver.url}/hook",
            idle_s=3600,
        )
        try:
            start = start_minute(60)
            pipeline.start()
            touches = answers(start, 55, {"app": [range(20, 32)]})
            first = pipeline.send(touches[:48])
            pipeline.wait_stored(first)
            server.stop()
            pipeline.send(touches[48:])
            pipeline.wait(lambda: len(receiver.received) >= 2, "both messages")
            firing = receiver.received[0].json
            assert firing["new"] == "firing"
            assert firing["annotations"]["incomplete"].startswith("without customers' words")
            server.start()
            pipeline.wait_stored(len(touches))
            stored = "SELECT count() FROM alerts FINAL WHERE rule = 'CsatLow'"
            pipeline.wait(lambda: database.value(stored) >= 3, "alerts in the store")
        finally:
            pipeline.close()


def test_a_bad_rule_refuses_the_start_with_file_and_line(pipelines, tmp_path, receiver):
    pipeline = alerting(pipelines, tmp_path, receiver)
    (tmp_path / "rules.yaml").write_text(RULES.replace("method: floor", "method: flor"))
    worker = pipeline.start()
    assert worker.exit_code() == 1
    assert "rules.yaml:8" in worker.tail() or "rules.yaml, line 8" in worker.tail()
    assert "floor" in worker.tail()


def test_a_webhook_in_the_open_refuses_the_start(pipelines, tmp_path, receiver):
    pipeline = alerting(pipelines, tmp_path, receiver)
    pipeline.environment["CX_WEBHOOKS"] = "http://hooks.example/x"
    worker = pipeline.start()
    assert worker.exit_code() == 1
    assert "in the open" in worker.tail()
