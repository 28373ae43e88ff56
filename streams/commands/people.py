"""`cx forget` and `cx export`: what is stored of a person, taken away or given to them."""

import json
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from streams.commands.output import as_json_option, plain_errors, print_json
from streams.commands.printing import echo
from streams.definitions import relations_of
from streams.events.anonymous import names_for_nobody
from streams.kpis.arithmetic.coupons import bin_of
from streams.local.admin import admin_of
from streams.privacy.forgotten import Forgotten
from streams.privacy.pseudonyms import Pseudonyms
from streams.secured.protection import pseudonyms_of
from streams.settings import load
from streams.storage import erasing
from streams.storage.connection import FAILURES, connect, explain


@click.command()
@click.argument("subjects", nargs=-1, metavar="SUBJECT…")
@click.option(
    "--from", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A file, one a line."
)
@as_json_option
@plain_errors
def forget(subjects: tuple[str, ...], file: Path | None, *, as_json: bool) -> None:
    """Erase people: everything that tells of them goes, KPIs stay as they are.

    SUBJECT is a customer key, a telephone number, an address … as it was sent, or a pseudonym. Their events stay
    as events of nobody, so that every KPI can still be recomputed; dead letters that name them are emptied; workers
    take nothing more that happened until now, also when old topics are read again. Then every table is searched.
    The user of CX_CLICKHOUSE_USER must be allowed to alter tables, as for `cx migrate`; beside a `cx up` it is.
    docs/PRIVACY.md says what Kafka keeps.

    \b
    Exit codes: 0 nothing of them is found any more; 1 something is, which is said.

    \b
    Examples:
      cx forget customer-4711
      cx forget "+98 912 000 0012" --json
      cx forget --from erase-these.txt
    """
    asked = [*subjects, *(_lines_of(file) if file else [])]
    people = [name for name in map(str.strip, asked) if name]
    if not people:
        raise click.UsageError("who? Name a SUBJECT, or a file by --from")
    settings = load()
    relations_of(settings)
    pseudonyms = pseudonyms_of(settings, make=False)
    known = _all_names(pseudonyms, people)
    with closing(connect(admin_of(settings), timeout_s=3_600.0)) as client:
        try:
            erasing.list_as_forgotten(client, Forgotten(pseudonyms.seed), known, datetime.now(UTC))
            there = erasing.subjects_in(client, known)
            # Names of people without events stand for nobody, too: others may name them.
            names = names_for_nobody(there, bin_of) | dict.fromkeys(set(known) - there, "erased")
            erased = erasing.erase(client, names, settings.clickhouse_cluster)
            looked_in, found = erasing.search(client, known)
            erasing.record(client, len(people), erased, looked_in, found)
        except FAILURES as error:
            raise explain(error, "erasing; call it again, it goes on where it was") from error
    if as_json:
        print_json({
            "ok": not found,
            "people": len(people),
            **erased._asdict(),
            "looked_in": looked_in,
            "found": [one._asdict() for one in found],
        })  # fmt: skip
    else:
        echo(
            f"{len(people):,} people: {erased.events:,} events belong to nobody now, {erased.mentions:,} of others no"
            f" longer name them, {erased.dead_letters:,} dead letters are empty"
        )
        for one in found:
            echo(
                f"still found: {one.rows:,} rows of {one.table}, column {one.column}; call it again in a minute",
                err=True,
            )
        if not found:
            echo(f"nothing of them is found in {len(looked_in)} tables")
    sys.exit(1 if found else 0)


@click.command()
@click.argument("subject")
@plain_errors
def export(subject: str) -> None:
    """Print what is stored of a person, as JSON: one line for each event and dead letter, oldest first.

    SUBJECT is a customer key, a telephone number, an address … as it was sent, or a pseudonym.

    \b
    Examples:
      cx export customer-4711 > customer-4711.jsonl
    """
    settings = load()
    with closing(connect(admin_of(settings), timeout_s=600.0)) as client:
        try:
            for one in erasing.export(client, _all_names(pseudonyms_of(settings, make=False), [subject])):
                echo(json.dumps({**one, "record": _read(one["record"])}, ensure_ascii=False))
        except FAILURES as error:
            raise explain(error, "reading what is stored of a person") from error


def _lines_of(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from error


def _all_names(pseudonyms: Pseudonyms, people: list[str]) -> list[str]:
    """Return the people as they were named, and their pseudonyms under all keys."""
    return list(dict.fromkeys(name for one in people for name in (one, *pseudonyms.all_of(one))))


def _read(payload: str) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload
