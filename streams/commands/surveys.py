"""`cx surveys`: who may be asked, who was not and why, and whether enough customers are heard."""

from pathlib import Path

import click

from streams.commands.output import plain_errors
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
    """Check rules of surveys, with lines.

    Those in PATHS, else those of CX_SURVEYS_PATH, else those shipped. Exit codes: 0 all sound, 1 problems.
    """
    found = survey_rules_of(load(), paths)
    reviews = sum(one.review for one in found.surveys.values())
    echo(f"{len(found.surveys) - reviews} surveys and {reviews} invitations to review, all sound")


for _command in (surveys_decide, surveys_coverage, surveys_bias):
    surveys.add_command(_command)
