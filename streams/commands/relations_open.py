"""`cx relations open`: what waits for its end, beside what has ended."""

from collections import Counter
from contextlib import closing
from zoneinfo import ZoneInfo

import click

from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo
from streams.definitions import live_relations_of, relations_of
from streams.relations.facts import moment_of
from streams.settings import load
from streams.storage.connection import address_of, connect
from streams.storage.open_matters import standings


@click.command("open")
@as_json_option
@plain_errors
def relations_open(*, as_json: bool) -> None:
    """Count what waits for its end, beside what has ended, by relation: as of the watermark of the stored events.

    What is open is in no share of those that have ended: nobody within the waiting time is counted as lost.

    \b
    Examples:
      cx relations open
      cx relations open --json
    """
    settings = load()
    relations = live_relations_of(settings) or relations_of(settings)
    with closing(connect(address_of(settings), timeout_s=600.0)) as client:
        found = standings(client, relations, settings.lateness_s)
    zone = ZoneInfo(settings.zone)
    if as_json:
        print_json([
            {
                "relation": name,
                "open": one.open,
                "oldest": None if one.oldest_ms is None else moment_of(one.oldest_ms).isoformat(),
                "ended": dict(one.ended),
                "stages": dict(one.stages),
            }
            for name, one in found.items()
        ])  # fmt: skip
        return
    rows = [
        (
            name,
            f"{one.open:,}",
            "" if one.oldest_ms is None else f"{moment_of(one.oldest_ms).astimezone(zone):%Y-%m-%d %H:%M}",
            f"{one.ended.total():,}",
            _shares(one.ended) + (f"; now in {_counts(one.stages)}" if one.stages else ""),
        )
        for name, one in found.items()
        if one.open or one.ended
    ]
    echo(table(("RELATION", "OPEN", "SINCE", "ENDED", "OF THOSE"), rows))


def _shares(ended: Counter[str]) -> str:
    return ", ".join(f"{outcome} {100 * n / ended.total():.1f} %" for outcome, n in ended.most_common())


def _counts(stages: Counter[str]) -> str:
    return ", ".join(f"{stage} {n:,}" for stage, n in stages.most_common())
