"""`cx surveys decide`: who would have been asked by the rules, who not, and why."""

import heapq
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from streams.asking.deciding import REASONS, AskingDecision, decide_on_events
from streams.asking.definition import SurveyRules
from streams.asking.lines import OccasionError, read_occasions
from streams.asking.sending import NoChannelError, event_of
from streams.commands.arguments import EARLIEST, LATEST, MomentType, When
from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.definitions import survey_rules_of
from streams.relations.facts import milliseconds, moment_of
from streams.settings import Settings, load
from streams.storage.connection import address_of, connect
from streams.storage.occasions import SurveyHistory
from streams.storage.queries import as_reader

rules_option = click.option(
    "--rules", "paths", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="Rules instead of those of CX_SURVEYS_PATH; repeatable.",
)  # fmt: skip
to_option = click.option("--to", "end", type=MomentType(), help="End, not included.  [default: now]")


def span_of(settings: Settings, start: When | None, end: When | None) -> tuple[datetime, datetime]:
    """
    Return from when to when a command looks.

    Raises:
        click.UsageError: The end is not behind the start.
    """
    zone = ZoneInfo(settings.zone)
    since = start.moment(zone) if start else EARLIEST
    until = end.moment(zone) if end else datetime.now(UTC)
    if until <= since:
        raise click.UsageError("--from is not before --to")
    return since, until


@contextmanager
def survey_history(settings: Settings, since: datetime, until: datetime) -> Iterator[SurveyHistory]:
    """Open the store, to be asked about a span of time by whoever may only read."""
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        yield SurveyHistory(client, since, until)


@click.command("decide")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@rules_option
@click.option("--from", "start", type=MomentType(), help="Start, included.  [default: all there is]")
@to_option
@click.option("--customer", default="", help="Only this customer.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0, 1_000_000), help="Decisions shown.")
@click.option("--events", "as_events", is_flag=True, help="Print all decisions as events, one a line.")
@as_json_option
@plain_errors
def surveys_decide(
    file: Path | None,
    *,
    paths: tuple[Path, ...],
    start: When | None,
    end: When | None,
    customer: str,
    limit: int,
    as_events: bool,
    as_json: bool,
) -> None:
    """Say who would have been asked by the rules, who not, and why.

    Of the stored events, or of FILE, a JSON object a line: an event, or an occasion (survey, subject, time, id; matter,
    stratum, channel and source if known), or with "shown": true what a customer was shown. Nothing is sent or written.
    What was sent before --from counts as shown. Of a FILE all is decided on, the future too.
    """
    settings = load()
    rules, zone = survey_rules_of(settings, paths), ZoneInfo(settings.zone)
    since, until = span_of(settings, start, end)
    if file is not None:
        # What is planned is decided on as well.
        until = until if end else LATEST
        decided = _in_file(rules, file, since, until, customer)
    else:
        before = max(EARLIEST, since - timedelta(milliseconds=rules.longest_gap()))
        decided = _in_store(settings, rules, before, since, until, customer)
    if as_events:
        _print_events(rules, decided)
        return
    summary = _DecisionCounts()
    # The newest of many; ties in an order that does not depend on that of the store.
    newest = heapq.nlargest(max(1, limit), map(summary.count, decided), key=_decision_order)[:limit]
    if as_json:
        print_json({"surveys": summary.plain(rules), "decisions": [_plain_decision(one) for one in newest[::-1]]})
        return
    shown = [
        (
            f"{moment_of(one.trigger.time).astimezone(zone):%Y-%m-%d %H:%M:%S}", one.trigger.subject,
            one.trigger.survey, "asked" if one.eligible else "not asked", one.words(zone),
            f"{moment_of(one.again).astimezone(zone):%Y-%m-%d %H:%M:%S}",
        )
        for one in newest[::-1]
    ]  # fmt: skip
    if shown:
        echo(table(("TIME", "CUSTOMER", "SURVEY", "DECISION", "WHY", "AGAIN FROM"), shown, least=("AGAIN FROM",)))
        echo()
    columns = ("SURVEY", "OCCASIONS", "ASKED", *(reason.replace("_", " ").upper() for reason in REASONS))
    counted = [
        (name, *(f"{summary.counts[name][what]:,}" for what in ("occasions", "asked", *REASONS)))
        for name in rules.surveys
    ]
    echo(table(columns, counted, least=("OCCASIONS",)))
    if (left := summary.total - len(shown)) > 0:
        echo(f"{left:,} older decisions are counted and not shown (--limit)")


def _print_events(rules: SurveyRules, decided: Iterator[AskingDecision]) -> None:
    try:
        for one in sorted(decided, key=_decision_order):
            line(event_of(rules, one).decode())
    except NoChannelError as error:
        echo(str(error), err=True)
        sys.exit(1)


class _DecisionCounts:
    """Counts decisions as they pass by."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.total = 0

    def count(self, decision: AskingDecision) -> AskingDecision:
        self.total += 1
        self.counts[decision.trigger.survey].update(("occasions", decision.reason or "asked"))
        return decision

    def plain(self, rules: SurveyRules) -> dict[str, dict[str, int]]:
        return {
            name: {what: self.counts[name][what] for what in ("occasions", "asked", *REASONS)}
            for name in rules.surveys
        }  # fmt: skip


def _decision_order(one: AskingDecision) -> tuple[int, str, str, str, str]:
    trigger = one.trigger
    return trigger.time, trigger.subject, trigger.survey, trigger.source, trigger.id


def _plain_decision(one: AskingDecision) -> dict[str, Any]:
    trigger, by = one.trigger, one.held_by
    return {
        "time": _iso(trigger.time),
        "subject": trigger.subject,
        "survey": trigger.survey,
        "id": trigger.id,
        "source": trigger.source,
        "matter": trigger.matter,
        "stratum": trigger.stratum,
        "eligible": one.eligible,
        "reason": one.reason or None,
        "held_by": None if by is None else {"survey": by.survey, "time": _iso(by.time), "matter": by.matter},
        "gap_s": one.gap_ms / 1000 if one.gap_ms else None,
        "again": _iso(one.again),
        "share": one.share,
    }


def _in_file(
    rules: SurveyRules, file: Path, since: datetime, until: datetime, customer: str
) -> Iterator[AskingDecision]:
    first, end = milliseconds(since), milliseconds(until)
    try:
        with file.open("rb") as lines:
            found = read_occasions(rules, lines, str(file))
    except (OccasionError, OSError) as error:
        echo(str(error), err=True)
        sys.exit(1)
    for subject, said in found.items():
        if customer in {"", subject}:
            facts = (one for one in said.facts if one.time < end)
            listed = [one for one in said.triggers if first <= one.time < end]
            yield from decide_on_events(rules, subject, facts, first, listed, said.shown)


def _in_store(
    settings: Settings, rules: SurveyRules, before: datetime, since: datetime, until: datetime, customer: str
) -> Iterator[AskingDecision]:
    with survey_history(settings, before, until) as store:
        for subject, facts in store.customers(rules.reader(), customer):
            yield from decide_on_events(rules, subject, facts, milliseconds(since))


def _iso(time: int) -> str:
    return moment_of(time).isoformat(timespec="milliseconds").replace("+00:00", "Z")
