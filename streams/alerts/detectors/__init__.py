"""
Detectors: is it trouble, or is it noise. One module per method, with one class.

Each sees a series as of one closed minute and gives a verdict; what it must remember it returns and is given back with
the next minute. A module that is added here is found by being here: `DETECTORS` holds every class, by method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from streams.alerts.detectors.base import WINDOW_KEYS, Detector, ParamError, Season

__all__ = ["DETECTORS", "WINDOW_KEYS", "Detector", "ParamError", "Season"]


def _found() -> Iterator[type[Detector]]:
    for module in iter_modules(__path__):
        for kind in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(kind, type) and issubclass(kind, Detector) and kind.__dict__.get("method"):
                yield kind


DETECTORS: Final[Mapping[str, type[Detector]]] = MappingProxyType({kind.method: kind for kind in _found()})
"""All detectors by the name of their method."""
