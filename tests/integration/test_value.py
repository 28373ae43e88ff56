"""What customers are worth, from stored events: against plain Python, and by the commands."""

import csv
import json
import os
import random
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from streams.cli import main
from streams.producers.readers import DATA_SETS, DataSetError, read
from streams.shipped import CLONE
from streams.storage.writer import Writer
from tests.harness.clickhouse import Database, block_of, event, fresh_database
from tests.harness.sent import Sent

ROOT = Path(os.environ.get("CX_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
START = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2026, 4, 15, tzinfo=UTC)
PEOPLE = [*(f"c{number}" for number in range(60)), "مشتری-۱", "a 'b\\c"]


class _World:
    """Customers who order on several channels, get money back, fail to pay, and buy in stores."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.lines: list[dict[str, Any]] = []
        for subject in PEOPLE:
            for _ in range(self.chance.choice((0, 1, 1, 2, 3, 6))):
                self._buy(subject)
        for _ in range(5):
            self._say(
                "", START - timedelta(days=20), "cx.order.placed", {"amount": 9.0, "currency": "EUR"}, orderid="whose"
            )
        self._say("", START, "cx.order.refund_completed", {"amount": 9.0}, orderid="whose")
        for subject in PEOPLE:
            score = {"risk": self.chance.choice((0.2, 0.6)), "horizon_d": 30}
            self._say(subject, START + timedelta(days=40), "cx.churn.scored", {**score, "model": "logit"})
            self._say(
                subject, START + timedelta(days=90), "cx.churn.scored", {"risk": 0.5, "horizon_d": 30, "model": "new"}
            )
        self._say("c0", START, "cx.order.placed", {"amount": 7.77, "currency": "EUR"})
        self._say("c0", UNTIL, "cx.session.started", {})

    def _buy(self, subject: str) -> None:
        chance = self.chance
        at = START + timedelta(days=chance.uniform(0, 100))
        order, channel = f"o{len(self.lines)}", chance.choice(("web", "app", "call_center"))
        amount, currency = chance.randint(0, 300) / 10, chance.choice(("EUR", "EUR", "EUR", "IRR", ""))
        data = {"amount": amount, **({"currency": currency} if currency else {})}
        kind = chance.choice(
            ("plain",) * 6 + ("refund", "over", "cancel", "failed", "retried", "till", "unknown", "test")
        )
        if kind == "till":
            self._say(subject, at, "cx.store.pos_transaction", data, orderid=order, channel="store")
            if chance.random() < 0.5:
                back = {**data, "refund": True}
                self._say(
                    subject, at + timedelta(days=1), "cx.store.pos_transaction", back, orderid=order, channel="store"
                )
            return
        if kind == "unknown":
            data = {"items": 2}
        self._say(
            subject, at, "cx.order.placed", data, channel=channel, synthetic=kind == "test",
            **({} if kind == "plain" else {"orderid": order}),
        )  # fmt: skip
        later = {"orderid": order, "channel": channel}
        if kind in {"refund", "over"}:
            part = {**data, "amount": amount * (2 if kind == "over" else 0.5)}
            self._say(subject, at + timedelta(days=2), "cx.order.refund_initiated", part, **later)
            self._say(subject, at + timedelta(days=3), "cx.order.refund_completed", part, **later)
        elif kind == "cancel":
            self._say(subject, at + timedelta(hours=2), "cx.order.cancelled", {"by": "customer"}, **later)
        elif kind in {"failed", "retried"}:
            self._say(subject, at, "cx.payment.failed", {"code": "51"}, **later)
            if kind == "retried":
                self._say(subject, at, "cx.payment.succeeded", {}, **later)

    def _say(self, subject: str, at: datetime, kind: str, data: dict[str, Any], **more: Any) -> None:
        made = {
            **json.loads(event(len(self.lines), type=kind)), "id": f"e{len(self.lines)}", "channel": "web", "data": data,
            "time": at.isoformat(timespec="milliseconds"), "subject": subject, **more,
        }  # fmt: skip
        self.lines.append({name: value for name, value in made.items() if value != ""})


def _bought(lines: Sequence[dict[str, Any]]) -> Iterator[tuple[str, datetime, str, float | None]]:
    """Give customer, time, currency and what is left of each paid order: in plain Python."""
    real = [one for one in lines if not one.get("synthetic") and one.get("subject")]
    about: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in real:
        about[one.get("orderid", one["id"])].append(one)
    for events in about.values():
        kinds = {one["type"] for one in events}
        first = events[0]
        if first["type"] not in {"cx.order.placed", "cx.store.pos_transaction"}:
            continue
        if "cx.payment.failed" in kinds and "cx.payment.succeeded" not in kinds:
            continue
        if "cx.order.cancelled" in kinds:
            continue
        back = max((one["data"]["amount"] for one in events[1:] if "amount" in one["data"]), default=0.0)
        net = first["data"].get("amount")
        if net is not None:
            net = max(0.0, net - back)
        yield first["subject"], datetime.fromisoformat(first["time"]), first["data"].get("currency", ""), net


def _sent(line: dict[str, Any]) -> bytes:
    """An event as it is sent: of a key that stands twice the last value counts."""
    return json.dumps(line).replace('"amount": 7.77', '"amount": 1, "amount": 7.77').encode()


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return _World(7).lines


@pytest.fixture(scope="module")
def filled(clickhouse: Any, lines: list[dict[str, Any]]) -> Iterator[Database]:
    """A store with these events, every tenth of which came late."""
    with fresh_database(clickhouse) as database:
        writer = Writer(database.writer)
        writer.insert_block(block_of([_sent(one) for one in lines], late_offsets=range(0, len(lines) - 1, 10)))
        writer.close()
        yield database


def connected(address: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    (folder / "password").write_text(address.password)
    monkeypatch.setenv("CX_CLICKHOUSE", address.url)
    monkeypatch.setenv("CX_CLICKHOUSE_DATABASE", address.database)
    monkeypatch.setenv("CX_CLICKHOUSE_USER", address.user)
    monkeypatch.setenv("CX_CLICKHOUSE_PASSWORD_FILE", str(folder / "password"))
    return CliRunner()


@pytest.fixture
def cx(filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    return connected(filled.reader, tmp_path, monkeypatch)


def asked(cx: CliRunner, *arguments: str) -> Any:
    answer = cx.invoke(main, ["value", *arguments, "--json"])
    assert answer.exit_code == 0, answer.output
    return json.loads(answer.output)


def test_tiers_hold_what_plain_python_finds(cx: CliRunner, lines: list[dict[str, Any]]) -> None:
    worth: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for customer, _, currency, net in _bought(lines):
        if net is not None:
            worth[currency][customer] += net
    found = asked(cx, "tiers", "--customers")
    assert found["tiers"].keys() == worth.keys() == {"", "EUR", "IRR"}
    for currency, tiers in found["tiers"].items():
        merged = {customer: value for tier in tiers for customer, value in tier["worth"].items()}
        assert merged == pytest.approx(worth[currency])
        assert [len(tier["worth"]) for tier in tiers] == [tier["customers"] for tier in tiers]
    assert set(found["tiers"]["EUR"][0]["worth"]) <= set(PEOPLE)
    assert found["anonymous_orders"] == 5
    assert [*found["left_out"]] == ["more given back than the order was worth"], "refunds of orders of nobody are none"
    assert asked(cx, "tiers", "--to", "2026-02-01")["left_out"].keys() <= found["left_out"].keys()
    text = cx.invoke(main, ["value", "tiers", "--by", "revenue", "--limits", "۵۰,80", "--customers"]).output
    assert re.search(r"^EUR +high +\d+ ", text, re.MULTILINE), text
    assert "5 orders without a customer" in text


def test_what_is_published_is_told_once(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    cx = connected(filled.writer, tmp_path, monkeypatch)
    sent = Sent()
    monkeypatch.setattr("streams.commands.value_publish.producer_of", lambda _: sent)
    first = asked(cx, "publish", "--month", "2026-03")
    paid = {customer for customer, _, _, net in _bought(lines) if net}
    assert {one["subject"] for one in sent.events} == paid
    assert (first["customers"], first["changed"], first["month"]) == (len(paid), len(paid), "2026-03")
    # Neither model is calibrated: no risk is told.
    assert first["models"] == []
    assert not any("churn_risk" in one["data"] for one in sent.events)
    summary = asked(cx, "summary", "--month", "2026-03")
    stored = dict(filled.rows("SELECT measure, value FROM value_measured WHERE tier = '' AND currency IN ('', 'EUR')"))
    assert stored["retention"] == summary["retention"]["value"]
    assert stored["arpu"] == summary["money"]["EUR"]["arpu"]["value"]
    assert filled.value("SELECT uniqExact(tier) FROM value_measured") > 3
    at = (UNTIL - timedelta(days=1)).isoformat()
    payloads = [json.dumps({"specversion": "1.0", "time": at, **one}).encode() for one in sent.events[1:]]
    writer = Writer(filled.writer)
    writer.insert_block(block_of(payloads, 900_000))
    writer.close()
    forgotten, sent.events = sent.events[0], []
    again = asked(cx, "publish", "--month", "2026-03")
    assert again["changed"] == 1
    assert sent.events == [forgotten], "what was not stored is told again, under the same id"
    assert filled.value("SELECT count() FROM value_measured") == len(again["measures"])
    monkeypatch.setattr("streams.commands.value_publish.producer_of", lambda _: Sent(takes=False))
    refused = cx.invoke(main, ["value", "publish"])
    assert refused.exit_code == 1
    assert "1 of 1 changes are not sent: Kafka does not take them" in refused.output


def test_a_month_is_what_plain_python_finds(cx: CliRunner, lines: list[dict[str, Any]]) -> None:
    zone = timedelta(hours=3, minutes=30)
    months: dict[int, set[str]] = defaultdict(set)
    revenue: dict[str, float] = defaultdict(float)
    active: dict[str, set[str]] = defaultdict(set)
    for customer, at, currency, net in _bought(lines):
        month = (at + zone).month
        if net is None or net > 0:
            months[month].add(customer)
        if month == 3 and net is not None:
            revenue[currency] += net
            active[currency].add(customer)
    found = asked(cx, "summary", "--zone", "Asia/Tehran")
    assert (found["month"], found["complete"]) == ("2026-03", True)
    assert (found["since"], found["until"]) == ("2026-02-28T20:30:00+00:00", "2026-03-31T20:30:00+00:00")
    kept = len(months[2] & months[3])
    assert found["start_customers"] == len(months[2])
    assert found["end_customers"] == len(months[3])
    assert found["retention"]["value"] == pytest.approx(100 * kept / len(months[2]))
    assert found["churn"]["value"] == pytest.approx(100 - found["retention"]["value"])
    assert found["churn"]["lo"] < found["churn"]["value"] < found["churn"]["hi"]
    assert found["money"].keys() == revenue.keys()
    for currency, money in found["money"].items():
        assert money["revenue"] == pytest.approx(revenue[currency])
        assert money["arpu"]["value"] == pytest.approx(revenue[currency] / len(active[currency]))
        assert money["arpu"]["n"] == len(active[currency])
        assert money["clv_predictive"]["value"] == pytest.approx(
            money["arpu"]["value"] / (found["churn"]["value"] / 100)
        )  # fmt: skip
    assert asked(cx, "summary", "--month", "۲۰۲۶-۰۳", "--zone", "Asia/Tehran") == found
    open_yet = asked(cx, "summary", "--month", "2026-04", "--lifespan", "3", "--margin", "0.5")
    assert (open_yet["complete"], open_yet["money"]["EUR"]["clv_simple"] > 0) == (False, True)
    text = cx.invoke(main, ["value", "summary", "--month", "2026-04", "--lifespan", "3"]).output
    assert "not over yet" in text
    assert re.search(r"^churn .* provisional$", text, re.MULTILINE), text
    assert re.search(r"more have not had 30 d yet$", text, re.MULTILINE), text
    span = asked(cx, "summary", "--from", "2026-03-01", "--to", "2026-04-01")
    assert (span["month"], span["before"]) == (None, "2026-01-29T00:00:00+00:00")


def test_cohorts_are_what_plain_python_finds(cx: CliRunner, lines: list[dict[str, Any]]) -> None:
    """By Jalali months: those of these events begin on the days named here."""
    begins = {
        "1404-10": "2025-12-22", "1404-11": "2026-01-21", "1404-12": "2026-02-20", "1405-01": "2026-03-21",
    }  # fmt: skip

    def month(at: datetime) -> str:
        return max(name for name, begin in begins.items() if begin <= f"{at:%Y-%m-%d}")

    bought = sorted((at, customer) for customer, at, _, net in _bought(lines) if net is None or net > 0)
    first: dict[str, str] = {}
    active: dict[tuple[str, str], set[str]] = defaultdict(set)
    for at, customer in bought:
        joined = first.setdefault(customer, month(at))
        active[joined, month(at)].add(customer)
    found = asked(cx, "cohorts", "--calendar", "jalali")["cohorts"]
    assert {one["month"]: one["customers"] for one in found} == {
        name: len(active[name, name]) for name in sorted(set(first.values()))
    }
    for cohort in found:
        for one in cohort["months"]:
            share = len(active[cohort["month"], one["month"]]) / cohort["customers"]
            assert one["active"]["value"] == pytest.approx(100 * share)
            assert one["active"]["n"] == cohort["customers"]
            assert one["complete"] is (one["month"] != "1405-01")
    text = cx.invoke(main, ["value", "cohorts", "--calendar", "jalali"]).output
    assert re.search(r"^1404-10 +\d+ +[\d.]+ +[\d.]+ +\([\d.]+\)$", text, re.MULTILINE), text
    earlier = asked(cx, "cohorts", "--to", "2026-02-15")["cohorts"]
    assert [one["months"][-1]["month"] for one in earlier] == ["2026-02"] * 2


def test_risks_are_held_against_what_plain_python_finds(cx: CliRunner, lines: list[dict[str, Any]]) -> None:
    since = START + timedelta(days=40)
    stayed = {
        customer
        for customer, at, _, net in _bought(lines)
        if (net is None or net > 0) and since < at <= since + timedelta(days=30)
    }
    answer = cx.invoke(main, ["value", "risk", "--json"])
    assert answer.exit_code == 3, answer.output
    early, late = json.loads(answer.output)["models"]
    assert (early["model"], early["customers"], early["left"]) == ("logit", len(PEOPLE), len(PEOPLE) - len(stayed))
    risks = {
        one["subject"]: one["data"]["risk"] for one in lines if one["data"].get("model") == "logit" and one["subject"]
    }  # fmt: skip
    assert early["expected"] == pytest.approx(sum(risks.values()))
    assert {one["predicted"]: one["left"] for one in early["bins"]} == pytest.approx(
        {risk: sum(risks[who] == risk for who in risks if who not in stayed) for risk in (0.2, 0.6)}
    )
    assert (late["model"], late["customers"], late["pending"], late["usable"]) == ("new", 0, len(PEOPLE), False)
    text = cx.invoke(main, ["value", "risk"]).output
    assert f"logit: {early['verdict']}" in text
    assert "new: too early to judge, not used" in text
    none = cx.invoke(main, ["value", "risk", "--to", "2026-01-02"])
    assert (none.exit_code, none.output) == (0, "no risk of a customer is stored: cx.churn.scored\n")


@pytest.mark.slow
def test_olist_equals_a_direct_computation_and_the_page(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cohorts from its tables, by the months of Brazil, of what was not cancelled; and the page shows what is printed."""
    try:
        orders_file = DATA_SETS["olist"].locate(ROOT)
    except DataSetError as absent:
        pytest.skip(f"data not present: {absent}")
    writer = Writer(database.writer)
    payloads = [touch.value for touch in read("olist", ROOT)]
    for first in range(0, len(payloads), 20_000):
        writer.insert_block(block_of(payloads[first : first + 20_000], first))
    writer.close()

    def rows(name: str) -> Iterator[dict[str, str]]:
        with (orders_file.parent / f"olist_{name}_dataset.csv").open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)

    person = {row["customer_id"]: row["customer_unique_id"] for row in rows("customers")}
    paid: dict[str, float] = defaultdict(float)
    for row in rows("order_payments"):
        paid[row["order_id"]] += float(row["payment_value"])
    first_in: dict[str, str] = {}
    active: dict[tuple[str, str], set[str]] = defaultdict(set)
    brought: dict[tuple[str, str], float] = defaultdict(float)
    for row in sorted(rows("orders"), key=lambda row: row["order_purchase_timestamp"]):
        order = row["order_id"]
        if row["order_status"] in {"canceled", "unavailable"} or paid.get(order) == 0:
            continue
        month, customer = row["order_purchase_timestamp"][:7], person[row["customer_id"]]
        joined = first_in.setdefault(customer, month)
        active[joined, month].add(customer)
        brought[joined, month] += paid.get(order, 0.0)
    monkeypatch.setenv("CX_ZONE", "America/Sao_Paulo")
    monkeypatch.setenv("COLUMNS", "120")
    cx = connected(database.reader, tmp_path, monkeypatch)
    found = asked(cx, "cohorts")["cohorts"]
    assert len(first_in) > 6_000
    assert {one["month"]: one["customers"] for one in found} == Counter(first_in.values())
    for cohort in found:
        for one in cohort["months"]:
            key = cohort["month"], one["month"]
            assert round(one["active"]["value"] * cohort["customers"] / 100) == len(active[key]), key
            assert one["revenue"].get("BRL", 0.0) == pytest.approx(brought[key]), key
    page = (CLONE / "docs" / "VALUE.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```console\n\$ cx (.*)\n((?:.*\n)*?)```$", page, re.MULTILINE)
    assert len(shown) == 3
    for command, output in shown:
        assert cx.invoke(main, shlex.split(command)).output == output, command


WRONG = (
    (["summary", "--month", "2026-13"], "is no month; expected year and month"),
    (["summary", "--month", "1404-12"], "no month '1404-12' of the gregorian calendar"),
    (["summary", "--month", "2026-03", "--from", "2026-03-01"], "--month is itself from and to"),
    (["summary", "--to", "2026-03-01"], "--to needs --from"),
    (["summary", "--from", "2026-03-02", "--to", "2026-03-01"], "--from is not before --to"),
    (["summary", "--margin", "30"], "30.0 is not in the range"),
    (["summary", "--days", "0"], "0 is not in the range"),
    (["cohorts", "--zone", "Tehran"], "zone"),
    (["cohorts", "--history", "2026-03-02", "--to", "2026-03-01"], "the start is not before the end"),
    (["tiers", "--limits", "50,20"], "expected percents that rise"),
    (["tiers", "--limits", "many"], "expected percents that rise"),
    (["tiers", "--by", "age"], "'age' is not one of"),
)


def test_what_cannot_be_asked_is_said(cx: CliRunner) -> None:
    for arguments, said in WRONG:
        answer = cx.invoke(main, ["value", *arguments])
        assert answer.exit_code == 2, (arguments, answer.output)
        assert said in " ".join(said_by(answer).split()), answer.output


def said_by(answer: Result) -> str:
    return answer.output + str(answer.exception)


def test_of_nothing_nothing_is_said(cx: CliRunner) -> None:
    """Where there is no order, and where there are orders of nobody known."""
    for arguments in (
        ["summary", "--history", "2026-04-14"], ["cohorts", "--to", "2025-12-01"], ["tiers", "--from", "2026-04-14"],
    ):  # fmt: skip
        answer = cx.invoke(main, ["value", *arguments])
        assert (answer.exit_code, answer.output) == (0, "no order of that time is stored\n")
        assert asked(cx, *arguments) is None
    unknown = asked(cx, "tiers", "--to", "2025-12-31")
    assert (unknown["anonymous_orders"], unknown["tiers"]) == (5, {})
    assert asked(cx, "cohorts", "--to", "2025-12-31")["cohorts"] == []
    for command in ("cohorts", "tiers"):
        assert "5 orders without a customer" in cx.invoke(main, ["value", command, "--to", "2025-12-31"]).output
    summary = asked(cx, "summary", "--month", "2025-12")
    assert (summary["start_customers"], summary["retention"]["value"], summary["money"]) == (0, None, {})
    text = cx.invoke(main, ["value", "summary", "--month", "2025-12"]).output
    assert "no data: nobody bought in the period before" in text


def test_more_orders_than_fit_are_refused(cx: CliRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.storage.customer_value.MOST_ORDERS", 3)
    answer = cx.invoke(main, ["value", "cohorts"])
    assert answer.exit_code == 1
    assert re.fullmatch(r"\d+ orders are stored, an answer is made of 3 at most: look back less far\n", answer.output)
    assert asked(cx, "tiers", "--to", "2026-01-01") is not None
