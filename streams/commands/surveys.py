"""`cx surveys`: who may be asked, who was not and why, and whether enough customers are heard."""

from pathlib import Path

import click

from streams.asking.deciding import length_text
from streams.asking.definition import Survey
from streams.commands.output import plain_errors, table
from streams.commands.printing import echo
from streams.commands.surveys_decide import surveys_decide
from streams.commands.surveys_heard import surveys_bias, surveys_coverage
from streams.definitions import survey_rules_of
from streams.settings import load


@click.group()
def surveys() -> None:
    """Check rules of surveys, try them on what has happened, and hold answers against the plan.

    The rules are those of CX_SURVEYS_PATH, or those shipped; docs/SURVEYS.md tells of every key.

    \b
    Examples:
      cx surveys check my-surveys.yaml
      cx surveys decide --from -30d --rules my-surveys.yaml
      cx surveys coverage
      cx surveys bias --by channel
    """


@surveys.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@plain_errors
def surveys_check(paths: tuple[Path, ...]) -> None:
    """Check rules of surveys, with lines, and show what they say.

    Those in PATHS, else those of CX_SURVEYS_PATH, else those shipped. Exit codes: 0 all sound, 1 problems.
    """
    found = survey_rules_of(load(), paths)
    rows = [
        (one.id, one.touchpoint, length_text(one.again_ms), _after(one), _share(one), str(one.opens), one.name["en"])
        for one in found.surveys.values()
    ]
    columns = ("SURVEY", "TOUCHPOINT", "AGAIN", "AFTER", "SHARE", "OCCASIONS", "NAME")
    echo(table(columns, rows, least=("NAME", "OCCASIONS")))
    reviews = sum(one.review for one in found.surveys.values())
    echo(f"{len(found.surveys) - reviews} surveys and {reviews} invitations to review, all sound")


def _after(one: Survey) -> str:
    """Return how long after others it may come, where that is its own."""
    if one.after_frequent_ms is not None:
        return length_text(one.after_frequent_ms)
    return ", ".join(f"{other} {length_text(length)}" for other, length in one.after_ms.items())


def _share(one: Survey) -> str:
    """Return how many are asked, by group if it is so."""
    groups = [*one.shares.items(), *([("other", one.share)] if one.shares else [])]
    return ", ".join(f"{group} {share:g}%" for group, share in groups) or f"{one.share:g}%"


for _command in (surveys_decide, surveys_coverage, surveys_bias):
    surveys.add_command(_command)
