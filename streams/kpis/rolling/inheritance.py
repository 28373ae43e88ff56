"""What a merge partition had published before its topics were made anew, written as records of its changelog."""

from collections.abc import Container, Iterable, Iterator, Mapping

from streams.kpis.arithmetic.accumulators import Acc, merge_acc
from streams.kpis.language.series import SEPARATOR
from streams.kpis.rolling.admission import SHARD_BITS, SHARD_SERIES
from streams.kpis.rolling.journal import Marker, Record, base_key, marker_record, page_key, series_record
from streams.kpis.rolling.packing import Totals, pack
from streams.kpis.rolling.pages import HOUR_PART, Page


def inherited_records(
    before: Mapping[str, Acc],
    minutes: Iterable[tuple[int, Mapping[str, Acc]]],
    *,
    closed: int | None,
    fence: int,
    hours: Iterable[tuple[int, Mapping[str, Acc]]] = (),
    publish_again: Iterable[str] = (),
    delayed: Container[str] = frozenset(),
) -> Iterator[Record]:
    """
    Return the records that make `MergeState.restore` know what it knew before.

    Args:
        before: Totals by series of all minutes that are neither in `minutes` nor in `hours`.
        minutes: What the minutes still needed hold (Unix seconds // 60), by series.
        closed: The newest closed minute; None before the first.
        fence: A position before every partial of the new topics and behind every one of the old.
        hours: What hours hold whose minutes are not needed one by one, by the first minute of each.
        publish_again: Series whose values of the newest closed minute are published again.
        delayed: Ids of KPIs that count events later than they happen, so that their minutes may be yet to come.
    """
    held, of_hours = _gathered(minutes), _gathered(hours)
    keys = sorted({*before, *(key for series in (*held.values(), *of_hours.values()) for key in series)})
    if not keys:
        return
    numbers = {key: number for number, key in enumerate(keys)}
    for shard, start in enumerate(range(0, len(keys), SHARD_SERIES)):
        yield series_record(shard, keys[start : start + SHARD_SERIES])
    begun = [
        minute for minute, series in held.items() if any(key.partition(SEPARATOR)[0] not in delayed for key in series)
    ]
    newest = max((minute for minute in [*begun, closed] if minute is not None), default=None)
    marker = Marker(fence=fence, closed=closed, newest=newest)
    if closed is not None:
        marker.watermark = (closed + 1) * 60.0
        again = [key for key in publish_again if key in numbers]
        if again:
            # Not closed yet, but due at once. Nothing added is still something to publish.
            marker.closed = closed - 1
            of_minute = held.setdefault(closed, {})
            for key in again:
                of_minute.setdefault(key, _nothing_like(key, before, {**held, **of_hours}))
    for minute, series in sorted(held.items()):
        for shard, totals in _by_shard(series, numbers).items():
            page = Page(minute, ~shard, 0)
            page.totals = totals
            yield page_key(page), page.save()
    for minute, series in sorted(of_hours.items()):
        for shard, totals in _by_shard(series, numbers).items():
            yield page_key(Page(minute, shard, HOUR_PART)), pack(totals)
    for shard, totals in _by_shard(before, numbers).items():
        yield base_key(shard), pack(totals)
    yield marker_record(marker)


def _gathered(pieces: Iterable[tuple[int, Mapping[str, Acc]]]) -> dict[int, dict[str, Acc]]:
    held: dict[int, dict[str, Acc]] = {}
    for minute, series in pieces:
        of_minute = held.setdefault(minute, {})
        for key, acc in series.items():
            if key in of_minute:
                merge_acc(of_minute[key], acc)
            else:
                of_minute[key] = acc.copy()
    return held


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
