"""From events to records on the wire, with the flaws real producers have: bad, repeated, delayed and dead ones."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from streams.events.decode import encode
from streams.events.families.feedback import SurveyAnswered
from streams.events.types import Event
from streams.producers.comments import written_rating
from streams.producers.incidents import Incidents
from streams.producers.simulator.scenario import Plan, simulate

HELD_BACK_S: Final = (90.0, 900.0)
"""Uploads that wait for a network: later than the usual disorder, within the day."""

CLOCK_BEHIND_S: Final = (25 * 3600.0, 60 * 3600.0)
"""Devices that were offline for a day or two: their events are too late for any KPI."""


_TYPED_FORMS: Final = ("sms", "chat")
"""Ways of asking where the rating is typed, not tapped."""


class Emission(NamedTuple):
    """A record as a channel's collector sends it; `due` is the Unix time of sending, in event time."""

    due: float
    channel: str
    subject: str
    payload: bytes


class Flaws(msgspec.Struct, frozen=True, kw_only=True):
    """Shares (0 to 1) of records that break the contract, come twice, or come late."""

    bad: float = 0.0
    duplicate: float = 0.0
    late: float = 0.0

    def __post_init__(self) -> None:
        """
        Refuse shares that are none.

        Raises:
            ValueError: one of them is outside 0 to 1.
        """
        for name in ("bad", "duplicate", "late"):
            share = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} rate is {share:g}; expected a share from 0 to 1")


def emissions(plan: Plan, flaws: Flaws | None = None) -> Iterator[Emission]:
    """
    Tell the records of a plan in the order they are sent, for ever.

    Raises:
        IncidentError: an incident of the plan is wrong.
    """
    # A simulation wants to be repeatable.
    rng = Random(f"{plan.seed}:flaws")  # noqa: S311
    writing = Random(f"{plan.seed}:writing")  # noqa: S311
    incidents = Incidents.parse(plan.incidents, plan.start)
    flaws = flaws or Flaws()
    troubled = bool(incidents.all)
    flawed = bool(flaws.bad or flaws.duplicate or flaws.late)
    delayed: list[tuple[float, int, Emission]] = []
    order = count()
    for event in simulate(plan):
        due = event.time.timestamp()
        while delayed and delayed[0][0] <= due:
            yield heapq.heappop(delayed)[2]
        channel = event.channel
        if troubled:
            if incidents.level("collector-dead", due, channel):
                continue
            if rng.random() < 0.85 * incidents.level("bad-schema", due, channel):
                yield Emission(due, channel, event.subject, _renamed(event))
                continue
        if flawed:
            if rng.random() < flaws.bad:
                yield Emission(due, channel, event.subject, rng.choice(_SPOILERS)(event))
                continue
            if rng.random() < flaws.late:
                if rng.random() < 0.5:
                    held = due + rng.uniform(*HELD_BACK_S)
                    late = Emission(held, channel, event.subject, _written(event, writing))
                    heapq.heappush(delayed, (held, next(order), late))
                    continue
                behind = event.time.fromtimestamp(due - rng.uniform(*CLOCK_BEHIND_S), event.time.tzinfo)
                event = msgspec.structs.replace(event, time=behind)  # noqa: PLW2901
            emission = Emission(due, channel, event.subject, _written(event, writing))
            yield emission
            if rng.random() < flaws.duplicate:
                again = due + rng.uniform(0.05, 20.0)
                heapq.heappush(delayed, (again, next(order), emission._replace(due=again)))
            continue
        yield Emission(due, channel, event.subject, _written(event, writing))


def _written(event: Event, rng: Random) -> bytes:
    """Encode an event as channels do: Persian forms send some ratings as text, in the digits of the keyboard."""
    payload = encode(event)
    data = event.data
    if isinstance(data, SurveyAnswered) and data.subchannel in _TYPED_FORMS:
        rating = written_rating(rng, data.score)
        if isinstance(rating, str):
            return payload.replace(b'"score":%d' % data.score, f'"score":"{rating}"'.encode())
    return payload


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Event], bytes]:
    def spoil(event: Event) -> bytes:
        fields: dict[str, Any] = msgspec.json.decode(encode(event))
        change(fields)
        return msgspec.json.encode(fields)

    return spoil


def _rename(fields: dict[str, Any]) -> None:
    fields["customer"] = fields.pop("subject")


_renamed: Final = _changed(_rename)
_SPOILERS: Final[tuple[Callable[[Event], bytes], ...]] = (
    _renamed,
    lambda event: encode(event)[:-20],
    lambda event: b"\xff\xfe" + encode(event),
    _changed(lambda fields: fields.update(channel="telepathy")),
    _changed(lambda fields: fields.update(type=fields["type"] + "ed")),
    _changed(lambda fields: fields.update(time="yesterday at noon")),
    _changed(lambda fields: fields.update(time=fields["time"].removesuffix("Z"))),
    _changed(lambda fields: fields.update(data="none")),
    _changed(lambda fields: fields.update(time="2099-01-01T00:00:00Z")),
)
"""Ways in which records go bad: a renamed field, a cut record, broken bytes, unknown values, times without zone."""
