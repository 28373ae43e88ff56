"""`cx dashboards`: Grafana's dashboards, made of the KPI definitions."""

import sys
from pathlib import Path

import click

from streams.commands.output import plain_errors
from streams.commands.printing import echo
from streams.dashboards import files
from streams.definitions import kpis_of
from streams.kpis.catalogue.catalogue import Catalogue
from streams.settings import load
from streams.shipped import DASHBOARDS


@click.group()
def dashboards() -> None:
    """Make and check Grafana's dashboards.

    Without --folder: those of the project, from the built-in KPI definitions.
    """


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Another folder, e.g. Grafana's own; KPIs of the setting kpis_path (CX_KPIS_PATH) are included.",
)


def _of(folder: Path | None) -> tuple[Catalogue, Path]:
    if folder is None:
        return Catalogue.load(), DASHBOARDS
    return kpis_of(load()), folder


@dashboards.command("generate")
@_folder
@plain_errors
def generate(folder: Path | None) -> None:
    """Write the dashboards that have changed.

    \b
    Examples:
      cx dashboards generate
      CX_KPIS_PATH=my-kpis cx dashboards generate --folder /var/lib/grafana/dashboards/cx
    """
    for line in files.write(*_of(folder)):
        echo(line)


@dashboards.command("check")
@_folder
@plain_errors
def check(folder: Path | None) -> None:
    """Exit 1 if the files are not what the KPI definitions give."""
    found = files.problems(*_of(folder))
    for line in found:
        echo(line, err=True)
    if found:
        echo("the dashboards are not up to date: run `cx dashboards generate`", err=True)
        sys.exit(1)
    echo("the dashboards are up to date")
