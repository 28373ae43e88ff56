"""`cx dlq`: what was refused and why, and how it comes back once the contract takes it."""

import base64
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from streams.commands.arguments import MomentType, When
from streams.commands.output import aligned, as_json_option, cut, fitted, plain_errors, print_json, table
from streams.commands.printing import echo, room
from streams.commands.traffic import producer_of
from streams.engine.names import Topics
from streams.events.decode import decode_stored
from streams.events.intake import EARLIEST, FUTURE_TOLERANCE
from streams.events.refusal import Refusal
from streams.events.types import Envelope
from streams.events.visible import spelled_out, visible_line
from streams.settings import Settings, load
from streams.storage.connection import Address, RefusedRowsError, address_of
from streams.storage.plain import StoredRecord
from streams.storage.queries import run_query
from streams.storage.salvage import Source
from streams.storage.setaside import REASON
from streams.storage.writer import Writer

_PAGE: Final = 1_000
_WHERE: Final = """
    ({reason:String} = '' OR reason = {reason:String}) AND ({topic:String} = '' OR topic = {topic:String}
        OR endsWith(topic, concat('.', {topic:String})))
    AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
"""
_FIELDS: Final = ("topic", "partition", "offset", "reason", "path", "got", "expected", "message", "code_version", "at")


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", type=MomentType(), help="Refused before: 2026-03-01T09:30 (UTC), -2h, …"),
        click.option("--since", type=MomentType(), help="Refused at or after."),
        click.option("--topic", default="", help="Topic, or its channel, e.g. web."),
        click.option("--reason", default="", help="Reason code, e.g. missing_field."),
    ):
        command = option(command)
    return command


def _selection(reason: str, topic: str, since: When | None, until: When | None) -> dict[str, Any]:
    def utc(when: When | None, default: str) -> str:
        return default if when is None else when.moment().strftime("%Y-%m-%d %H:%M:%S")

    return {
        "reason": reason,
        "topic": topic,
        "since": utc(since, "1990-01-01 00:00:00"),
        "until": utc(until, "2100-01-01 00:00:00"),
    }


@click.group()
def dlq() -> None:
    """List, explain and replay dead letters: records that were refused, kept as they came.

    \b
    Examples:
      cx dlq list
      cx dlq show missing_field
      cx dlq replay --reason unknown_type --dry-run
    """


@dlq.command("list")
@_filters
@as_json_option
@plain_errors
def dlq_list(reason: str, topic: str, since: When | None, until: When | None, *, as_json: bool) -> None:
    """List reasons and fields with their number and an example."""
    answer = run_query(
        f"""
        SELECT reason, path, topic, count() AS records, min(at) AS oldest, max(at) AS newest,
            argMax(message, at) AS example,
            argMax(concat(topic, '/', toString(partition), '/', toString(offset)), at) AS shown_by
        FROM dead_letters WHERE {_WHERE} GROUP BY reason, path, topic ORDER BY records DESC, reason, path, topic""",  # noqa: S608
        _selection(reason, topic, since, until),
        address_of(load()),
    )
    if as_json:
        echo(answer.render("json"))
    elif not answer.rows:
        echo("no dead letters")
    else:
        for line in _listed(answer.cells, room()):
            echo(line)


def _listed(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Yield a line for each reason, and under it the newest of its letters, with what `cx dlq show` asks for."""
    heads = [
        (records, reason, path, topic.rpartition(".")[2], f"{oldest[5:16]} to {newest[5:16]}")
        for reason, path, topic, records, oldest, newest, *_ in rows
    ]
    columns = ("records", "reason", "field", "channel", "refused (UTC)")
    lines = aligned(fitted([columns, *heads], least=[4, 3], width=width))
    yield next(lines)
    for line, (*_, example, place) in zip(lines, rows, strict=True):
        yield line
        said = visible_line(f"    {place}: {example}")
        yield said if width is None else cut(said, width)


@dlq.command("show")
@click.argument("which")
@as_json_option
@plain_errors
def dlq_show(which: str, *, as_json: bool) -> None:
    """Explain one dead letter: the field, what stood there, what was expected, the original bytes.

    WHICH is topic/partition/offset as `cx dlq list` shows it, or a reason: then its newest one.

    \b
    Examples:
      cx dlq show cx.touchpoints.web/2/1077
      cx dlq show bad_time
    """
    topic, *place = which.rsplit("/", 2)
    if place and (len(place) != 2 or not all(number.isdecimal() for number in place)):
        raise click.UsageError(f"{which!r} is neither topic/partition/offset nor a reason")
    where, parameters = "reason = {reason:String}", {"reason": which}
    if place:
        where = "topic = {topic:String} AND partition = {partition:UInt32} AND offset = {offset:UInt64}"
        parameters = {"topic": topic, "partition": place[0], "offset": place[1]}
    sql = f"SELECT {', '.join(_FIELDS)}, base64Encode(payload) FROM dead_letters WHERE {where} ORDER BY at DESC LIMIT 1"  # noqa: S608
    rows = run_query(sql, parameters, address_of(load())).rows
    if not rows:
        echo(f"no dead letter {which}", err=True)
        sys.exit(1)
    letter = dict(zip(_FIELDS, rows[0], strict=False))
    payload = base64.b64decode(rows[0][-1])
    verdict = _verdict(letter["reason"], _still_refused(payload, datetime.now(UTC)))
    if as_json:
        print_json({**letter, "payload_base64": rows[0][-1], "now": verdict})
        return
    for name, value in letter.items():
        echo(f"{name:13} {visible_line(str(value))}")
    echo(f"{'now':13} {verdict}")
    echo(f"{'bytes':13} {len(payload)}")
    echo(_readable(payload))
    if not payload:
        echo("empty: past its retention (CX_KEEP_TEXT_DAYS), or of somebody who is forgotten, or sent so")


def _verdict(reason: str, now: Envelope | Refusal) -> str:
    if reason == REASON:
        return "counted, but refused by ClickHouse: `cx dlq replay` stores it if ClickHouse takes it by now"
    if reason == "conflict":
        return "another event has its source and id: if this is one of its own, send it again with another id"
    return f"still refused: {now.message}" if isinstance(now, Refusal) else "valid by now: `cx dlq replay` sends it"


def _readable(payload: bytes) -> str:
    """Show bytes as the text they are; if they are none, with the rest as escapes."""
    return "\n".join(map(spelled_out, payload.decode("utf-8", errors="backslashreplace").split("\n")))


@dlq.command("replay")
@_filters
@click.option("--all", "everything", is_flag=True, help="Without any filter: all there are.")
@click.option("--dry-run", is_flag=True, help="Send nothing; tell what would be sent.")
@as_json_option
@plain_errors
def dlq_replay(
    reason: str,
    topic: str,
    since: When | None,
    until: When | None,
    *,
    everything: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send dead letters that are valid by now into their topic again.

    Each is checked by the contract of this version; what is still refused stays where it is, and so does what was
    accepted meanwhile. Events are known by source and id, so that nothing counts twice however often this is done.
    What is older than the retention is stored, but comes too late for the KPIs. Events that ClickHouse had refused
    (refused_by_store) are counted already: they are not sent, but stored in ClickHouse at once.

    Exit code 1 if the broker did not take all of them.

    \b
    Examples:
      cx dlq replay --reason unknown_type --since 2026-03-01 --dry-run
      cx dlq replay --reason unknown_type --topic app
    """
    if not (everything or reason or topic or since or until or dry_run):
        raise click.UsageError("say which: --reason, --topic, --since, --until, or --all")
    settings = load()
    address = address_of(settings)
    report = _Sorted(settings, address)
    report.sort(_selection(reason, topic, since, until))
    errors: Mapping[str, int] = {}
    sent = stored = 0
    if report.valid and not dry_run:
        topics = Topics(settings.topic_prefix)
        with producer_of(settings) as producer:
            for origin, event, payload in report.valid.values():
                producer.send_encoded(payload, topics.channel_of(origin), event.subject)
            delivery = producer.flush(120.0)
        errors, sent = delivery.errors, delivery.delivered
    if report.set_aside and not dry_run:
        stored = _store_later(address, report.set_aside)
    summary = {
        "dead_letters": report.read,
        "valid": len(report.valid),
        "accepted_meanwhile": report.known,
        "foreign_topic": report.foreign,
        "still_refused": dict(report.refused),
        "set_aside": len(report.set_aside),
        "sent": sent,
        "stored": stored,
        "errors": dict(errors),
    }
    if as_json:
        print_json(summary)
    else:
        echo(f"{report.read:,} dead letters, {len(report.valid):,} valid by now, {report.known:,} accepted meanwhile")
        if report.foreign:
            echo(f"{report.foreign:,} come from topics outside of {settings.topic_prefix}.touchpoints: left alone")
        if report.refused:
            echo(table(("still refused", "records"), report.refused.most_common()))
        if report.set_aside:
            echo(f"{len(report.set_aside):,} are counted already, and only refused by ClickHouse")
        echo("nothing sent: a dry run" if dry_run else f"{sent:,} sent, {stored:,} stored in ClickHouse at once")
        for error, count in errors.items():
            echo(f"{count:,} not sent: {error}", err=True)
    sys.exit(0 if dry_run or (sent, stored) == (len(report.valid), len(report.set_aside)) else 1)


def _store_later(address: Address, letters: Sequence[tuple[Source, StoredRecord]]) -> int:
    """Store events that are counted already; returns how many ClickHouse takes by now."""
    stored = 0
    writer = Writer(address)
    try:
        for source, row in letters:
            try:
                writer.store_later(source, row)
            except RefusedRowsError as error:
                topic, partition = source
                echo(f"{topic}/{partition}/{row.offset} is still refused: {error}", err=True)
            else:
                stored += 1
    finally:
        writer.close()
    return stored


class _Sorted:
    """Dead letters by what can be done with them now."""

    def __init__(self, settings: Settings, address: Address) -> None:
        self._topics = frozenset(Topics(settings.topic_prefix).sources)
        self._address = address
        self.read = self.known = self.foreign = 0
        self.refused: Counter[str] = Counter()
        self.valid: dict[tuple[str, str, str], tuple[str, Envelope, bytes]] = {}
        """By topic, source and id of the event: topic, event and payload, in the order they came."""
        self.set_aside: list[tuple[Source, StoredRecord]] = []
        """Those that are counted, and that ClickHouse does not have."""

    def sort(self, selection: Mapping[str, Any]) -> None:
        """Read the letters of a selection page by page."""
        now = datetime.now(UTC)
        for page in self._pages(selection):
            fresh: dict[tuple[str, str, str], tuple[str, Envelope, bytes]] = {}
            for topic, encoded, partition, offset, outcome in page:
                self.read += 1
                payload = base64.b64decode(encoded)
                event = _still_refused(payload, now)
                if topic not in self._topics:
                    self.foreign += 1
                elif outcome in {"counted", "late"}:
                    self.set_aside.append(((topic, partition), StoredRecord(int(offset), payload, outcome == "late")))
                elif isinstance(event, Refusal):
                    self.refused[event.reason] += 1
                else:
                    fresh.setdefault((topic, event.source, event.id), (topic, event, payload))
            accepted = self._accepted([event_id for _, _, event_id in fresh])
            self.known += len(fresh.keys() & accepted)
            for key, letter in fresh.items():
                if key not in accepted:
                    self.valid.setdefault(key, letter)

    def _pages(self, selection: Mapping[str, Any]) -> Iterator[Sequence[Sequence[Any]]]:
        after: tuple[Any, ...] = ("", 0, 0)
        while True:
            rows = run_query(
                f"""
                SELECT topic, base64Encode(payload), partition, toString(offset), toString(outcome)
                FROM dead_letters WHERE {_WHERE}
                    AND (outcome IN ('bad', 'conflict') OR (topic, partition, offset) NOT IN
                        (SELECT topic, partition, offset FROM stored_later))
                    AND (topic, partition, offset) > ({{after_topic:String}}, {{after_partition:UInt32}},
                        {{after_offset:Int128}})
                ORDER BY topic, partition, offset LIMIT {_PAGE}""",  # noqa: S608
                {
                    **selection,
                    "after_topic": after[0],
                    "after_partition": after[1],
                    "after_offset": after[2],
                },
                self._address,
            ).rows
            if not rows:
                return
            yield rows
            after = rows[-1][0], rows[-1][2], rows[-1][3]

    def _accepted(self, ids: list[str]) -> set[tuple[str, str, str]]:
        """Find those that are stored as events already; ids go as hex, whatever they hold."""
        if not ids:
            return set()
        sql = """
            SELECT DISTINCT topic, source, id FROM events
            WHERE id IN (SELECT unhex(arrayJoin(splitByChar(',', {ids:String}))))"""
        rows = run_query(sql, {"ids": ",".join(one.encode().hex() for one in ids)}, self._address).rows
        return {(topic, source, event_id) for topic, source, event_id in rows}


def _still_refused(payload: bytes, now: datetime) -> Envelope | Refusal:
    """Return the event, or why it would be refused again; times are judged by the clock, as the intake does."""
    event = decode_stored(payload)
    if isinstance(event, Refusal) or EARLIEST <= event.time <= now + FUTURE_TOLERANCE:
        return event
    reason = "time_too_old" if event.time < EARLIEST else "time_in_future"
    message = f"time {event.time.isoformat()} is out of bounds"
    return Refusal(0, reason, "time", event.time.isoformat(), "a time the intake takes", message)
