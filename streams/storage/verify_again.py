"""
The proof beside live traffic: what differs is looked at a second time, so that only what stays as it is is reported.

Events, minutes and values are written one after the other, and values of long windows once in a while. Whoever looks in
between sees them differ until the rest has come, and something else a moment later; what is wrong stays as it is.
"""

from collections.abc import Callable
from dataclasses import replace
from math import ceil
from typing import Final

from clickhouse_connect.driver.client import Client

from streams.steady import steady
from streams.storage.connection import FAILURES, explain
from streams.storage.verify import Difference, VerifyReport

COMING_S: Final = 60
"""Events are coming if one was stored so lately."""
AGAIN_S: Final = 90.0
"""Within this time all that was on its way is stored: a minute is over, and long windows were published again."""


def events_are_coming(client: Client, looked_s: float = 0.0) -> bool:
    """
    Return whether an event was stored within the last minute, or while it was looked for so many seconds.

    Raises:
        PermanentStorageError, UnreachableError: The store cannot be asked.
    """
    sql = f"SELECT count() > 0 FROM events WHERE ingested_at > now() - {COMING_S + ceil(looked_s)}"  # noqa: S608 - a number
    try:
        return bool(client.query(sql).result_rows[0][0])
    except FAILURES as error:
        raise explain(error, "asking for what was stored lately") from error


def verified_again(
    look: Callable[[], VerifyReport], coming: Callable[[float], bool], wait: Callable[[float, str], None]
) -> VerifyReport:
    """
    Return what differs; if events are coming, only what does so in the same way some time later.

    Args:
        look: Compares everything.
        coming: Returns whether events are coming, or came in the seconds that the look took. At rest one is enough.
        wait: Waits for so many seconds; also gets the reason, for people.
    """
    begun = steady()
    first = look()
    if first.ok or not coming(steady() - begun):
        return first
    found = len(first.differences)
    wait(AGAIN_S, f"{found:,} differences, but events are coming: looking again in {AGAIN_S:.0f} s")
    second = look()
    before = set(map(_lasting, first.differences))
    differences = [one for one in second.differences if _lasting(one) in before]
    note = (
        f"events are coming: {found - len(differences):,} of {found:,} differences were gone, or others, {AGAIN_S:.0f}"
        " s later, so on their way, and are left out; at rest nothing is"
    )
    return replace(second, differences=differences, notes=[*second.notes, note])


def _lasting(one: Difference) -> str:
    """Return what stays the same of a difference: records go on being counted, those that are lost are as many."""
    if one.check != "records":
        return str(one)
    beyond = int(one.streamed) - int(one.recomputed.removesuffix(" by balance"))
    return str(replace(one, streamed=str(beyond), recomputed=""))
