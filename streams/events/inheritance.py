"""What a source knew before its topic was made anew, written as finished ranges below offset zero."""

from collections.abc import Iterator, Sequence
from typing import Final

from streams.events.dedup import SOURCE_BITS, key_of, write_keys
from streams.events.intake import FrozenRange, SourceHead, Tally

SHARES: Final = 100
"""Ranges the remembered ids are put into, at most: they are forgotten range by range, so a hundredth at a time."""

_NEVER: Final = float("-inf")


def inherited_ranges(
    source: str,
    ids: Sequence[tuple[str, str, int]],
    times: Sequence[float],
    *,
    forgotten_newest: float = _NEVER,
    tally: Tally,
    now: float,
    dedup_ids: int,
) -> Iterator[FrozenRange]:
    """
    Return the ranges that make `Intake.restore` know what it knew before.

    Args:
        source: Whose records.
        ids: Source, id and content of the newest accepted events, in the order they came.
        times: Their event times, Unix s.
        forgotten_newest: Newest event time among accepted events older than those; repeats of them are not recognised.
        tally: Records of the source so far.
        now: Unix s; what devices with fast clocks say beyond it counts as now.
        dedup_ids: How many ids an intake remembers.

    Raises:
        ValueError: there are more ids than are remembered, or not as many times.
    """
    if len(ids) > dedup_ids:
        raise ValueError(f"{source}: {len(ids)} ids to inherit, but only {dedup_ids} are remembered")
    if len(ids) != len(times):
        raise ValueError(f"{source}: {len(ids)} ids, but {len(times)} times")
    if not tally.read:
        return
    size = max(1, -(-dedup_ids // SHARES))
    starts = range(0, len(ids), size) or range(1)
    # Times are exact up to their source's precision only: what is capped here was capped when it came, too.
    newest = min(forgotten_newest, now)
    head = SourceHead(0, max([newest, *(min(at, now) for at in times)]), forgotten_newest, tally, now)
    for place, start in enumerate(starts):
        part = slice(start, start + size)
        newest = max([newest, *(min(at, now) for at in times[part])])
        offset = place - len(starts)
        of_part = ids[part]
        written = write_keys(
            [key_of(origin, event_id) for origin, event_id, _ in of_part],
            [SOURCE_BITS[origin] for origin, _, _ in of_part],
            [content for _, _, content in of_part],
        )
        yield FrozenRange(source, offset, offset, now, head, head, written.ids, newest, marks=written.marks)
