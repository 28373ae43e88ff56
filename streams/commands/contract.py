"""`cx kpis`, `cx schemas`, `cx test`: the definitions and whether they hold."""

import dataclasses
import json
import sys
import time
from contextlib import closing
from pathlib import Path

import click

from streams.commands.arguments import KpiIdType, NumberRange
from streams.commands.output import aligned, as_json_option, clone, fitted, plain_errors, print_json
from streams.commands.printing import echo
from streams.definitions import kpis_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.settings import load
from streams.shipped import SCHEMAS


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def test(arguments: tuple[str, ...]) -> None:
    """Run the tests (arguments go to pytest)."""
    from streams.bootstrap import run_tests  # noqa: PLC0415

    clone()
    sys.exit(run_tests(list(arguments)))


@click.group()
def kpis() -> None:
    """List, show and check KPI definitions.

    The built-in ones, and those of the setting kpis_path (CX_KPIS_PATH).
    """


def _catalogue() -> Catalogue:
    try:
        return kpis_of(load())
    except CatalogueError as exc:
        echo(str(exc), err=True)
        sys.exit(1)


@kpis.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def kpis_list(*, as_json: bool) -> None:
    """List all KPIs."""
    catalogue = _catalogue()
    if as_json:
        rows = [
            {
                "id": k.id,
                "name": k.name,
                "unit": k.unit,
                "class": k.class_,
                "aggregator": k.aggregator,
                "owner": k.owner,
                "groupings": k.groupings,
                "definition": k.definition_id,
            }
            for k in catalogue
        ]
        echo(json.dumps(rows, ensure_ascii=False))
        return
    for line in aligned(fitted([(kpi.id, kpi.class_, kpi.unit, kpi.name) for kpi in catalogue], least=[1])):
        echo(line)


@kpis.command("show")
@click.argument("kpi_id", type=KpiIdType())
def kpis_show(kpi_id: str) -> None:
    """Show one definition."""
    from streams.kpis.catalogue.counting import counted  # noqa: PLC0415
    from streams.kpis.catalogue.docs import alert_text  # noqa: PLC0415

    try:
        kpi = _catalogue()[kpi_id]
    except KeyError as exc:
        echo(exc.args[0], err=True)
        sys.exit(1)
    echo(f"{kpi.id}: {kpi.name} [{kpi.definition_id}]\n  {kpi.question}")
    for label, value in (
        ("formula", kpi.formula),
        ("source", kpi.source),
        ("owner", kpi.owner),
        ("unit", f"{kpi.unit}, {kpi.direction} is better" if kpi.direction != "none" else kpi.unit),
        ("class", f"{kpi.class_}, {kpi.maturity}"),
        ("aggregator", kpi.aggregator),
        ("counts", counted(kpi) or "nothing itself: it is made of other KPIs"),
        ("events", ", ".join(sorted(kpi.event_types))),
        ("groupings", "; ".join(" × ".join(group) or "overall" for group in kpi.groupings)),
        ("shown from", f"n = {kpi.min_n.show}, coloured from {kpi.min_n.colour}, alerted on from {kpi.min_n.alert}"),
        ("alert", alert_text(kpi)),
        ("params", ", ".join(f"{key} = {value}" for key, value in kpi.params.items()) or "none"),
    ):
        echo(f"  {label:11} {value}")


@kpis.command("check")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def kpis_check(paths: tuple[Path, ...]) -> None:
    """Check definitions: the configured ones, and those in PATHS beside the built-in ones."""
    try:
        catalogue = kpis_of(load(), paths)
    except CatalogueError as exc:
        echo(str(exc), err=True)
        sys.exit(1)
    if paths and len(catalogue) == len(Catalogue.load()):
        echo(f"{', '.join(map(str, paths))}: no KPI definition in it", err=True)
        sys.exit(1)
    echo(f"{len(catalogue)} KPI definitions, all sound")


@kpis.command("docs")
@click.option("--check", is_flag=True, help="Change nothing; exit 1 if a file is not what would be written.")
def kpis_docs(*, check: bool) -> None:
    """Write docs/KPIS.md from the built-in definitions, and the views kpi_steps and experience from what they show."""
    from streams.kpis.catalogue.docs import page  # noqa: PLC0415
    from streams.storage.experience_view import experience_view  # noqa: PLC0415
    from streams.storage.steps_view import steps_view  # noqa: PLC0415

    stale = []
    texts = {
        "docs/KPIS.md": page(Catalogue.load()),
        "sql/views/kpi_steps.sql": steps_view(),
        "sql/views/experience.sql": experience_view(),
    }
    for name, text in texts.items():
        target = clone() / name
        if not check:
            target.write_text(text, encoding="utf-8")
        elif target.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        echo(f"{', '.join(stale)} not up to date: run `cx kpis docs`", err=True)
        sys.exit(1)


@click.group()
def schemas() -> None:
    """Generate and check the event schemas."""


@schemas.command("generate")
def schemas_generate() -> None:
    """Write schemas/ from the event types."""
    from streams.events.schemas import write  # noqa: PLC0415

    for line in write(clone() / "schemas"):
        echo(line)


@schemas.command("check")
@click.option("--base", help="Git revision whose published schemas must not be broken.")
@click.option("--stood", type=NumberRange(0), metavar="HOURS",
              help="Nor any that has stood so long in Git's history.")  # fmt: skip
def schemas_check(base: str | None, stood: float | None) -> None:
    """Check that schemas/ is up to date, its examples hold, and nothing published is broken."""
    from streams.events.compatibility import published_at, published_by_standing  # noqa: PLC0415
    from streams.events.schemas import problems  # noqa: PLC0415

    published = None if stood is None else published_by_standing(SCHEMAS, 3600 * stood, time.time())
    if base is not None:
        published = {**(published or {}), **published_at(SCHEMAS, base)}
    found = problems(SCHEMAS, published)
    for line in found:
        echo(line, err=True)
    if found:
        sys.exit(1)
    echo("schemas are up to date and compatible")


@schemas.command("list")
def schemas_list() -> None:
    """List the event types with their schema files."""
    from streams.events.schemas import schema_paths  # noqa: PLC0415

    for name, path in schema_paths().items():
        echo(f"{name:32} {path}")


@schemas.command("unknown")
@as_json_option
@plain_errors
def schemas_unknown(*, as_json: bool) -> None:
    """List fields of stored events that their type does not have: taken, but in no KPI. Most are misspelt.

    At most 2,000 events of each type are looked at, of those stored on the last day. Exit code 1 if there are any.
    """
    from streams.storage.connection import address_of, connect  # noqa: PLC0415
    from streams.storage.unknown import unknown_fields  # noqa: PLC0415

    with closing(connect(address_of(load()))) as client:
        found = unknown_fields(client)
    if as_json:
        print_json({"ok": not found, "unknown": [dataclasses.asdict(one) for one in found]})
    else:
        for one in found:
            echo(str(one))
        if not found:
            echo("no unknown fields in what was stored on the last day")
    sys.exit(1 if found else 0)
