"""`cx rules test` and `cx rules backtest`: rules tried on minutes that somebody wrote down, and on past ones."""

import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from clickhouse_connect.driver.client import Client

from streams.alerts.facts import length_of
from streams.alerts.offline.backtest import Backtest, Firing, RealIncident, groupings_of, name_of, windows_of
from streams.alerts.offline.ruletest import Result, RuleTest, run
from streams.alerts.offline.testfiles import load_file, read_tests
from streams.alerts.rules.parsing import load_rules
from streams.alerts.rules.rules import RuleBook
from streams.commands.arguments import AlertType, MomentType, When
from streams.commands.output import as_json_option, print_json, table
from streams.commands.picture import PictureError
from streams.commands.printing import echo
from streams.commands.rules_picture import draw, unfit
from streams.definitions import catalogue_of
from streams.engine.names import Topics
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.kpis.language.expressions import suggest
from streams.settings import Settings, load, rule_paths, window_names
from streams.shipped import RULE_TESTS
from streams.storage.connection import StorageError, address_of, connect
from streams.storage.minutes import PastBaselines, stored_minutes, stored_sources, stored_span

DAY: Final = 1440

WRONG_INPUT: Final = 2
"""Exit code when rules, tests or options cannot be right."""


def refused(error: Exception) -> NoReturn:
    """Tell what cannot be right, and end."""
    echo(str(error), err=True)
    sys.exit(WRONG_INPUT)


def book_of(settings: Settings, paths: Iterable[Path], catalogue: Catalogue) -> RuleBook:
    """
    Read the rules of the paths alone, else those configured with what definitions of KPIs bring along.

    Raises:
        CatalogueError: They cannot be right.
    """
    given = tuple(paths)
    windows = window_names(settings)
    return load_rules(given or rule_paths(settings), catalogue, windows=windows, defaults=not given)


@click.command("test")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", help="Only tests whose name contains this.")
@as_json_option
def rules_test(paths: tuple[Path, ...], *, only: str | None, as_json: bool) -> None:
    """Play the tests of rules in PATHS (files, or folders with *.yaml), else those of the shipped rules.

    A test has minutes of some series, written in one line each, and says which alerts there are when; docs/RULES.md
    tells how.

    \b
    Exit codes: 0 all as expected, 1 something else happened, 2 a file cannot be right.
    """
    settings = load()
    windows = window_names(settings)
    tests: list[tuple[RuleTest, RuleBook]] = []
    try:
        catalogue = catalogue_of(settings)
        books: dict[tuple[Path, ...], RuleBook] = {}
        files = [file for path in paths or (RULE_TESTS,) for file in _files(path)]
        for file in files:
            given = load_file(file)
            rules = tuple((file.parent / name).resolve() for name in given.rules)
            if rules not in books:
                books[rules] = book_of(settings, rules, catalogue)
            found = read_tests(given, books[rules], catalogue)
            tests += [(one, books[rules]) for one in found if only is None or only.lower() in one.name.lower()]
    except (CatalogueError, OSError) as error:
        refused(error)
    results: list[Result] = []
    for test, book in tests:
        results.append(run(test, book, windows))
        if not as_json:
            _tell(results[-1])
    if not results:
        echo(f"no test{'' if only is None else f' has {only!r} in its name'}", err=True)
        sys.exit(WRONG_INPUT)
    wrong = [result for result in results if result.problems]
    if as_json:
        print_json([result._asdict() for result in results])
    else:
        minutes = sum(result.minutes for result in results)
        echo(f"{len(results) - len(wrong)} of {len(results)} tests as expected, {minutes:,} minutes played")
    if wrong:
        sys.exit(1)


@click.command("backtest")
@click.option(
    "--from", "start", required=True, type=MomentType(), help="Start, included: 2026-03-01 (UTC), yesterday, -7d, …"
)
@click.option("--to", "end", required=True, type=MomentType(), help="End, not included.")
@click.option(
    "--rules", "paths", multiple=True, type=click.Path(exists=True, path_type=Path), help="Rules to try; repeatable."
)
@click.option("--only", multiple=True, type=AlertType(), help="Only this rule; repeatable.")
@click.option(
    "--incident",
    "incidents",
    multiple=True,
    metavar="FROM/TO[/LABEL=VALUE,…]",
    help="Something that really happened; repeatable. Labels of the series, and kpi or alert.",
)
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw into FILE.png, .svg or .html.")
@as_json_option
def rules_backtest(
    start: When,
    end: When,
    paths: tuple[Path, ...],
    only: tuple[str, ...],
    incidents: tuple[str, ...],
    picture: Path | None,
    *,
    as_json: bool,
) -> None:
    """Replay the minutes in ClickHouse through the rules: what would have fired, when, and was it right?

    Judged by the code that judges live, with what was usual at the time. Minutes before --from, as many as the longest
    window has, teach the detectors and count for nothing else.

    \b
    Exit codes: 0 replayed, 1 the store cannot answer or has nothing of this time, 2 wrong rules or options.

    \b
    Examples:
      cx rules backtest --from 2026-03-01 --to 2026-03-08
      cx rules backtest --from 2026-03-01 --to 2026-03-08 --only CsatCollapseByChannel \\
        --incident 2026-03-03T09:00/2026-03-03T11:00/channel=web,kpi=csat --picture march.png
    """
    settings = load()
    first, last = minute_of(start.moment()), minute_of(end.moment()) - 1
    if first > last:
        raise click.UsageError(f"--from {_iso(first)} is not before --to {_iso(last + 1)}")
    wrong = None if picture is None else unfit(picture)
    if wrong is not None:
        raise click.UsageError(f"--picture {wrong}")
    try:
        catalogue = catalogue_of(settings)
        book = replayable(narrowed_to(book_of(settings, paths, catalogue), only))
        known = [incident_of(text) for text in incidents]
    except (CatalogueError, ValueError) as error:
        refused(error)
    try:
        with closing(connect(address_of(settings))) as client:
            show = None if as_json else _Progress(first, last)
            test = replayed(client, book, first, last, settings, known, drawn=picture is not None, show=show)
        drawn = 0 if picture is None or test is None else draw(test, picture)
    except (StorageError, PictureError, OSError) as error:
        echo(str(error), err=True)
        sys.exit(1)
    if test is None:
        echo(f"no minute of any of these KPIs from {_iso(first)} to {_iso(last + 1)}", err=True)
        sys.exit(1)
    if as_json:
        print_json(plain(test))
        return
    echo(notified(test))
    if picture is not None:
        echo(f"{picture}: {drawn} series drawn")


def replayed(
    client: Client,
    book: RuleBook,
    first: int,
    last: int,
    settings: Settings,
    incidents: Iterable[RealIncident] = (),
    *,
    drawn: bool = False,
    show: Callable[[Backtest, int], None] | None = None,
) -> Backtest | None:
    """
    Replay stored minutes, the first and the last inside; None if there are none.

    Args:
        client: Of a user who may read.
        book: The rules.
        first: The first minute that counts; those before it only teach.
        last: The last minute.
        settings: Of windows and topics.
        incidents: What really happened.
        drawn: Whether values are kept for a picture.
        show: Called at the end of each day, and of all, with what is known by then, and the minute.

    Raises:
        StorageError: ClickHouse cannot answer.
    """
    kpis = list({rule.kpi.id: rule.kpi for rule in book}.values())
    needed = {name for rule in book for name in rule.params.windows(rule.window)}
    since = first - max(map(length_of, needed), default=0)
    span = stored_span(client, kpis, since, last)
    if span is None or span[1] < first:
        return None
    test = Backtest(
        book,
        first,
        last,
        windows=windows_of(book, window_names(settings)),
        incidents=incidents,
        baselines=PastBaselines(client, book),
        drawn=drawn,
    )
    sources = stored_sources(client, Topics(settings.topic_prefix).channel_of, span[0], last)
    reached = span[0] - 1
    for minute, sums in stored_minutes(client, kpis, span[0], last, groupings_of(book)):
        # In between nothing came of these KPIs, but sources may have gone on.
        for between in range(reached + 1, minute):
            test.close(between, {}, sources.get(between))
        test.close(minute, sums, sources.get(minute))
        if show is not None and minute // DAY > reached // DAY:
            show(test, minute - 1)
        reached = minute
    for rest in range(reached + 1, min(last, max(sources, default=reached)) + 1):
        test.close(rest, {}, sources.get(rest))
    if show is not None:
        show(test, last)
    return test


class _Progress:
    """Writes down what begins to fire as it is found, and some twenty times how far the replay is."""

    def __init__(self, first: int, last: int) -> None:
        self._first, self._days = first, -((first - last - 1) // DAY)
        self._shown, self._next = 0, 1

    def __call__(self, test: Backtest, minute: int) -> None:
        found = [one for one in test.firings if one.began >= test.start]
        for one in found[self._shown :]:
            echo(f"{_iso(one.began + 1)} {name_of(one.rule, one.labels)}: {one.why.partition(': ')[2]}", err=True)
        self._shown = len(found)
        day = -((self._first - minute - 1) // DAY)
        if day >= min(self._next, self._days):
            echo(f"{day} of {self._days} days replayed, {len(found)} fired", err=True)
            self._next = day + max(1, self._days // 20)


def plain(test: Backtest) -> dict[str, Any]:
    """Return the outcome as plain values."""
    return {
        "from": _iso(test.start),
        "to": _iso(test.end + 1),
        "evaluated": test.series,
        "firings": [
            {
                "alert": one.rule.alert,
                "kpi": one.rule.kpi.id,
                "labels": dict(one.labels),
                "severity": one.severity,
                "began": _iso(one.began + 1),
                "ended": None if one.ended is None else _iso(one.ended + 1),
                "notified": None if one.notified is None else _iso(one.notified + 1),
                "held_by": one.held_by if one.notified is None else None,
                "false_alarm": test.is_false(one),
                "why": one.why,
            }
            for one in test.firings
        ],
        "rules": [
            {**score._asdict(), "rule": score.rule.alert, "kpi": score.rule.kpi.id, "severity": score.rule.severity}
            for score in test.scores()
        ],
        "incidents": [
            {
                "from": _iso(seen.incident.since),
                "to": _iso(seen.incident.until + 1),
                "labels": dict(seen.incident.labels),
                "notified_after_minutes": seen.notified,
                "delays": dict(seen.delays),
            }
            for seen in test.seen()
        ],
        "held": test.held(),
        "faults": [fault._asdict() for fault in test.faults],
    }


def notified(test: Backtest) -> str:
    """Say the outcome in tables."""
    parts = [f"{_iso(test.start)} to {_iso(test.end + 1)}, {test.series} rule × series"]
    if test.firings:
        rows = [
            (
                _iso(one.began + 1),
                "" if one.ended is None else f"{one.ended - one.began} min",
                name_of(one.rule, one.labels),
                one.severity,
                _verdict(test, one),
                one.why.partition(": ")[2],
            )
            for one in test.firings
        ]
        parts.append(table(("FIRED", "FOR", "ALERT", "SEVERITY", "", "WHY"), rows))
    else:
        parts.append("nothing fired")
    scores = [
        (
            score.rule.alert,
            score.rule.severity,
            score.series,
            f"{score.days:.1f}",
            score.firings,
            score.held,
            score.false,
            "" if score.per_day is None else f"{score.per_day:.3f} ({score.lo:.3f} to {score.hi:.3f})",
        )
        for score in test.scores()
    ]
    heads = ("RULE", "SEVERITY", "SERIES", "CALM DAYS", "FIRED", "HELD", "FALSE", "FALSE PER DAY AND SERIES (95 %)")
    parts.append(table(heads, scores))
    held = ", ".join(f"{count} by {reason}" for reason, count in test.held().items())
    if held:
        parts.append(f"held back, so nobody was told: {held}")
    for seen in test.seen():
        delays = ", ".join(f"{name} {delay} min" for name, delay in seen.delays.items()) or "no rule fired"
        noticed = "nobody was told" if seen.notified is None else f"told after {seen.notified} min"
        parts.append(f"incident {_iso(seen.incident.since)}, {seen.incident.name}: {noticed}; {delays}")
    parts += [f"fault of {fault.rule} at {_iso(fault.minute)}: {fault.reason}" for fault in test.faults]
    return "\n\n".join(parts)


def _verdict(test: Backtest, one: Firing) -> str:
    if one.notified is None:
        return f"held by {one.held_by}"
    if one.began < test.start:
        return "fired before"
    if not test.incidents:
        return ""
    return "false" if test.is_false(one) else "right"


def narrowed_to(book: RuleBook, only: Iterable[str]) -> RuleBook:
    """
    Return the rules that are named, all if none is.

    Raises:
        ValueError: There is no such rule.
    """
    wanted = tuple(only)
    for name in wanted:
        if name not in book.rules:
            raise ValueError(f"--only {name}: no such rule{suggest(name, book.rules)}")
    if not wanted:
        return book
    return RuleBook.of((rule for rule in book if rule.alert in wanted), book.calendars.values())


def replayable(book: RuleBook) -> RuleBook:
    """Return the rules that history can be judged by, and say which cannot."""
    levels = [rule.alert for rule in book if rule.kpi.id in book.lasting]
    if not levels:
        return book
    echo(f"not replayed, as a level counts from before the first stored minute: {', '.join(levels)}", err=True)
    return RuleBook.of((rule for rule in book if rule.alert not in levels), book.calendars.values())


def incident_of(text: str) -> RealIncident:
    """Read FROM/TO/label=value,label=value; raises ValueError naming what cannot be right."""
    since, slash, rest = text.partition("/")
    until, _, labels = rest.partition("/")
    if not slash:
        raise ValueError(f"--incident {text!r}: expected FROM/TO or FROM/TO/channel=web")
    found: dict[str, str] = {}
    for pair in filter(None, labels.split(",")):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--incident {text!r}: {pair!r} is no label=value")
        found[name.strip()] = value.strip()
    try:
        first, end = (minute_of(datetime.fromisoformat(one)) for one in (since, until))
    except ValueError:
        raise ValueError(f"--incident {text!r}: expected times like 2026-03-03T09:00/2026-03-03T11:00") from None
    if end <= first:
        raise ValueError(f"--incident {text!r}: it ends before it begins")
    return RealIncident(first, end - 1, found)


def minute_of(at: datetime) -> int:
    """Return the minute of a time, unix seconds // 60; UTC unless it says otherwise."""
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) // 60


def _iso(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%dT%H:%MZ}"


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.yaml")) if path.is_dir() else [path]


def _tell(result: Result) -> None:
    echo(f"{'not as expected' if result.problems else 'ok':15}  {result.name}")
    for problem in result.problems:
        echo(f"  {problem}", err=True)
