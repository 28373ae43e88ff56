"""
Technion call centre: one day of calls to an Israeli bank, from the voice menu to the end of service.

The set gives times of day in Israel but no date. The day is taken to be Monday, 2 August 1999, and every event is
marked `timeimputed` for it; durations and the order of events are real.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from streams.events.envelope import Data
from streams.events.families.contact import (
    ContactAnswered,
    ContactHandled,
    ContactIvrEntered,
    ContactIvrExited,
    ContactOpened,
    ContactQueueEntered,
    ContactQueueLeft,
)
from streams.events.mending import what_is_seen
from streams.producers.readers.base import BadRowError, DataSet, Made, Origin, ReadReport, rows_of

_ORIGIN = Origin("technion")
_DAY = datetime(1999, 8, 2, tzinfo=ZoneInfo("Asia/Jerusalem")).astimezone(UTC)
_NEVER = "0:00:00"
_OUTCOMES = ("AGENT", "HANG", "PHANTOM")
_STEPS = ("vru_entry", "vru_exit", "q_start", "q_exit", "ser_start", "ser_exit")
_NEEDED = ("vru+line", "call_id", "type", *_STEPS, "outcome", "server")


def _events(path: Path, report: ReadReport) -> Iterator[Made]:
    seen: set[tuple[str, ...]] = set()
    for number, row in rows_of(path, _NEEDED, report):
        # The call id alone comes again within the day.
        key = (row["vru+line"], row["call_id"], row["vru_entry"])
        if key in seen:
            report.drop("call repeated", number)
            continue
        if row["outcome"] not in _OUTCOMES:
            report.drop("outcome unknown", number)
            continue
        try:
            steps = {name: _second(row[name], name) for name in _STEPS}
        except BadRowError as bad:
            report.drop(str(bad), number)
            continue
        seen.add(key)
        yield from _call(number, key, row, steps, report)


def _second(text: str, name: str) -> int:
    """
    Read a time of day, h:mm:ss, as seconds after midnight.

    Raises:
        BadRowError: It is none.
    """
    try:
        hours, minutes, seconds = map(int, what_is_seen(text).split(":"))
    except ValueError as error:
        raise BadRowError(f"{name} is not a time of day") from error
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds < 60):
        raise BadRowError(f"{name} is not a time of day")
    return hours * 3600 + minutes * 60 + seconds


def _call(
    number: int, key: tuple[str, ...], row: dict[str, str], at: dict[str, int], report: ReadReport
) -> Iterator[Made]:
    """Make the events of one call; `at` has the seconds after midnight of its steps, 0 for a step not taken."""
    call = "-".join(key)
    topic = row["type"]

    def made(data: Data, second: int, touchpoint: str, **attributes: Any) -> Made:
        return _ORIGIN.made(
            number,
            key,
            data,
            _DAY + timedelta(seconds=second),
            subject=call,
            channel="call_center",
            contactid=call,
            unitid=topic,
            touchpoint=touchpoint,
            timeimputed=True,
            **attributes,
        )

    served = row["outcome"] == "AGENT"
    wait_s = at["q_exit"] - at["q_start"]
    menu_s = at["vru_exit"] - at["vru_entry"]
    if wait_s < 0 or (served and at["ser_exit"] < at["ser_start"]):
        report.drop("a step of the call ends before it starts", number)
        return
    # An answered call that did not wait passed its queue in no time; a caller who gave up at once never was in it.
    queued = served or wait_s > 0
    if row["outcome"] == "PHANTOM":
        # Nobody called and nobody answered, yet it took a place in the queue, which published figures count.
        if queued:
            report.note("PHANTOM: a virtual call, told only as it passed the queue", number)
            yield from _passage(row, at, made, "flow_out")
        else:
            report.drop("PHANTOM: a virtual call, never in the queue", number)
        return
    # A call that the bank made itself at the customer's wish, and that had to wait for its agent.
    direction: Literal["inbound", "outbound"] = "outbound" if topic == "TT" else "inbound"
    began = min(at["vru_entry"], at["vru_exit"])
    yield made(ContactOpened(topic=topic, direction=direction), began, "ivr")
    yield made(ContactIvrEntered(), began, "ivr")
    if menu_s < 0:
        report.note("left the voice menu before entering it: no menu duration", number)
    else:
        left = ContactIvrExited(duration_s=menu_s, outcome="queue" if queued else "hangup")
        yield made(left, at["vru_exit"], "ivr")
    if queued:
        yield from _passage(row, at, made, "answered" if served else "abandoned")
    if served:
        yield from _service(row, at, made, number, report)
    elif row["ser_start"] != _NEVER:
        report.note("hung up and yet has service times: taken as abandoned", number)


def _passage(
    row: dict[str, str],
    at: dict[str, int],
    made: Callable[..., Made],
    reason: Literal["answered", "abandoned", "flow_out"],
) -> Iterator[Made]:
    """Make the events of the queue; a call that did not wait passes it when it leaves the voice menu."""
    topic, wait_s = row["type"], at["q_exit"] - at["q_start"]
    entered, gone = (at["q_start"], at["q_exit"]) if at["q_start"] else (at["vru_exit"], at["vru_exit"])
    yield made(ContactQueueEntered(queue=topic, topic=topic), entered, "phone_queue")
    left = ContactQueueLeft(queue=topic, topic=topic, reason=reason, wait_s=wait_s)
    yield made(left, gone, "phone_queue")


def _service(
    row: dict[str, str], at: dict[str, int], made: Callable[..., Made], number: int, report: ReadReport
) -> Iterator[Made]:
    topic = row["type"]
    agent = "" if row["server"] == "NO_SERVER" else row["server"]
    if not agent:
        report.note("served by nobody named: no agentid", number)
    timed = row["ser_start"] != _NEVER
    answered = ContactAnswered(wait_s=at["q_exit"] - at["q_start"], queue=topic, topic=topic)
    started = at["ser_start"] if timed else max(at["q_exit"], at["vru_exit"])
    yield made(answered, started, "phone_agent", agentid=agent)
    if not timed:
        report.note("service without times: answered at the end of the wait, not counted as handled", number)
        return
    talk_s = at["ser_exit"] - at["ser_start"]
    handled = ContactHandled(talk_s=talk_s, queue=topic, topic=topic)
    yield made(handled, at["ser_exit"], "phone_agent", agentid=agent)


TECHNION = DataSet(
    name="technion",
    title="Technion: a day of calls to an Israeli bank's call centre (1999)",
    folder="callcenter_technion",
    files=("calls_one_day.csv",),
    events=_events,
)
