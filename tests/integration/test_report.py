"""The digest of a week, of a store in which it is known what changed, where, and which alert fired."""

import re
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streams.board.feed import AlertRow
from streams.board.report import WEEK_S, read_week, render_week, week_alerts, week_rows
from streams.board.store import BoardStore
from streams.commands import report as command
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.series import series_key
from streams.storage.rows import ValueRow
from streams.storage.setup import prepare
from streams.storage.writer import Writer
from streams.wording.moments import ZoneTimes
from tests.harness.clickhouse import Database
from tests.harness.mailbox import Mailbox

UNTIL = int(time.time()) // 3600 * 3600
DAY = 86_400


@pytest.fixture
def filled(database: Database) -> Database:
    """CSAT fell in the last week, by the web; payments have no week before; waits are as they were."""
    prepare(database.admin, Catalogue.load(), lambda _: None)
    rows: list[Any] = []
    for ago, web, app in ((13, 850, 860), (9, 850, 860), (6, 500, 860), (2, 500, 860)):
        minute = (UNTIL - ago * DAY) // 60
        rows += [
            (series_key("csat", (("channel", "web"),)), minute, 0, [1_000, web], 1),
            (series_key("csat", (("channel", "app"),)), minute, 0, [1_000, app], 1),
            ("csat", minute, 0, [2_000, web + app], 1),
            ("abandonment", minute, 0, [900, 60], 1),
        ]
    rows += [("csat", (UNTIL - 14 * DAY) // 60, 0, [1, 1], 1), ("abandonment", (UNTIL - 14 * DAY) // 60, 0, [1, 0], 1)]
    rows.append(("payment_failure", (UNTIL - DAY) // 60, 0, [900, 20], 1))
    writer = Writer(database.writer)
    writer.insert_kpi_minutes(rows, "t-0-0-0")
    begun = [(kpi, UNTIL - 14 * DAY) for kpi in ("csat", "abandonment", "volume")] + [("payment_failure", UNTIL - DAY)]
    writer.insert_kpi_values(
        [ValueRow(kpi, "1m", "", at, 50.0, 9, None, None, f"{kpi}@1", closed=True, revision=at) for kpi, at in begun], "t-0-0-0"
    )  # fmt: skip
    writer.close()
    return database


def test_it_says_what_changed_where_and_whose_it_is(filled: Database) -> None:
    store = BoardStore(filled.reader)
    infos = store.catalogue()
    week = read_week(store, infos, UNTIL)
    store.close()
    rows = {row.name: row for row in week_rows(week, infos, "en")}
    csat = rows["Customer satisfaction"]
    assert (csat.mark, csat.value, csat.before, csat.owner) == (
        "worse",
        "68.0\u00a0%",
        "85.5\u00a0%",
        "customer-insight",
    )
    assert csat.where == ("channel web: −35.0\u00a0pp",)
    assert next(iter(rows)) == "Customer satisfaction", "what became worse is on top"
    assert rows["Abandonment"].mark == ""
    assert (rows["Failed payments"].mark, rows["Failed payments"].before) == ("", ""), "no week before, no comparison"

    persian = week_rows(week, infos, "fa")[0]
    assert persian.where == ("کانال وب: \u200e−۳۵٫۰\u00a0واحد",)
    assert not re.search("[0-9]", persian.value + persian.difference + persian.before)


def test_alerts_of_the_week_say_how_they_ended() -> None:
    def alert(at: int, state: str, **changes: Any) -> AlertRow:
        texts = {
            "summary": "Resolved: x",
            "summary_fa": "برطرف شد",
            "description": "Lasted 48 min",
            "description_fa": "۴۸ دقیقه",
        }
        return AlertRow(episode="e", rule="R", kpi="csat", labels={}, state=state, severity="page", owner="cx", why="", at=at,
                        texts=texts, **changes)  # fmt: skip

    alerts = [alert(UNTIL - 60, "resolved"), alert(UNTIL - 2 * WEEK_S, "resolved"), alert(UNTIL - 90, "pending"),
              alert(UNTIL - 90, "firing", inhibited_by="mute night")]  # fmt: skip
    for lang, summary, word in (("en", "Resolved: x", "Lasted 48 min"), ("fa", "برطرف شد", "۴۸ دقیقه")):
        [found] = week_alerts(alerts, UNTIL - WEEK_S, UNTIL, lang, ZoneTimes())  # type: ignore[arg-type]
        assert (found.summary, found.description, found.owner) == (summary, word, "cx")
        page = render_week([], [found], UNTIL - WEEK_S, UNTIL, lang, ZoneTimes())  # type: ignore[arg-type]
        assert summary in page
        assert ('dir="rtl"' in page) == (lang == "fa")


def test_the_command_writes_a_file_and_names_what_a_pdf_lacks(
    filled: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text(filled.reader.password)
    for name, value in {
        "CLICKHOUSE": filled.reader.url, "CLICKHOUSE_DATABASE": filled.name, "CLICKHOUSE_READER_USER": filled.reader.user,
        "CLICKHOUSE_READER_PASSWORD_FILE": str(tmp_path / "password"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"CX_{name}", value)
    out = tmp_path / "week.html"
    done = CliRunner().invoke(command.report, ["--week", "--out", str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "Customer satisfaction" in out.read_text("utf-8")
    asked = ["--week", "--out", str(out), "--mail"]
    lacking = CliRunner().invoke(command.report, asked)
    assert (lacking.exit_code, "mail_from: nothing is set" in lacking.output) == (1, True)
    with Mailbox(refused=("away@",)) as box:
        for name, value in {
            "SERVER": f"smtp://{box.address}", "FROM": "cx@example.org", "REPORT_TO": "a@example.org,away@example.org",
        }.items():  # fmt: skip
            monkeypatch.setenv(f"CX_MAIL_{name}", value)
        partly = CliRunner().invoke(command.report, asked, catch_exceptions=False)
        assert (partly.exit_code, "refuses away@example.org (550" in partly.output) == (1, True), partly.output
        monkeypatch.setenv("CX_MAIL_REPORT_TO", "a@example.org")
        done = CliRunner().invoke(command.report, asked, catch_exceptions=False)
        assert (done.exit_code, done.output.splitlines()[-1]) == (0, "sent to 1 address")
    text = box.mails[-1].get_body(("plain",))
    assert text is not None
    assert "Customer satisfaction: 68.0\u00a0%" in text.get_content()
    monkeypatch.setattr(command, "BROWSERS", ("no-such-browser",))
    refused = CliRunner().invoke(command.report, ["--week", "--out", str(tmp_path / "week.pdf")])
    assert refused.exit_code != 0
    assert "no-such-browser" in refused.output
