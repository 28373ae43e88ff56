"""
Names of KPI series.

A series is one KPI under one set of labels, e.g. `csat` for `channel=web`. It travels as one string, so that it can
be a dictionary key, a message-pack key and a row key without being built and taken apart at every step.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, TypeAlias

from streams.events.text import label_of, label_sql

SEPARATOR: Final = "\x1f"
"""Stands between the parts of a series key; no cleaned label value can contain it."""

OTHER: Final = "(other)"
"""Label value of everything for which there was no room; who sends it is counted under `other`."""

UNKNOWN: Final = "unknown"
"""Label value of touchpoints that are not in the dictionary."""

LABEL_FORM: Final = 2
"""Number of the rule by which labels are made; under another one, some series have another name."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of label name and label value."""

_CACHED = 1 << 16


def sent_label(value: str) -> str:
    """Return the label that a value which was sent names a series by, never `OTHER`; empty if it says nothing."""
    label = label_of(value)
    return "other" if label == OTHER else label


def sent_label_sql(expression: str) -> str:
    """Return the ClickHouse expression that makes of a Nullable(String) expression what `sent_label` does, or NULL."""
    return f"replaceRegexpOne({label_sql(expression)}, '^[(]other[)]$', 'other')"


@lru_cache(maxsize=_CACHED)
def series_key(kpi: str, labels: Labels = ()) -> str:
    """Return the key of a series: KPI id, then label names and labels (see `label_of`) in the order of the names."""
    parts = [kpi]
    for name, value in sorted(labels):
        parts.append(name)
        parts.append(label_of(value))
    return SEPARATOR.join(parts)


def rest_key(kpi: str, names: Iterable[str]) -> str:
    """Return the key of the series that takes what has no room under these label names, given in their order."""
    return SEPARATOR.join([kpi, *(part for name in names for part in (name, OTHER))])


@lru_cache(maxsize=_CACHED)
def parse_series(key: str) -> tuple[str, Labels]:
    """
    Take a series key apart into KPI id and labels, sorted by name.

    Raises ValueError when a label name has no value.
    """
    kpi, *parts = key.split(SEPARATOR)
    if len(parts) % 2:
        raise ValueError(f"series key {key!r}: label {parts[-1]!r} has no value")
    return kpi, tuple(zip(parts[::2], parts[1::2], strict=True))


def partition_of(kpi: str, partitions: int) -> int:
    """Return the merge partition of a KPI: all its series live together, whatever their labels."""
    return zlib.crc32(kpi.encode()) % partitions
