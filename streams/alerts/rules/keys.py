"""Reading the keys of a rule one by one; what cannot be right becomes a problem with its line."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, get_args

from streams.alerts.detectors import DETECTORS, Detector
from streams.alerts.detectors.base import bounds_of
from streams.alerts.facts import length_of
from streams.alerts.rules.rules import SEVERITIES, Inhibitor, NoData, NoDataAction, Recover
from streams.alerts.rules.texts import Text, TextError, compile_text
from streams.alerts.types import Severity
from streams.events.text import label_of
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.definition import Kpi, Maturity
from streams.kpis.language.expressions import suggest
from streams.kpis.language.fields import all_fields

NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

LONGEST: Final = 366 * 1440
"""Minutes that a duration can have: nobody waits for more than a year."""

_DURATION: Final = re.compile(r"(?:\d{1,6}[smhd])+|0")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_RESERVED: Final = ("alertname", "kpi", "severity", "owner")
_INHIBITORS: Final[tuple[Inhibitor, ...]] = ("parent", "pipeline", "refused")


def duration_minutes(text: str) -> int:
    """
    Read a duration (`90s`, `5m`, `1h30m`, `2d`, `0`) as whole minutes, rounded up: never sooner than was said.

    Raises:
        ValueError: It is no duration, more than a year, or less than the minute that is the grain of event time.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration; expected e.g. 90s, 5m, 2h or 1d")
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+)([smhd])", text))
    if 0 < seconds < 60:
        raise ValueError(f"{text!r} is less than a minute: minutes are judged when they are closed, write 1m")
    if seconds > LONGEST * 60:
        raise ValueError(f"{text!r} is more than a year: nothing lasts that long")
    return -(-seconds // 60)


def read_by(block: YamlBlock, kpi: Kpi) -> tuple[str, ...]:
    """Read the labels to judge by: one of the groupings that the KPI keeps."""
    given = [str(label) for label in block.list("by")]
    by = tuple(sorted(given))
    if by in kpi.groupings:
        return by
    known = {label for grouping in kpi.groupings for label in grouping}
    hint = next((found for label in given if label not in known and (found := suggest(label, known))), "")
    kept = "; ".join(" × ".join(grouping) or "the whole" for grouping in kpi.groupings)
    block.problem("by", f"{kpi.id} is not kept by {' × '.join(by) or 'the whole'}{hint}; kept: {kept}")
    return ()


def read_where(block: YamlBlock, kpi: Kpi, by: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Read the label values to judge; labels of 'by', and values that they can have."""
    given = block.block("where")
    found: dict[str, tuple[str, ...]] = {}
    for label in given or ():
        assert given is not None
        values = given.list(label)
        if label not in by:
            given.problem(label, f"the series have no label {label!r}: it must be in 'by'{suggest(label, by)}")
            continue
        if label in given and not values:
            given.problem(label, f"{label!r} lists no value: no series would be judged")
        for value in values:
            # Of 007 or yes YAML has kept no more than 7 and true.
            if not isinstance(value, str):
                given.problem(label, f"{label!r} must list texts, not {value!r}; write them in quotes")
            else:
                check_value(given, label, kpi, label, value)
        found[label] = tuple(label_of(str(value)) for value in values)
    return MappingProxyType(found)


def check_value(block: YamlBlock, key: str, kpi: Kpi, label: str, value: str) -> None:
    """Refuse a value that a label cannot have, of labels of which all values are known."""
    fields = all_fields(kpi.event_types)
    listed = [str(known) for known in fields[label].values] if label in fields else []
    if listed and value not in listed:
        hint = suggest(value, listed) or f"; it is one of {', '.join(listed)}"
        block.problem(key, f"{label} is never {value!r}{hint}")


def read_severity_by(block: YamlBlock, kpi: Kpi, by: tuple[str, ...]) -> Mapping[str, Mapping[str, Severity]]:
    """Read severities by label and value."""
    given = block.block("severity_by")
    found: dict[str, Mapping[str, Severity]] = {}
    for label in given or ():
        assert given is not None
        if label not in by:
            given.problem(label, f"the series have no label {label!r}: it must be in 'by'{suggest(label, by)}")
        values = given.block(label)
        if values is not None:
            for value in values if label in by else ():
                check_value(values, value, kpi, label, value)
            found[label] = MappingProxyType({value: values.choice(value, SEVERITIES, "info") for value in values})
    return MappingProxyType(found)


def fit_to_page(block: YamlBlock, owner: str, runbook: str) -> None:
    """Demand what somebody who is woken needs."""
    if not owner:
        block.problem("owner", "'owner' is missing: a page needs somebody who answers for it")
    if not runbook:
        block.problem("runbook", "'runbook' is missing: a page needs a text that says what to do")


def read_min_n(block: YamlBlock, kpi: Kpi, method: str, params: Detector | None, pages: bool) -> int:
    """Read how much a window must hold."""
    least = DETECTORS[method].default_min_n(kpi)
    if DETECTORS[method].is_absence and "min_n" in block:
        block.problem("min_n", "absence is about next to nothing: gate it by 'min_expected' below 'params'")
    for key, message in params.page_misfits() if pages and params else ():
        (block.block("params") or block).problem(key, message)
    if "min_n" not in block:
        return least
    given = block.whole("min_n", max(1, least), 10**9)
    if pages and given < least:
        block.problem("min_n", f"a page on {kpi.id} needs at least {least} (its 'min_n', alert), not {given}")
    return given


def read_longer(block: YamlBlock, method: str, window: str, kept: Iterable[str]) -> tuple[str, ...]:
    """Read how long the window may become where it holds too little: the kept windows up to there, in order."""
    longest = block.text("lengthen")
    if not longest:
        return ()
    windows = sorted((name for name in kept if length_of(name) > length_of(window)), key=length_of)
    if not DETECTORS[method].lengthens:
        able = ", ".join(name for name, kind in DETECTORS.items() if kind.lengthens)
        block.problem("lengthen", f"a {method} is not judged over longer windows; {able} is")
    elif longest not in windows:
        block.problem("lengthen", f"{longest!r} is no kept window longer than {window}; kept: {', '.join(windows)}")
    else:
        return tuple(windows[: windows.index(longest) + 1])
    return ()


def read_duration(block: YamlBlock, key: str, default: int) -> int:
    """Read a duration in minutes."""
    if key not in block:
        return default
    try:
        return duration_minutes(block.written(key) or str(block.plain(key)))
    except ValueError as error:
        block.problem(key, f"{key}: {error}")
        return default


def read_recover(block: YamlBlock, kpi: Kpi, params: Detector | None) -> Recover:
    """Read when an alert is over."""
    given = block.block("recover")
    if given is None:
        return Recover()
    given.expect((), ("above", "below", "for"))
    recover = Recover(given.number("above"), given.number("below"), read_duration(given, "for", 0))
    for key, message in _wrong_recovery(kpi, params, recover):
        given.problem(key, message)
    if recover.above is not None and recover.below is not None and recover.above >= recover.below:
        given.problem("above", "nothing is above 'above' and below 'below'")
    return recover


def _wrong_recovery(kpi: Kpi, params: Detector | None, recover: Recover) -> Iterable[tuple[str, str]]:
    """List what of a recovery lies on the wrong side."""
    if recover.above is not None and kpi.direction == "down":
        yield "above", f"{kpi.id} is better when low: recovery is 'below'"
    if recover.below is not None and kpi.direction == "up":
        yield "below", f"{kpi.id} is better when high: recovery is 'above'"
    low, high = bounds_of(kpi)
    if recover.above is not None and recover.above >= high:
        yield "above", f"nothing is above {recover.above:g} {kpi.unit}: it would never recover"
    if recover.below is not None and recover.below <= low:
        yield "below", f"nothing is below {recover.below:g} {kpi.unit}: it would never recover"
    target = getattr(params, "target", None)
    if target is None:
        target = getattr(params, "p1", None)
    if target is None:
        return
    if recover.above is not None and recover.above < target:
        yield "above", f"{recover.above:g} is below the target {target:g}: it would recover while in trouble"
    if recover.below is not None and recover.below > target:
        yield "below", f"{recover.below:g} is above the target {target:g}: it would recover while in trouble"


def read_no_data(block: YamlBlock) -> NoData:
    """Read what becomes of an alert without data."""
    given = block.block("no_data")
    if given is None:
        return NoData()
    default = NoData()
    given.expect(("action",), ("for", "limit"))
    action: NoDataAction = given.choice("action", get_args(NoDataAction), default.action)
    limit = read_duration(given, "limit", default.limit_minutes)
    return NoData(action, read_duration(given, "for", default.for_minutes), limit)


def read_maturity(block: YamlBlock, kpi: Kpi) -> Maturity:
    """Read the maturity, which is the KPI's."""
    maturity: Maturity = block.choice("maturity", get_args(Maturity), kpi.maturity)
    if maturity != kpi.maturity:
        block.problem("maturity", f"{kpi.id} is {kpi.maturity}, never {maturity}")
    return maturity


def read_inhibit_by(block: YamlBlock, method: str) -> tuple[Inhibitor, ...]:
    """Read what keeps alerts from being delivered."""
    # What tells of a silent channel must not be silenced by it.
    default: tuple[Inhibitor, ...] = () if DETECTORS[method].is_absence else ("parent", "pipeline")
    if "inhibit_by" not in block:
        return default
    given = block.list("inhibit_by")
    for name in given:
        if name not in _INHIBITORS:
            hint = suggest(str(name), _INHIBITORS)
            block.problem("inhibit_by", f"{name!r} inhibits nothing: it is one of {', '.join(_INHIBITORS)}{hint}")
    return tuple(name for name in _INHIBITORS if name in given)


def read_texts(block: YamlBlock, key: str, by: tuple[str, ...]) -> dict[str, Text]:
    """Read templates; a problem in one is reported with the line inside the text."""
    given = block.block(key)
    found: dict[str, Text] = {}
    for name in given or ():
        assert given is not None
        if not NAME.fullmatch(name):
            given.problem(name, f"name {name!r} must be letters, digits and underscores")
        if key == "labels" and (name in _RESERVED or name in by):
            given.problem(name, f"label {name!r} is there already: it tells series and alerts apart")
        source = given.plain(name)
        if isinstance(source, list | dict):
            given.problem(name, f"{name!r} must be a text, not {source!r}")
        if source is None or isinstance(source, list | dict):
            continue
        try:
            found[name] = compile_text(str(source), by)
        except TextError as error:
            given.problems.add(given.file, given.first_line(name) + error.line - 1, f"{given.what}, {name}: {error}")
    return found
