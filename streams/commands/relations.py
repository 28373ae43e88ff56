"""`cx relations`: what is derived of the events of one customer, and whether the definitions can be right."""

import sys
import textwrap
from pathlib import Path

import click

from streams.commands.output import as_json_option, clone, print_json, table
from streams.commands.printing import echo, room
from streams.commands.relations_explain import relations_explain
from streams.commands.relations_open import relations_open
from streams.definitions import relations_of
from streams.events.derived import SHIPPED, written
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.relations.catalogue import Relations
from streams.relations.catalogue import load as load_relations
from streams.relations.definition import Relation
from streams.relations.docs import filled
from streams.relations.events import types_of
from streams.relations.kinds import SpanRelation
from streams.relations.timelinefiles import SWITCHES, load_timelines
from streams.relations.timelinefiles import check as check_timeline
from streams.settings import load
from streams.shipped import KPIS_OF_RELATIONS, RELATION_TESTS, RELATIONS

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


@click.group()
def relations() -> None:
    """List, show, check, test and explain relations: what happens between the events of one customer.

    Those shipped, and those of the setting relations_path (CX_RELATIONS_PATH); docs/RELATIONS.md tells of every key.
    """


relations.add_command(relations_explain)
relations.add_command(relations_open)


def _loaded(paths: tuple[Path, ...] = ()) -> Relations:
    """Read the configured relations and those of the paths; exit with 1 and every problem if they cannot be right."""
    try:
        return relations_of(load(), paths)
    except CatalogueError as exc:
        echo(str(exc), err=True)
        echo(f"{len(exc.problems)} problems; docs/RELATIONS.md tells of every key", err=True)
        sys.exit(1)


@relations.command("list")
@as_json_option
def relations_list(*, as_json: bool) -> None:
    """List all relations."""
    found = _loaded()
    if as_json:
        print_json([_plain(relation) for relation in found.values()])
        return
    named = {name.strip() for name in load().relations.split(",")} - {""}
    rows = [
        (
            one.id,
            "yes" if named & {one.id, "all"} else "",
            one.kind,
            ", ".join(one.by) or "customer",
            one.emits,
            one.name.get("en", ""),
        )
        for one in found.values()
    ]
    echo(table(("RELATION", "RUNS", "KIND", "BY", "EMITS", "NAME"), rows, least=("NAME", "BY")))
    if not named:
        echo("None of them runs: CX_RELATIONS names those that do.")


@relations.command("show")
@click.argument("relation_id")
@as_json_option
def relations_show(relation_id: str, *, as_json: bool) -> None:
    """Show one relation: what it reads, when it ends, and the fields of its derived events."""
    try:
        relation = _loaded()[relation_id]
    except KeyError as exc:
        echo(exc.args[0], err=True)
        sys.exit(1)
    if as_json:
        print_json(_plain(relation))
        return
    echo(f"{relation.id}: {relation.name.get('en', '')} [{relation.version}]\n  {relation.question}")
    late = f"by events up to {relation.revises_ms / _DAY_MS:g} d late" if relation.revises_ms else "never"
    for label, value in (
        ("kind", relation.kind),
        ("owner", relation.owner),
        ("by", ", ".join(("subject", *relation.by))),
        *((key, str(matcher)) for key, matcher in relation.matchers()),
        *_deadline(relation),
        ("revised", late),
        ("emits", relation.emits),
    ):
        echo(f"  {label:16} {value}")
    echo("\nFields of its derived events:")
    for one in relation.outputs():
        text = f"{one.kind}: {one.description}{' (may lack)' if one.optional else ''}"
        echo(textwrap.fill(f"{one.name:16} {text}", room() or 1_000, initial_indent="  ", subsequent_indent=" " * 19))


@relations.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def relations_check(paths: tuple[Path, ...]) -> None:
    """Check relations and clocks: the configured ones, and those in PATHS beside them.

    Exit codes: 0 all sound, 1 problems, each with file and line.
    """
    before, found = _loaded(), _loaded(paths)
    if paths and len(found) == len(before) and len(found.clocks) == len(before.clocks):
        echo(f"{', '.join(map(str, paths))}: no relation and no clock in it", err=True)
        sys.exit(1)
    echo(f"{len(found)} relations and {len(found.clocks)} clocks, all sound")


@relations.command("test")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--only", help="Only timelines whose name contains this.")
@click.option("--with", "switches", multiple=True, type=click.Choice(SWITCHES), help="What may happen; default: all.")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 1000), help="Chances for each of it.")
@as_json_option
def relations_test(
    paths: tuple[Path, ...], *, only: str | None, switches: tuple[str, ...], seeds: int, as_json: bool
) -> None:
    """Play the timelines in PATHS (files, or folders with *.yaml), else those of the shipped relations.

    A timeline has events at times, and says what is derived of them; each is played as it stands, then with events out
    of order, stops in the middle and repeats, which must change nothing that holds in the end.

    Exit codes: 0 all as expected, 1 something else happened, 2 a file cannot be right.
    """
    try:
        found = load_timelines(paths or (RELATION_TESTS,), _loaded())
    except CatalogueError as exc:
        echo(str(exc), err=True)
        sys.exit(2)
    chosen = [one for one in found if only is None or only.lower() in one.name.lower()]
    if not chosen:
        echo(f"no timeline{'' if only is None else f' has {only!r} in its name'}", err=True)
        sys.exit(2)
    results = {}
    for one in chosen:
        problems = check_timeline(one)
        for switch in () if problems else switches or SWITCHES:
            for seed in range(seeds):
                problems += [f"{problem} (with {switch} {seed})" for problem in check_timeline(one, switch, seed)]
        results[one.name] = problems
        if not as_json:
            echo(f"{'wrong' if problems else 'right'}  {one.name}")
            for problem in problems:
                echo(f"       {problem}")
    wrong = [name for name, problems in results.items() if problems]
    if as_json:
        print_json([{"timeline": name, "problems": problems} for name, problems in results.items()])
    else:
        echo(f"{len(results) - len(wrong)} of {len(results)} timelines as expected")
    if wrong:
        sys.exit(1)


@relations.command("docs")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a file is not what would be written.")
def relations_docs(*, check: bool) -> None:
    """Write the tables of docs/RELATIONS.md, and the types of derived events."""
    found = load_relations([RELATIONS])
    page = clone() / "docs" / "RELATIONS.md"
    texts = {
        page: filled(page.read_text(encoding="utf-8"), found, Catalogue.load([KPIS_OF_RELATIONS], built_in=False)),
        clone() / "streams" / "events" / SHIPPED.name: written(types_of(found.values())),
    }
    stale = [file for file, text in texts.items() if file.read_text(encoding="utf-8") != text]
    for file in stale:
        if check:
            echo(f"{file.relative_to(clone())} is not up to date: run `cx relations docs`", err=True)
        else:
            file.write_text(texts[file], encoding="utf-8")
    if check and stale:
        sys.exit(1)


def _deadline(relation: Relation) -> list[tuple[str, str]]:
    """Say by when a relation ends."""
    expiry = relation.deadline if isinstance(relation, SpanRelation) else getattr(relation, "expires", None)
    if expiry is None:
        return []
    when = f"at {expiry.at}" if expiry.at else f"after {expiry.after_ms / _HOUR_MS:g} h"
    clock = f" by the clock {relation.clock.name}" if isinstance(relation, SpanRelation) and relation.clock else ""
    silence = " without activity" if not isinstance(relation, SpanRelation) or relation.by_silence else ""
    return [(expiry.outcome or "target", f"{when}{silence}{clock}")]


def _plain(relation: Relation) -> dict[str, object]:
    return {
        "id": relation.id,
        "kind": relation.kind,
        "name": dict(relation.name),
        "question": relation.question,
        "owner": relation.owner,
        "by": list(relation.by),
        "emits": relation.emits,
        "reads": sorted(relation.events),
        "revises_s": relation.revises_ms / 1000,
        "version": relation.version,
        "fields": [{"name": one.name, "kind": str(one.kind), "optional": one.optional} for one in relation.outputs()],
    }
