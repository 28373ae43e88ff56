"""
How things look: colours that colour-blind people can tell apart, units as Grafana names them,
    and what is said in words.

The palette is that of Okabe and Ito (Color Universal Design, 2008). No meaning is carried by colour alone.
"""

from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
GREY: Final = "#999999"

SERIES: Final = (BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, YELLOW, GREY)
"""Colours of series, the largest series first."""

CHANNEL_COLOURS: Final = {"web": BLUE, "app": ORANGE, "store": GREEN, "call_center": PURPLE}

NO_DATA: Final = "no data"
THIN: Final = "too few answers"
MEETS: Final = "meets the target"
MISSES: Final = "misses the target"
UNSURE: Final = "not sure"
NO_TARGET: Final = "no target"

MATURITIES: Final = {"closed": "closed", "open": "still counting"}
"""What is said of a value by whether more events are expected for it."""

READINGS: Final = {MEETS: GREEN, MISSES: VERMILION, UNSURE: ORANGE, NO_TARGET: BLUE, THIN: GREY, NO_DATA: GREY}
"""What can be said of a value, and its colour."""

SEVERITIES: Final = {"page": VERMILION, "ticket": ORANGE, "info": SKY}
STATES: Final = {"firing": VERMILION, "pending": ORANGE, "resolved": GREEN, "inactive": GREY}
OUTCOMES: Final = {"counted": BLUE, "duplicate": SKY, "late": ORANGE, "bad": VERMILION, "conflict": PURPLE}

_UNITS: Final = {
    "percent": "percent",
    "per_100": "suffix:per 100",
    "fraction": "none",
    "points": "none",
    "score": "none",
    "seconds": "s",
    "milliseconds": "ms",
    "hours": "h",
    "days": "d",
    "currency": "short",
    "count": "short",
}

LABELS: Final = {"unitid": "unit", "agentid": "agent", "survey_id": "survey"}
"""Names of labels for people, where they differ."""


def unit_of(unit: str) -> str:
    """
    Return Grafana's name of a KPI's unit.

    Raises:
        KeyError: The catalogue has a unit that this table does not know.
    """
    return _UNITS[unit]


def unit_sql(column: str) -> str:
    """Return SQL that gives Grafana's name of the unit in a column."""
    known = ", ".join(f"'{name}'" for name in _UNITS)
    shown = ", ".join(f"'{name}'" for name in _UNITS.values())
    return f"transform(toString({column}), [{known}], [{shown}], 'short')"


def label_name(label: str) -> str:
    """Return what people call a label."""
    return LABELS.get(label, label)


def tint(colour: str, opacity: float = 0.3) -> str:
    """Return a colour as a tint for the background of a row."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"
