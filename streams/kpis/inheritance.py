"""What a merge partition had published before its topics were made anew, written as records of its changelog."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from streams.kpis.accumulators import Acc, merge_acc
from streams.kpis.admission import SHARD_BITS, SHARD_SERIES
from streams.kpis.journal import Marker, Record, base_key, marker_record, page_key, series_record
from streams.kpis.packing import Totals, pack
from streams.kpis.pages import Page
from streams.kpis.windows import WINDOWS, window_minutes

KEPT_MINUTES: Final = max(map(window_minutes, WINDOWS)) + 60
"""Minutes behind the newest closed one that windows may still need; older ones count in totals only."""


def inherited_records(
    before: Mapping[str, Acc],
    minutes: Iterable[tuple[int, Mapping[str, Acc]]],
    *,
    closed: int | None,
    fence: int,
    publish_again: Iterable[str] = (),
) -> Iterator[Record]:
    """
    Give the records that make `MergeState.restore` know what it knew before.

    Args:
        before: Totals by series of all minutes that are not in `minutes`.
        minutes: What the minutes still needed hold (Unix seconds // 60), by series.
        closed: The newest closed minute; None before the first.
        fence: A position before every partial of the new topics and behind every one of the old.
        publish_again: Series whose values of the newest closed minute are published again.
    """
    held: dict[int, dict[str, Acc]] = {}
    for minute, series in minutes:
        of_minute = held.setdefault(minute, {})
        for key, acc in series.items():
            if key in of_minute:
                merge_acc(of_minute[key], acc)
            else:
                of_minute[key] = acc.copy()
    keys = sorted({*before, *(key for series in held.values() for key in series)})
    if not keys:
        return
    numbers = {key: number for number, key in enumerate(keys)}
    for shard, start in enumerate(range(0, len(keys), SHARD_SERIES)):
        yield series_record(shard, keys[start : start + SHARD_SERIES])
    newest = max((minute for minute in [*held, closed] if minute is not None), default=None)
    marker = Marker(fence=fence, closed=closed, newest=newest)
    if closed is not None:
        marker.watermark = (closed + 1) * 60.0
        again = [key for key in publish_again if key in numbers]
        if again:
            # Not closed yet, but due at once. Nothing added is still something to publish.
            marker.closed = closed - 1
            of_minute = held.setdefault(closed, {})
            for key in again:
                of_minute.setdefault(key, _nothing_like(key, before, held))
    for minute, series in sorted(held.items()):
        for shard, totals in _by_shard(series, numbers).items():
            page = Page(minute, ~shard, 0)
            page.totals = totals
            yield page_key(page), page.save()
    for shard, totals in _by_shard(before, numbers).items():
        yield base_key(shard), pack(totals)
    yield marker_record(marker)


def _by_shard(series: Mapping[str, Acc], numbers: Mapping[str, int]) -> dict[int, Totals]:
    shards: dict[int, Totals] = {}
    for key, acc in series.items():
        number = numbers[key]
        shards.setdefault(number >> SHARD_BITS, {})[number] = acc
    return shards


def _nothing_like(key: str, before: Mapping[str, Acc], held: Mapping[int, Mapping[str, Acc]]) -> Acc:
    known = before.get(key)
    if known is None:
        known = next(series[key] for series in held.values() if key in series)
    return [0] * len(known) if isinstance(known, list) else {}
