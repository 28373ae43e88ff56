"""
Grafana's classic dashboard model, as far as it is used here: panels, targets, overrides, layout.

Classic JSON of schema version 39 loads from Grafana 11.6 on; later versions migrate it when they load it. Targets are
those of the ClickHouse plugin 4.x: `editorType` is `sql`, `format` 0 is a time series and 1 a table.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from streams.dashboards.look import BLUE, NO_DATA, Json
from streams.kpis.catalogue.catalogue import Catalogue

Kind: TypeAlias = Literal["timeseries", "table"]

PLUGIN: Final = "grafana-clickhouse-datasource"
PLUGIN_VERSION: Final = "4.20.0"
GRAFANA_VERSION: Final = "11.6.0"
SCHEMA_VERSION: Final = 39
DATASOURCE: Final = {"type": PLUGIN, "uid": "${datasource}"}
FULL_WIDTH: Final = 24

_FORMATS: Final = {"timeseries": 0, "table": 1}


@dataclass(frozen=True, slots=True)
class Panel:
    """
    One panel before it is placed.

    `key` is unique in its dashboard and gives the panel its id, which thus stays when others come or go.
    """

    key: str
    title: str
    type: str
    width: int
    height: int
    description: str = ""
    targets: tuple[Json, ...] = ()
    defaults: Json = field(default_factory=dict)
    overrides: tuple[Json, ...] = ()
    options: Json = field(default_factory=dict)
    transformations: tuple[Json, ...] = ()
    links: tuple[Json, ...] = ()
    more: Json = field(default_factory=dict)

    def sized(self, width: int, height: int | None = None) -> "Panel":
        """Return the same panel in another size."""
        return replace(self, width=width, height=height or self.height)


def target(sql: str, kind: Kind, ref: str = "A") -> Json:
    """Return a query of the ClickHouse plugin."""
    return {
        "datasource": DATASOURCE,
        "editorType": "sql",
        "format": _FORMATS[kind],
        "meta": {},
        "pluginVersion": PLUGIN_VERSION,
        "queryType": kind,
        "rawSql": sql.strip(),
        "refId": ref,
    }


def link(title: str, url: str) -> Json:
    """Return a link of a value or a panel."""
    return {"title": title, "url": url, "targetBlank": False}


def override(matcher: Literal["byName", "byRegexp"], what: str, properties: Mapping[str, object]) -> Json:
    """Return an exception from the defaults for the fields with a name."""
    return {
        "matcher": {"id": matcher, "options": what},
        "properties": [{"id": name, "value": value} for name, value in properties.items()],
    }


def fixed(colour: str) -> Json:
    """Return the colour scheme of one colour."""
    return {"mode": "fixed", "fixedColor": colour}


def value_mapping(colours: Mapping[str, str]) -> list[Json]:
    """Return the colours of words."""
    words = {word: {"color": colour, "index": index} for index, (word, colour) in enumerate(colours.items())}
    return [{"type": "value", "options": words}]


def plain(unit: str, **more: object) -> Json:
    """Return defaults of a field: its unit, one colour, and words instead of a missing value."""
    return {
        "color": fixed(BLUE),
        "mappings": [],
        "noValue": NO_DATA,
        "thresholds": {"mode": "absolute", "steps": [{"color": BLUE, "value": None}]},
        "unit": unit,
        **more,
    }


def drawn(unit: str, *, custom: Mapping[str, object] | None = None, **more: object) -> Json:
    """Return defaults of a time series: gaps stay gaps, and single points can be seen."""
    return plain(
        unit,
        custom={
            "axisBorderShow": False,
            "axisCenteredZero": False,
            "axisColorMode": "text",
            "axisLabel": "",
            "axisPlacement": "auto",
            "barAlignment": 0,
            "drawStyle": "line",
            "fillOpacity": 0,
            "gradientMode": "none",
            "hideFrom": {"legend": False, "tooltip": False, "viz": False},
            "insertNulls": False,
            "lineInterpolation": "linear",
            "lineWidth": 2,
            "pointSize": 5,
            "scaleDistribution": {"type": "linear"},
            "showPoints": "always",
            "spanNulls": False,
            "stacking": {"group": "A", "mode": "none"},
            "thresholdsStyle": {"mode": "off"},
            **(custom or {}),
        },
        **more,
    )


def graph_options(calcs: Sequence[str] = ()) -> Json:
    """Return the options of a time series panel."""
    shown = "table" if calcs else "list"
    return {
        "legend": {"calcs": list(calcs), "displayMode": shown, "placement": "bottom", "showLegend": True},
        "tooltip": {"hideZeros": False, "mode": "multi", "sort": "none"},
    }


def stat_options() -> Json:
    """Return the options of a tile: one number per field, on a background of its colour, below its name."""
    return {
        "colorMode": "background",
        "graphMode": "none",
        "justifyMode": "center",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value_and_name",
        "wideLayout": True,
    }


def table_options(sort_by: str = "", *, descending: bool = True) -> Json:
    """Return the options of a table."""
    sort = [{"displayName": sort_by, "desc": descending}] if sort_by else []
    return {
        "cellHeight": "sm",
        "footer": {"countRows": False, "enablePagination": True, "fields": "", "reducer": ["sum"], "show": False},
        "showHeader": True,
        "sortBy": sort,
    }


def table_custom(**more: object) -> Json:
    """Return how the cells of a table look."""
    return {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False, **more}


def table(
    key: str,
    title: str,
    asked: str,
    description: str,
    width: int = FULL_WIDTH,
    height: int = 9,
    overrides: tuple[Json, ...] = (),
) -> Panel:
    """Return a table of what is asked for, a column per field."""
    return Panel(
        key=key,
        title=title,
        type="table",
        width=width,
        height=height,
        description=description,
        targets=(target(asked, "table"),),
        defaults=plain("none", custom=table_custom()),
        overrides=overrides,
        options=table_options(),
    )


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A heading and the panels below it."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class DashboardSpec:
    """A dashboard before it is written: `uid` and `slug` are its address, `slug` its file."""

    slug: str
    title: str
    description: str
    rows: tuple[PanelRow, ...]
    variables: tuple[Json, ...]
    annotations: tuple[Json, ...] = ()
    since: str = "now-24h"

    @property
    def uid(self) -> str:
        """Its name in links, which stays whatever else changes."""
        return f"cx-{self.slug}"


Make: TypeAlias = Callable[[Catalogue], DashboardSpec | None]
"""Makes a dashboard, or none where nothing that it shows is counted."""
REGISTERED: Final[list[Make]] = []
"""Of every dashboard, what makes it; filled when the modules of this package are imported."""


def registered(make: Make) -> Make:
    """Register a function that makes a dashboard: it is written, checked and shown like all others."""
    REGISTERED.append(make)
    return make


def dashboard(board: DashboardSpec) -> Json:
    """
    Write a dashboard: panels flow from left to right, and begin a new line when they would not fit.

    Raises:
        ValueError: Two panels have the same key, or a panel is wider than the page.
    """
    return {
        "annotations": {"list": [_BUILT_IN, *board.annotations]},
        "description": board.description,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [_ALL_BOARDS],
        "panels": list(_placed(board)),
        "refresh": "1m",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["cx"],
        "templating": {"list": list(board.variables)},
        "time": {"from": board.since, "to": "now"},
        "timepicker": {},
        "timezone": "",
        "title": board.title,
        "uid": board.uid,
        "version": 1,
        "weekStart": "",
    }


def _placed(board: DashboardSpec) -> Iterable[Json]:
    ids: dict[int, str] = {}

    def numbered(key: str) -> int:
        number = 1 + zlib.crc32(f"{board.slug}/{key}".encode()) % 999_999
        if number in ids:
            raise ValueError(f"dashboard {board.slug}: panels {ids[number]!r} and {key!r} have the same id: rename one")
        ids[number] = key
        return number

    y = 0
    for row in board.rows:
        yield _heading(numbered(f"row/{row.title}"), row.title, y)
        x, y, tallest = 0, y + 1, 0
        for panel in row.panels:
            if panel.width > FULL_WIDTH:
                raise ValueError(f"dashboard {board.slug}: panel {panel.key!r} is {panel.width} of 24 columns wide")
            if x + panel.width > FULL_WIDTH:
                x, y, tallest = 0, y + tallest, 0
            yield _written(panel, numbered(panel.key), {"h": panel.height, "w": panel.width, "x": x, "y": y})
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def _heading(number: int, title: str, y: int) -> Json:
    place = {"h": 1, "w": FULL_WIDTH, "x": 0, "y": y}
    return {"collapsed": False, "gridPos": place, "id": number, "panels": [], "title": title, "type": "row"}


def _written(panel: Panel, number: int, place: Json) -> Json:
    written: Json = {
        "description": panel.description,
        "gridPos": place,
        "id": number,
        "links": list(panel.links),
        "options": panel.options,
        "pluginVersion": GRAFANA_VERSION,
        "title": panel.title,
        "type": panel.type,
        **panel.more,
    }
    if panel.targets:
        written |= {
            "datasource": DATASOURCE,
            "fieldConfig": {"defaults": panel.defaults, "overrides": list(panel.overrides)},
            "targets": list(panel.targets),
            "transformations": list(panel.transformations),
        }
    else:
        written["fieldConfig"] = {"defaults": {}, "overrides": []}
    return written


_BUILT_IN: Final = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}

_ALL_BOARDS: Final = {
    "asDropdown": True,
    "icon": "external link",
    "includeVars": True,
    "keepTime": True,
    "tags": ["cx"],
    "targetBlank": False,
    "title": "Customer experience",
    "tooltip": "The other dashboards, with the same filters and times",
    "type": "dashboards",
    "url": "",
}
