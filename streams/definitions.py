"""
What the settings define besides themselves: relations, the KPIs that are counted, touchpoints, and steps of time.

Few commands need more than KPIs: modules that read other definitions are imported when one is asked for.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streams.events.derived import declare
from streams.events.limits import RecordLimits
from streams.events.scalars import CHANNELS
from streams.events.touchpoints import BUNDLED, Touchpoint, TouchpointError, load_touchpoints
from streams.events.types import EVENT_TYPES
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.expressions import suggest
from streams.kpis.language.steps import WEEKDAYS, Steps
from streams.relations.catalogue import Relations
from streams.relations.catalogue import load as load_relations
from streams.relations.events import types_of
from streams.settings import ConfigError, Settings, kpi_paths
from streams.shipped import CASES, EXPERIMENTS, KPIS_OF_RELATIONS, PROMISES, RELATIONS, SURVEYS, SYNTHETIC

if TYPE_CHECKING:
    from streams.asking.definition import SurveyRules
    from streams.experiments.definition import Experiment
    from streams.gaps.promises import ServicePromise
    from streams.loop.definition import CaseRules
    from streams.synthetic.definition import SyntheticPath


def touchpoint_path(settings: Settings) -> Path | None:
    """Return the file of the organisation's own touchpoints; None: those shipped."""
    return Path(settings.touchpoints_path) if settings.touchpoints_path else None


def touchpoints_of(settings: Settings) -> Mapping[str, Touchpoint]:
    """
    Return the touchpoints of the organisation by id, by default those shipped.

    Raises:
        ConfigError: the dictionary cannot be used; every problem is named, with its line.
    """
    path = touchpoint_path(settings) or BUNDLED
    try:
        return load_touchpoints(path)
    except OSError as error:
        raise ConfigError(f"touchpoints_path: cannot read {str(path)!r}: {error.strerror}") from error
    except TouchpointError as error:
        raise ConfigError(str(error)) from error


def record_limits(settings: Settings) -> RecordLimits:
    """Return what a record may hold."""
    return RecordLimits(settings.record_bytes, settings.record_depth, settings.record_values, settings.record_digits)


def relations_of(settings: Settings, also: Sequence[Path] = ()) -> Relations:
    """
    Return the relations, those shipped and those of the settings; from then on what they say are known event types.

    Raises:
        CatalogueError: A definition cannot be right.
    """
    own = [Path(part) for part in settings.relations_path.split(os.pathsep) if part]
    found = load_relations([RELATIONS, *own, *also])
    declare(types_of(found.values()))
    return found


def live_relations_of(settings: Settings) -> Relations | None:
    """
    Return the relations that run; None if none do.

    Raises:
        CatalogueError: A definition cannot be right.
        ConfigError: There is none of a name that is to run.
    """
    names = [name for name in map(str.strip, settings.relations.split(",")) if name]
    if not names:
        return None
    found = relations_of(settings)
    if names == ["all"]:
        return found
    try:
        return found.only(names)
    except KeyError as error:
        raise ConfigError(f"relations: {error.args[0]}; `cx relations list` shows all of them") from error


def experiments_of(settings: Settings, kpis: Catalogue, also: Sequence[Path] = ()) -> Mapping[str, Experiment]:
    """
    Return the experiments by id, those of the settings and of the paths; the shipped one if there are none.

    Raises:
        CatalogueError: A definition cannot be right.
    """
    from streams.experiments.definition import load_experiments

    own = [Path(part) for part in settings.experiments_path.split(os.pathsep) if part]
    return load_experiments([*(own or [EXPERIMENTS]), *also], kpis)


def case_paths(settings: Settings) -> list[Path]:
    """Return the files and folders with the rules for cases that are set."""
    names = [part for part in settings.cases.split(os.pathsep) if part]
    return [CASES if name == "shipped" else Path(name) for name in names]


def case_rules_of(settings: Settings, paths: Sequence[Path] = ()) -> CaseRules | None:
    """
    Return the rules for cases, of the paths or of the settings; None if none are set.

    Raises:
        CatalogueError: A rule, or a relation that it may ask for, cannot be right.
    """
    from streams.loop.reading import load_rules

    chosen = paths or case_paths(settings)
    if not chosen:
        return None
    relations_of(settings)
    return load_rules(chosen)


def shown_case_rules(settings: Settings) -> CaseRules:
    """
    Return the rules by which cases are shown: those of the settings, else those shipped.

    Raises:
        CatalogueError: A rule, or a relation that it may ask for, cannot be right.
    """
    from streams.loop.definition import CaseRules

    return case_rules_of(settings) or case_rules_of(settings, [CASES]) or CaseRules({})


def survey_rules_of(settings: Settings, paths: Sequence[Path] = ()) -> SurveyRules:
    """
    Return the rules that say who may be asked, of the paths or of the settings; those shipped if there are none.

    Raises:
        CatalogueError: A rule, or a relation that it may ask for, cannot be right.
        ConfigError: The dictionary of touchpoints cannot be used.
    """
    from streams.asking.reading import load_surveys

    relations_of(settings)
    own = [Path(part) for part in settings.surveys_path.split(os.pathsep) if part]
    return load_surveys(paths or own or [SURVEYS], touchpoints_of(settings))


def live_survey_rules_of(settings: Settings) -> SurveyRules | None:
    """
    Return the rules by which workers decide who may be asked; None if they do not.

    Raises:
        CatalogueError: A rule, or a relation that it may ask for, cannot be right.
        ConfigError: The dictionary of touchpoints cannot be used.
    """
    return survey_rules_of(settings) if settings.surveys_live else None


def promises_of(settings: Settings, paths: Sequence[Path] = ()) -> Mapping[str, ServicePromise]:
    """
    Return what customers are promised by id, of the paths or of the settings; those shipped if there are none.

    Raises:
        CatalogueError: A promise cannot be right.
    """
    from streams.gaps.promises import load_promises

    own = [Path(part) for part in settings.promises_path.split(os.pathsep) if part]
    return load_promises(paths or own or [PROMISES])


def synthetic_paths_of(settings: Settings, paths: Sequence[Path] = ()) -> Mapping[str, SyntheticPath]:
    """
    Return the synthetic paths by id, of files or of the settings; those shipped if there are none.

    Raises:
        CatalogueError: A path, or a relation that it may ask for, cannot be right.
        ConfigError: The dictionary of touchpoints cannot be used.
    """
    from streams.synthetic.reading import load_paths

    relations_of(settings)
    own = [Path(part) for part in settings.synthetic_path.split(os.pathsep) if part]
    return load_paths(paths or own or [SYNTHETIC], touchpoints_of(settings))


def kpis_of(
    settings: Settings, paths: Sequence[Path] = (), touchpoints: Mapping[str, Touchpoint] | None = None
) -> Catalogue:
    """
    Return the KPIs, those shipped and those of the paths, or of the settings if none are given.

    Those of shipped relations are among them where their relations run.

    Raises:
        CatalogueError: A definition cannot be right.
        ConfigError: There is no relation of a name that is to run.
    """
    own, live = paths or kpi_paths(settings), live_relations_of(settings)
    if live is None:
        if settings.relations_path:
            relations_of(settings)
        return Catalogue.load(own, touchpoints=touchpoints)
    running = {relation.emits for relation in live.values()}
    idle = {kpi.id for kpi in Catalogue.load([KPIS_OF_RELATIONS], built_in=False) if kpi.event_types - running}
    return Catalogue.load([KPIS_OF_RELATIONS, *own], touchpoints=touchpoints).without(idle)


def catalogue_of(settings: Settings) -> Catalogue:
    """
    Return the KPIs, of which only known touchpoints have series of their own.

    Raises:
        ConfigError: the dictionary of touchpoints cannot be used, or CX_SENDS names what nobody can send.
        CatalogueError: a definition cannot be right.
    """
    return kpis_of(settings, touchpoints=touchpoints_of(settings)).declaring(_sent(settings))


def _sent(settings: Settings) -> Mapping[str, frozenset[str]]:
    """Read who declares to send which event type: `type` or `channel/type`, with commas between."""
    found: dict[str, frozenset[str]] = {}
    for word in filter(None, map(str.strip, settings.sends.split(","))):
        channel, slash, event = word.rpartition("/")
        if event not in EVENT_TYPES or (slash and channel not in CHANNELS):
            expected = f"an event type or channel/type, where a channel is one of {', '.join(CHANNELS)}"
            raise ConfigError(f"sends: {word!r}: expected {expected}{suggest(event, EVENT_TYPES)}")
        found[event] = found.get(event, frozenset()) | {channel}
    return found


def steps_of(settings: Settings, length: str) -> Steps:
    """
    Return steps of a length such as `1h`, `1d`, `1w` or `1mo` by the zone and the calendar of the settings.

    Raises:
        ValueError: The length is none.
    """
    first = settings.week_starts or ("saturday" if settings.calendar == "jalali" else "monday")
    return Steps.parse(length, settings.zone, settings.calendar, WEEKDAYS.index(first))
