"""What all commands about drivers share: their options, the answers they read, and how they print them."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import click

from streams.commands.arguments import EARLIEST, MomentType, When
from streams.commands.printing import echo
from streams.drivers.definition import OUTCOMES
from streams.drivers.levels import LevelGain
from streams.drivers.regression import Association
from streams.settings import load
from streams.storage.connection import address_of, connect
from streams.storage.drivers import StoredAnswers, answers_of
from streams.storage.queries import as_reader

ASSOCIATION: Final = "Association, not cause: what is not seen may move both. An experiment tells."

outcome_option = click.option("--outcome", type=click.Choice([*OUTCOMES]), default="csat", show_default=True)
from_option = click.option("--from", "start", type=MomentType(), help="Start, included.  [default: all there is]")
until_option = click.option("--until", "end", type=MomentType(), help="End, not included.  [default: now]")


@contextmanager
def stored(outcome: str, start: When | None, end: When | None) -> Iterator[StoredAnswers]:
    """Read the answers of a span; what cannot be worked out of them ends the command in a line."""
    settings = load()
    zone = ZoneInfo(settings.zone)
    since = start.moment(zone) if start else EARLIEST
    until = end.moment(zone) if end else datetime.now(UTC)
    if until <= since:
        raise click.UsageError("the start is not before the end")
    try:
        with closing(connect(as_reader(address_of(settings), settings))) as client:
            found = answers_of(client, outcome, since, until)
        yield found
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def print_stored(outcome: str, found: StoredAnswers) -> None:
    """Print what answers there are."""
    answers = found.answers
    scale = "" if outcome == "nps" else f", scale of {found.scale}"
    n, people = len(answers.outcome), answers.people()
    echo(f"{outcome}: {OUTCOMES[outcome].about}{scale}")
    echo(f"{answers.outcome.mean():.2f} in {n:,} answers of {people:,} customers")
    if found.other_scales:
        echo(f"{found.other_scales:,} answers of other scales are left out")
    if found.drawn > 1:
        echo(f"there are so many that one of {found.drawn} customers was drawn")


def ends(found: Association | LevelGain | None) -> str:
    """Return a change and its interval; empty: not known."""
    return "" if found is None else f"{found.value:+.2f} [{found.lo:+.2f}, {found.hi:+.2f}]"


def plain_stored(outcome: str, found: StoredAnswers) -> dict[str, Any]:
    """Return what answers there are, as JSON has it."""
    return {
        "outcome": outcome,
        "unit": OUTCOMES[outcome].unit,
        "scale": found.scale,
        "answers": len(found.answers.outcome),
        "customers": found.answers.people(),
        "mean": float(found.answers.outcome.mean()),
        "other_scales": found.other_scales,
        "drawn_one_of": found.drawn,
        "association_only": True,
    }


def plain_association(found: Association | None) -> dict[str, float] | None:
    """Return a change as JSON has it."""
    return None if found is None else found._asdict()
