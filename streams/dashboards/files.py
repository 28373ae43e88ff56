"""The dashboards as files: written from the catalogue, and checked to be what would be written."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from streams import dashboards
from streams.dashboards import alarms
from streams.dashboards.grafana import REGISTERED, DashboardSpec, dashboard
from streams.kpis.catalogue.catalogue import Catalogue


def boards(catalogue: Catalogue) -> Iterator[DashboardSpec]:
    """
    Yield all dashboards.

    Raises:
        KeyError: The catalogue lacks a KPI that a dashboard shows.
        ValueError: A dashboard is not sound.
    """
    for module in sorted(one.name for one in iter_modules(dashboards.__path__)):
        import_module(f"{dashboards.__name__}.{module}")
    for make in REGISTERED:
        if (board := make(catalogue)) is not None:
            yield replace(board, annotations=(alarms.ANNOTATION,))


def texts(catalogue: Catalogue) -> dict[str, str]:
    """Return the content of every file, by its name."""
    return {
        f"{board.slug}.json": json.dumps(dashboard(board), ensure_ascii=False, indent=2) + "\n"
        for board in boards(catalogue)
    }


def write(catalogue: Catalogue, folder: Path) -> list[str]:
    """Bring a folder up to date and return what was done, file by file; JSON that is none of ours is removed."""
    wanted = texts(catalogue)
    folder.mkdir(parents=True, exist_ok=True)
    done = []
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            done.append(f"wrote {name}")
    for path in sorted(folder.glob("*.json")):
        if path.name not in wanted:
            path.unlink()
            done.append(f"removed {path.name}")
    return done


def problems(catalogue: Catalogue, folder: Path) -> list[str]:
    """Return how the files in a folder differ from what would be written; nothing if they do not."""
    wanted = texts(catalogue)
    present = {path.name: path for path in folder.glob("*.json")}
    missing = [f"{name}: not there" for name in wanted if name not in present]
    changed = [
        f"{name}: not what the catalogue gives"
        for name, text in wanted.items()
        if name in present and present[name].read_text(encoding="utf-8") != text
    ]
    unknown = [f"{name}: not one of ours" for name in sorted(present) if name not in wanted]
    return [*missing, *changed, *unknown]
