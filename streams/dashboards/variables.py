"""The variables of the dashboards: what to look at, of whom, and over which window."""

# ruff: noqa: S608 - statements are made of the catalogue; every literal is escaped

from collections.abc import Iterable, Sequence

from streams.dashboards.grafana import DATASOURCE, PLUGIN, PLUGIN_VERSION
from streams.dashboards.look import Json
from streams.dashboards.sql import TOTAL, WINDOW_SECONDS, choice, listed, quoted
from streams.events.touchpoints import CHANNELS
from streams.kpis.language.definition import Kpi

_ALL: Json = {"selected": True, "text": ["All"], "value": ["$__all"]}


def standard(
    kpis: Sequence[Kpi], first: str, segments: Iterable[str], units: Iterable[str], *, derived: bool = False
) -> tuple[Json, ...]:
    """
    Return the variables that every dashboard has.

    Args:
        kpis: what can be chosen as the KPI.
        first: the KPI that is chosen at first.
        segments: KPIs whose segments can be chosen.
        units: KPIs whose units (shops, teams) can be chosen.
        derived: whether KPIs can be chosen that are derived from others, which have rolling values only.
    """
    return (
        _datasource(),
        _kpi([kpi for kpi in kpis if derived or kpi.aggregator != "derived"], first),
        listed_values("channel", "Channel", CHANNELS),
        query("touchpoint", "Touchpoint", "SELECT touchpoint, name FROM touchpoints FINAL ORDER BY name", refresh=1),
        query("segment", "Segment", _label_values(segments, "segment"), refresh=1),
        query("unit", "Unit", _label_values(units, "unitid"), refresh=1),
        listed_values("window", "Window", [*WINDOW_SECONDS, TOTAL], chosen="1h"),
    )


def query(
    name: str,
    label: str,
    sql: str,
    *,
    several: bool = True,
    refresh: int = 2,
    chosen: Json | None = None,
    description: str = "",
) -> Json:
    """
    Return a variable whose values a query gives: one column, or value and text.

    It can take `several` values, and All, or exactly one. Its query runs when the dashboard is opened (`refresh` 1), or
    also when another time is selected (2).
    """
    asked = {
        "editorType": "sql",
        "format": 1,
        "pluginVersion": PLUGIN_VERSION,
        "queryType": "sql",
        "rawSql": sql.strip(),
        "refId": f"variable-{name}",
    }
    return {
        **_named(name, label, description),
        "allValue": None,
        "current": chosen or (_ALL if several else {}),
        "datasource": DATASOURCE,
        "definition": sql.strip(),
        "includeAll": several,
        "multi": several,
        "options": [],
        "query": asked,
        "refresh": refresh,
        "regex": "",
        "sort": 0,
        "type": "query",
    }


def listed_values(name: str, label: str, values: Sequence[str], chosen: str | None = None) -> Json:
    """Return a variable with values that are known beforehand: several of them, or exactly one if one is `chosen`."""
    options = [{"selected": value == chosen, "text": value, "value": value} for value in values]
    if chosen is None:
        options = [{"selected": True, "text": "All", "value": "$__all"}, *options]
    return {
        **_named(name, label, ""),
        "allValue": None,
        "current": _ALL if chosen is None else {"selected": True, "text": chosen, "value": chosen},
        "includeAll": chosen is None,
        "multi": chosen is None,
        "options": options,
        "query": ",".join(values),
        "type": "custom",
    }


def _named(name: str, label: str, description: str) -> Json:
    return {"description": description, "hide": 0, "label": label, "name": name, "skipUrlSync": False}


def _datasource() -> Json:
    return {
        **_named("datasource", "ClickHouse", ""),
        "current": {"selected": True, "text": "ClickHouse", "value": "cx-clickhouse"},
        "includeAll": False,
        "multi": False,
        "options": [],
        "query": PLUGIN,
        "refresh": 1,
        "regex": "",
        "type": "datasource",
    }


def _kpi(kpis: Sequence[Kpi], first: str) -> Json:
    known = listed(kpi.id for kpi in kpis)
    sql = f"SELECT id, name FROM kpis FINAL WHERE id IN ({known}) ORDER BY id != {quoted(first)}, name, id"
    name = next(kpi.name for kpi in kpis if kpi.id == first)
    chosen = {"selected": True, "text": name, "value": first}
    return query("kpi", "KPI", sql, several=False, refresh=1, chosen=chosen)


def _label_values(kpis: Iterable[str], label: str) -> str:
    """Ask for the values of a label, those with the most answers since the beginning first."""
    return f"""
SELECT {choice("text")} AS value, labels['{label}'] AS text
FROM kpi_latest
WHERE kpi IN ({listed(kpis)}) AND by = '{label}' AND window = '{TOTAL}' AND text != ''
GROUP BY text
ORDER BY sum(n) DESC, text
LIMIT 500
"""
