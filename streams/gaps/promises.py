"""
Promise against delivery: contacts in the hours that are claimed, and how many of them are answered, by hour.

"Support around the clock" is kept where customers who come at three at night are answered, too. The claimed opening
times are a clock, as relations know them; each promise says which contacts it is about, and how soon they are answered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from streams.events.scalars import CHANNELS, Subchannel
from streams.kpis.arithmetic.distributions import normal_quantile
from streams.kpis.arithmetic.intervals import NOTHING, Measure, wilson
from streams.kpis.language.blocks import CatalogueError, Problems, YamlBlock, blocks_of, files_of, nothing_in, text_of
from streams.kpis.language.expressions import suggest
from streams.relations.clocks import WorkingClock, read_clock, read_duration
from streams.value.measures import ratio_percent

_HOUR_S: Final = 3_600
_KINDS: Final = ("clock", "promise")
WAYS: Final[tuple[str, ...]] = ("phone", *get_args(Subchannel))
"""How contacts come: by telephone if no subchannel says otherwise."""


@dataclass(frozen=True)
class ServicePromise:
    """
    What is claimed of a service.

    Attributes:
        id: Its name for commands.
        name: For people, by language.
        owner: Who answers for it.
        clock: The claimed opening times.
        within_s: How soon a contact is to be answered.
        target: Percent of contacts for which that is claimed.
        channel: Of contacts it is about; empty: of all.
        way: How customers come: `phone`, or a subchannel such as `chat`; empty: any way.
    """

    id: str
    name: Mapping[str, str]
    owner: str
    clock: WorkingClock
    within_s: int
    target: float
    channel: str = ""
    way: str = ""


class ServedContact(NamedTuple):
    """One contact that asked for a person."""

    customer: str
    channel: str
    way: str
    began: int
    """Unix seconds."""
    answered_s: float | None
    """Seconds until a person answered; None: nobody has."""


PromiseState = Literal["kept", "broken", "not known"]


@dataclass(frozen=True, slots=True)
class PromisedHour:
    """
    One hour of the day in local time, within the claimed times only.

    Attributes:
        hour: 0 to 23.
        claimed: Hours of that name in the span that are claimed, in hours; a part of one counts as such.
        contacts: Contacts in them of which it is known what became of them.
        in_time: Percent of these that were answered in time; customers are the independent units.
        answered: Percent that were answered at all.
        state: What that says of the promise, all hours being judged together (Bonferroni).
    """

    hour: int
    claimed: float
    contacts: int
    in_time: Measure
    answered: Measure
    state: PromiseState


@dataclass(frozen=True, slots=True)
class PromiseKept:
    """
    A promise held against what was delivered.

    Attributes:
        promise: What was claimed.
        whole: Percent of contacts in claimed times that were answered in time.
        answered: Percent that were answered at all.
        state: What that says.
        hours: By hour of the day, those that are claimed.
        pending: Contacts whose time is not over yet.
        outside: Percent of contacts outside of the claimed times that were answered at all.
        unstaffed: Claimed hours with contacts of which nobody was answered.
        with_contacts: Claimed hours with contacts of which it is known what became of them.
        claimed: Claimed hours in the span.
    """

    promise: ServicePromise
    whole: Measure
    answered: Measure
    state: PromiseState
    hours: tuple[PromisedHour, ...]
    pending: int
    outside: Measure
    unstaffed: int
    with_contacts: int
    claimed: float


def judge_promise(promise: ServicePromise, contacts: Iterable[ServedContact], since: int, until: int) -> PromiseKept:
    """
    Hold a promise against contacts that began from `since` until `until`, both Unix seconds.

    A contact is judged once its time is over, answered or not; before, it is pending. An hour keeps the promise if the
    whole interval is at or above the target, and breaks it if the whole interval is below.
    """
    zone = promise.clock.zone
    judged: list[ServedContact] = []
    outside: list[ServedContact] = []
    pending = 0
    for one in contacts:
        if (promise.channel and one.channel != promise.channel) or (promise.way and one.way != promise.way):
            continue
        if not promise.clock.elapsed(one.began * 1000, one.began * 1000 + 1):
            outside.append(one)
        elif one.began + promise.within_s > until:
            pending += 1
        else:
            judged.append(one)
    by_hour: dict[int, list[ServedContact]] = defaultdict(list)
    spans: dict[datetime, bool] = {}
    for one in judged:
        local = datetime.fromtimestamp(one.began, zone)
        by_hour[local.hour].append(one)
        # An hour that comes twice as clocks go back is one.
        span = local.replace(minute=0, second=0)
        spans[span] = spans.get(span, False) or one.answered_s is not None
    claimed = _claimed(promise.clock, zone, since, until)
    z = normal_quantile(0.025 / max(1, len(by_hour)))
    hours = [
        PromisedHour(
            hour, claimed[hour] / _HOUR_S, len(found := by_hour.get(hour, [])),
            _in_time(promise, found), _answered(found), _state(_strict(promise, found, z), promise.target),
        )
        for hour in sorted(claimed) if claimed[hour]
    ]  # fmt: skip
    whole = _in_time(promise, judged)
    return PromiseKept(
        promise, whole, _answered(judged), _state(whole, promise.target), tuple(hours), pending, _answered(outside),
        sum(not answered for answered in spans.values()), len(spans), sum(claimed.values()) / _HOUR_S,
    )  # fmt: skip


def _share(contacts: Sequence[ServedContact], hits: Sequence[bool]) -> Measure:
    """Return the share of hits among contacts, those of one customer going together; n is that of contacts."""
    if not contacts:
        return NOTHING
    customers: dict[str, list[int]] = {}
    for one, hit in zip(contacts, hits, strict=True):
        sums = customers.setdefault(one.customer, [0, 0])
        sums[0] += hit
        sums[1] += 1
    return ratio_percent([(hit, n) for hit, n in customers.values()])._replace(n=len(contacts))


def _in_time(promise: ServicePromise, contacts: Sequence[ServedContact]) -> Measure:
    return _share(contacts, [_is_in_time(promise, one) for one in contacts])


def _is_in_time(promise: ServicePromise, contact: ServedContact) -> bool:
    return contact.answered_s is not None and contact.answered_s <= promise.within_s


def _answered(contacts: Sequence[ServedContact]) -> Measure:
    return _share(contacts, [one.answered_s is not None for one in contacts])


def _strict(promise: ServicePromise, contacts: Sequence[ServedContact], z: float) -> Measure:
    """Return what was answered in time with an interval for many hours, each customer counting once at most."""
    if not contacts:
        return NOTHING
    share = sum(_is_in_time(promise, one) for one in contacts) / len(contacts)
    n = len({one.customer for one in contacts})
    lo, hi = wilson(share * n, n, z)
    return Measure(100 * share, n, 100 * lo, 100 * hi)


def _state(share: Measure, target: float) -> PromiseState:
    if share.lo is None or share.hi is None:
        return "not known"
    return "kept" if share.lo >= target else "broken" if share.hi < target else "not known"


def _claimed(clock: WorkingClock, zone: ZoneInfo, since: int, until: int) -> Mapping[int, int]:
    """Return the claimed seconds by local hour of the day."""
    found: dict[int, int] = dict.fromkeys(range(24), 0)
    at = datetime.fromtimestamp(since, UTC)
    end = datetime.fromtimestamp(until, UTC)
    # Quarters of an hour: zones are ahead of others by whole quarters.
    while at < end:
        step = min(end, at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0) + timedelta(minutes=15))
        open_ms = clock.elapsed(round(at.timestamp() * 1000), round(step.timestamp() * 1000))
        found[at.astimezone(zone).hour] += open_ms // 1000
        at = step
    return found


def load_promises(paths: Sequence[Path]) -> dict[str, ServicePromise]:
    """
    Read the promises of files and of the YAML files of folders, by id.

    Raises:
        CatalogueError: Anything cannot be right; names every problem with file and line.
    """
    problems, blocks = Problems(), list[YamlBlock]()
    for file in files_of(paths, "promises", problems):
        blocks += blocks_of(text_of(file, problems), str(file), "block", problems)
    nothing_in(paths, blocks, "promise", problems)
    clocks: dict[str, WorkingClock] = {}
    promised: list[YamlBlock] = []
    for block in blocks:
        kind = block.choice("kind", _KINDS, "promise")
        if kind == "clock":
            clock = read_clock(block)
            clocks[clock.name] = clock
        else:
            promised.append(block)
    if blocks and not promised:
        blocks[0].problem("kind", "there are clocks only, no promise")
    found: dict[str, ServicePromise] = {}
    for block in promised:
        promise = _read(block, clocks)
        if promise is not None:
            if promise.id in found:
                block.problem("id", f"there is another promise {promise.id!r}")
            found[promise.id] = promise
    problems.raise_any(CatalogueError)
    return found


def _read(block: YamlBlock, clocks: Mapping[str, WorkingClock]) -> ServicePromise | None:
    block.expect(("id", "kind", "name", "owner", "clock", "within", "target"), ("channel", "way"))
    names = block.block("name")
    if names is not None:
        names.expect(("en",), ("fa",))
    target = block.number("target")
    if target is not None and not 0 < target <= 100:
        block.problem("target", f"'target' must be a percentage above 0, not {target:g}")
    channel, way = block.choice("channel", ("", *CHANNELS), ""), block.choice("way", ("", *WAYS), "")
    within = read_duration(block, "within")
    clock = clocks.get(block.text("clock"))
    if "clock" in block and clock is None:
        known = f"; known: {', '.join(clocks)}" if clocks else ": it is a block of kind `clock` of these files"
        block.problem("clock", f"no clock {block.text('clock')!r}{suggest(block.text('clock'), clocks) or known}")
    if clock is None:
        return None
    return ServicePromise(
        block.text("id"), {} if names is None else {lang: names.text(lang) for lang in names}, block.text("owner"),
        clock, within // 1000, float(target or 100), channel, way,
    )  # fmt: skip
