"""`cx cases`: who is to be called back first and by when, and what people do about it."""

import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import MomentType, NumberRange, When
from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo, line
from streams.definitions import case_paths, case_rules_of, shown_case_rules
from streams.kpis.language.blocks import CatalogueError
from streams.loop.acting import COMMAND, OUTCOMES, CaseAction
from streams.loop.rows import CaseRow
from streams.loop.urgency import Urgency, in_urgency, page_of
from streams.producers.cases import CaseSender, UnsentActionError, UnsoundActionError
from streams.relations.facts import milliseconds
from streams.settings import Settings, load
from streams.shipped import CASES
from streams.storage.cases import read_cases
from streams.storage.connection import address_of, connect
from streams.storage.queries import as_reader

_LOOK_S: Final = 0.5
_CONFLICT: Final = 3


@click.group()
def cases() -> None:
    """Show cases of unhappy customers, the most urgent first, and act on them.

    They are opened by the workers with CX_CASES; docs/CASES.md tells how. Exit codes: 0 done, 1 something is away or
    not right, 2 wrong usage, 3 refused: no such case, or it is another one by now.
    """


# What there is


@cases.command("list")
@click.option("--all", "closed_too", is_flag=True, help="Those that are closed too.")
@click.option("--owner", help="Only those of this owner.")
@click.option("--cause", help="Only those of this cause.")
@click.option("--missed", is_flag=True, help="Only those of which a clock has ended.")
@click.option("--page", default=1, show_default=True, type=click.IntRange(1))
@click.option("--size", default=20, show_default=True, type=click.IntRange(1, 1000), help="Cases on a page.")
@as_json_option
@plain_errors
def cases_list(
    *, closed_too: bool, owner: str | None, cause: str | None, missed: bool, page: int, size: int, as_json: bool
) -> None:
    """List cases, the most urgent first; ties by what is due first, then by id."""
    asked = {"owner": owner, "cause": cause}
    wheres = [f"{name} = {{{name}:String}}" for name, value in asked.items() if value is not None]
    wheres += [] if closed_too else ["state != 'closed'"]
    wheres += ["notEmpty(missed)"] if missed else []
    given = {name: value for name, value in asked.items() if value is not None}
    settings, now = load(), _now()
    with _store(settings) as client:
        found = read_cases(client, " AND ".join(wheres) or "1", given)
    ordered = in_urgency(found, shown_case_rules(settings).parts, CaseRow.standing, now)
    shown = page_of(ordered, page, size)
    if as_json:
        print_json({"cases": [_plain(row, urgency) for row, urgency in shown], "total": len(ordered), "page": page})
        return
    rows = [
        (row.case_id, f"{urgency.score:g}", _state(row), _left(row, now), row.owner, row.subject, row.cause)
        for row, urgency in shown
    ]
    echo(table(("CASE", "URGENCY", "STATE", "DUE", "OWNER", "CUSTOMER", "CAUSE"), rows, least=("CAUSE", "CUSTOMER")))
    if not ordered and not settings.cases:
        echo("No rules for cases run: CX_CASES names them, `shipped` those that are shipped.")
    pages = -(-len(ordered) // size)
    echo(f"{len(ordered)} cases{'' if pages < 2 else f', page {page} of {pages}'}")


@cases.command("show")
@click.argument("case_id")
@as_json_option
@plain_errors
def cases_show(case_id: str, *, as_json: bool) -> None:
    """Show one case: how it stands, why it is where it is in the queue, and what has happened to it."""
    settings, now = load(), _now()
    row = _found(settings, case_id)
    ((_, urgency),) = in_urgency([row], shown_case_rules(settings).parts, CaseRow.standing, now)
    if as_json:
        print_json(_plain(row, urgency))
        return
    line(f"{row.case_id}: {row.cause}, {_state(row)}, version {row.version}")
    where = ", ".join(filter(None, (row.channel, row.touchpoint, row.segment)))
    known: list[tuple[str, str]] = [
        ("customer", row.subject),
        ("owner", row.owner or "nobody"),
        ("priority", row.priority),
        ("where", where or "not known"),
        ("opened", _moment(row.opened)),
        ("facts", f"{row.facts}, came back {row.reopened} times" if row.reopened else str(row.facts)),
        ("contact", _clock(row.contact_due, row.contacted, now, row.contacted_by)),
        ("close", _clock(row.close_due, row.closed, now, row.outcome)),
    ]
    for label, value in known:
        line(f"  {label:9} {value}")
    echo(f"\nUrgency {urgency.score:g}:")
    for part in urgency.parts:
        line(f"  {part.name:9} {part.points:>6g}  {part.text}")
    echo("\nWhat has happened:")
    if not row.story:
        echo("  past its retention (CX_KEEP_TEXT_DAYS)")
    for one in row.story:
        refused = f" [refused: {one.refused}]" if one.refused else ""
        line(f"  {_moment(one.at)}  {one.what}{refused}")


@cases.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def cases_check(paths: tuple[Path, ...]) -> None:
    """Check rules for cases: those in PATHS, else those of CX_CASES, else those shipped.

    Exit codes: 0 all sound, 1 problems, each with file and line.
    """
    settings = load()
    chosen = paths or tuple(case_paths(settings)) or (CASES,)
    try:
        found = case_rules_of(settings, chosen)
    except CatalogueError as exc:
        echo(str(exc), err=True)
        echo(f"{len(exc.problems)} problems; docs/CASES.md tells of every key", err=True)
        sys.exit(1)
    assert found is not None
    if not found.causes:
        echo(f"{', '.join(map(str, chosen))}: no cause in it, so no case would be opened", err=True)
        sys.exit(1)
    echo(f"{len(found.causes)} causes: {', '.join(found.causes)}; {len(found.duties)} duties; all sound")


# What people do


def _action(function: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("case_id"),
        click.option("--by", "by", default="", help="Who does it."),
        click.option("--if-version", type=click.IntRange(0), help="Only if the case is still this version of it."),
        click.option("--key", help="Names the action: the same again, also in its --at, is one. Else made up."),
        click.option("--at", "when", type=MomentType(), help="When it was done, e.g. -15m; now if left out."),
        click.option(
            "--wait",
            "wait_s",
            type=NumberRange(0),
            default=30.0,
            show_default=True,
            help="Seconds to wait for the answer; 0: none.",
        ),
        as_json_option,
    )
    for option in reversed(options):
        function = option(function)
    return plain_errors(function)


@cases.command("assign")
@_action
@click.option("--to", "owner", required=True, help="Whose it is from now on.")
def cases_assign(owner: str, **given: Any) -> None:
    """Give a case to somebody; its clocks go on."""
    _do("assigned", given, owner=owner)


@cases.command("contact")
@_action
@click.option("--not-reached", is_flag=True, help="It was tried; nobody answered.")
@click.option("--over", "subchannel", type=click.Choice(("chat", "email", "sms", "social")), help="Else by phone.")
def cases_contact(*, not_reached: bool, subchannel: str | None, **given: Any) -> None:
    """Say that the customer was contacted."""
    _do("contacted", given, reached=not not_reached, subchannel=subchannel)


@cases.command("hold")
@_action
@click.option("--off", is_flag=True, help="It goes on.")
def cases_hold(*, off: bool, **given: Any) -> None:
    """Say that a case waits for the customer: the time to close it stands still."""
    _do("resumed" if off else "held", given)


@cases.command("prioritise")
@_action
@click.option("--to", "priority", required=True, help="Such as urgent; see the rules.")
def cases_prioritise(priority: str, **given: Any) -> None:
    """Give a case another priority; its clocks count from its opening."""
    _do("prioritised", given, priority=priority)


@cases.command("close")
@_action
@click.option("--outcome", required=True, type=click.Choice(OUTCOMES), help="How it ended.")
def cases_close(outcome: str, **given: Any) -> None:
    """Close a case."""
    _do("closed", given, outcome=outcome)


@cases.command("reopen")
@_action
@click.option("--reason", help="Why.")
def cases_reopen(reason: str | None, **given: Any) -> None:
    """Take a closed case up again; its clocks begin anew."""
    _do("reopened", given, reason=reason)


def _do(what: str, given: dict[str, Any], **said: Any) -> None:
    """Send an action as an event, wait until the workers have judged it, and tell what became of it."""
    settings = load()
    row = _found(settings, given["case_id"])
    when: When | None = given["when"]
    at = _now() if when is None else milliseconds(when.moment(ZoneInfo(settings.zone)))
    version = given["if_version"]
    if version is None and when is None:
        version = row.version  # what is done now is done to the case as it is shown
    action = CaseAction(
        what=what,
        key=given["key"] or f"{row.case_id}-{uuid.uuid4().hex[:12]}",
        source=COMMAND,
        by=given["by"],
        at=at,
        if_version=version,
        said=said,
    )
    known = action.answer(row) is not None
    if not known:
        _send(settings, row, action)
    _tell(settings, row, action, given, repeat=known)


def _send(settings: Settings, row: CaseRow, action: CaseAction) -> None:
    try:
        with CaseSender(settings) as sender:
            sender.send(row, action)
    except UnsoundActionError as error:
        raise click.UsageError(str(error)) from error
    except UnsentActionError as error:
        echo(f"{row.case_id}: {error}", err=True)
        sys.exit(1)


def _tell(settings: Settings, before: CaseRow, action: CaseAction, given: dict[str, Any], *, repeat: bool) -> None:
    row, found, ends = before, None, time.monotonic() + given["wait_s"]
    while found is None and time.monotonic() < ends:
        row = _found(settings, before.case_id)
        found = action.answer(row)
        if found is None:
            time.sleep(_LOOK_S)
    if given["as_json"]:
        answer = None if found is None else not found.refused
        print_json({"case_id": row.case_id, "key": action.key, "taken": answer, "version": row.version,
                    "refused": found.refused if found else "", "repeat": repeat})  # fmt: skip
    elif found is None:
        line(f"{row.case_id}: sent; whether it is taken will be seen in `cx cases show {row.case_id}`")
    elif found.refused:
        line(f"{row.case_id}: refused: {found.refused}", err=True)
    else:
        line(f"{row.case_id}: {found.what}, version {row.version}{' (it was done before)' if repeat else ''}")
    if found is not None and found.refused:
        sys.exit(_CONFLICT)


# How it is shown


@contextmanager
def _store(settings: Settings) -> Iterator[Any]:
    with closing(connect(as_reader(address_of(settings), settings))) as client:
        yield client


def _found(settings: Settings, case_id: str) -> CaseRow:
    with _store(settings) as client:
        found = read_cases(client, "case_id = {case_id:String}", {"case_id": case_id})
    if not found:
        line(f"there is no case {case_id}; `cx cases list --all` shows those that there are", err=True)
        sys.exit(_CONFLICT)
    return found[0]


def _now() -> int:
    return int(time.time() * 1000)


def _state(row: CaseRow) -> str:
    state = "waits" if row.state == "waiting" else row.state
    return f"{state}, missed" if row.missed and row.state != "closed" else state


def _left(row: CaseRow, now: int) -> str:
    if row.due is None:
        return ""
    which = "contact" if row.due == row.contact_due and row.contacted is None else "close"
    return f"{which} {_length(row.due - now)}"


def _length(milliseconds: int) -> str:
    minutes = abs(milliseconds) // 60_000
    text = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} d"
    return f"in {text}" if milliseconds >= 0 else f"{text} ago"


def _clock(due: int | None, done: int | None, now: int, how: str) -> str:
    if done is not None:
        kept = (
            "" if due is None else ", in time" if done <= due else f", {_length(due - done).removesuffix(' ago')} late"
        )
        return f"{_moment(done)}{kept}{f', {how}' if how else ''}"
    return "no time is set" if due is None else f"by {_moment(due)}, {_length(due - now)}"


def _moment(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _plain(row: CaseRow, urgency: Urgency) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(row, name) for name in CaseRow.__struct_fields__ if name != "revision"}
    for name in ("opened", "began", "contact_due", "contacted", "close_due", "closed"):
        found[name] = None if found[name] is None else datetime.fromtimestamp(found[name] / 1000, UTC).isoformat()
    found["story"] = [
        {"at": datetime.fromtimestamp(one.at / 1000, UTC).isoformat(), "what": one.what, "refused": one.refused}
        for one in row.story
    ]
    parts = {part.name: {"points": part.points, "known": part.known, "text": part.text} for part in urgency.parts}
    return {**found, "urgency": urgency.score, "parts": parts}
