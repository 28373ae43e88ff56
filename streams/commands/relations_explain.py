"""`cx relations explain`: what a customer did, what was derived of it and why, and what is still open."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import click
import msgspec

from streams.commands.output import as_json_option, plain_errors, print_json, table
from streams.commands.printing import echo
from streams.definitions import live_relations_of, relations_of
from streams.events.types import Envelope
from streams.relations.catalogue import Relations
from streams.relations.facts import Fact, moment_of
from streams.relations.recount import FOREVER, OpenMatter, Recounted, recount, still_open
from streams.settings import load
from streams.storage.connection import address_of, connect
from streams.storage.customer import CustomerHistory, history_of_keys
from streams.storage.persons import keys_of

_NOTHING_KNOWN = 3
_MOST_KEYS = 100
_OF_ALL = frozenset({"span", "revision", "withdrawn", "outcome", "opened", "last", "due", "left_s"})


@click.command("explain")
@click.argument("subject")
@click.option("--relation", "only", help="Only this relation.")
@click.option("--limit", default=500, show_default=True, type=click.IntRange(1, 100_000), help="Newest events read.")
@as_json_option
@plain_errors
def relations_explain(subject: str, *, only: str | None, limit: int, as_json: bool) -> None:
    """Show a customer's timeline: events, what was derived and of which events, and what waits for its end.

    Reads the store alone. What is derived anew from the events stands beside what is stored: `differs` where it is not
    the same, which `cx verify` explains. Keys that events link to SUBJECT are the same customer. Exit code 3 if nothing
    is known of SUBJECT.

    \b
    Examples:
      cx relations explain c-104
      cx relations explain c-104 --relation cart --json
    """
    settings = load()
    relations = live_relations_of(settings) or relations_of(settings)
    if only:
        try:
            relations = relations_of(settings).only([only])
        except KeyError as exc:
            echo(exc.args[0], err=True)
            sys.exit(1)
    with closing(connect(address_of(settings))) as client:
        keys = keys_of(client, subject, _MOST_KEYS)
        history = history_of_keys(client, keys, [one.emits for one in relations.values()], limit)
    if not history.sent and not history.derived and not history.emptied:
        echo(f"nothing is stored of {subject!r}", err=True)
        sys.exit(_NOTHING_KNOWN)
    story = _Story(relations, keys, history)
    if as_json:
        print_json(story.plain())
    else:
        story.tell(ZoneInfo(settings.zone))


class _Story:
    """What is shown of a customer."""

    def __init__(self, relations: Relations, keys: Sequence[str], history: CustomerHistory) -> None:
        self._subject, *self._others = keys
        self._history = history
        self._anew: dict[str, Recounted] = {}
        self._open: list[OpenMatter] = []
        for synthetic in (False, True):
            sent = [event for event in history.sent if event.synthetic is synthetic]
            # What tests send is not the customer's, under none of the keys.
            for own in [[key] for key in keys] if synthetic else [keys]:
                facts = [fact for event in sent if event.subject in own and (fact := relations.reader.fact(event))]
                now = max((fact.time for fact in facts), default=0)
                for relation in relations.values():
                    self._anew |= {one.result.span: one for one in recount(relation, own[0], facts, FOREVER)}
                    self._open += still_open(relation, facts, now)

    def plain(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        return {
            "subject": self._subject,
            "also": self._others,
            "left_out": self._history.left_out,
            "emptied": self._history.emptied,
            "events": [msgspec.to_builtins(event) for event in self._history.sent],
            "derived": [
                {**one, "because": self._because(one), "anew": self._anew_says(one)} for one in self._history.derived
            ],
            "open": [
                {
                    "relation": one.relation,
                    **one.key,
                    "since": _iso(one.inside[0].time),
                    "due": None if one.due is None else _iso(one.due),
                    "kept": one.kept,
                    "because": [*map(_named, one.inside)],
                }
                for one in self._open
            ],
        }

    def tell(self, zone: ZoneInfo) -> None:
        """Print it."""

        def local(moment: datetime) -> str:
            return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

        rows = [(event.time, 0, event.type, self._says(event)) for event in self._history.sent]
        rows += [
            (datetime.fromisoformat(one["time"]), 1, f"=> {_relation(one)} {_verdict(one)}", self._why(one))
            for one in self._history.derived
        ]
        rows.sort(key=lambda row: row[:2])
        if self._others:
            echo(table(("THE SAME CUSTOMER",), [(key,) for key in self._others]) + "\n")
        if self._history.left_out:
            echo(f"{self._history.left_out:,} older events are left out (--limit)")
        if self._history.emptied:
            echo(f"{self._history.emptied:,} events have a payload past its retention (CX_KEEP_TEXT_DAYS)")
        echo(table(("TIME", "WHAT", "SAYS"), [(local(at), what, says) for at, _, what, says in rows]))
        if self._open:
            echo("\nStill open as of the newest event:")
            open_rows = [
                (
                    one.relation,
                    local(moment_of(one.inside[0].time)),
                    "" if one.due is None else local(moment_of(one.due)),
                    _words({**one.key, **one.kept}),
                )
                for one in self._open
            ]
            echo(table(("RELATION", "SINCE", "ENDS BY ITSELF", "SO FAR"), open_rows, least=("SO FAR",)))
        said = len({one["data"]["span"] for one in self._history.derived})
        echo(f"\n{len(self._history.sent):,} events, {said:,} matters, {len(self._open):,} open")

    def _says(self, event: Envelope) -> str:
        key = {} if event.subject == self._subject else {"subject": event.subject}
        return _words({**key, **_data(event)})

    def _why(self, one: Mapping[str, Any]) -> str:
        because, anew = self._because(one), self._anew_says(one)
        words = _words({name: value for name, value in one["data"].items() if name not in _OF_ALL})
        of = f"of {', '.join(named['id'] for named in because)}" if because else ""
        return " · ".join(filter(None, ("" if anew == "same" else anew, words, of)))

    def _because(self, one: Mapping[str, Any]) -> list[dict[str, str]]:
        """Return the events that a result rests on."""
        anew = self._anew.get(one["data"]["span"])
        return [*map(_named, anew.inside)] if anew else []

    def _anew_says(self, one: Mapping[str, Any]) -> str:
        """Tell how a result stands to what follows from the events now."""
        anew = self._anew.get(one["data"]["span"])
        if one["data"]["withdrawn"]:
            return "taken back"
        newest = [other for other in self._history.derived if other["data"]["span"] == one["data"]["span"]][-1]
        if newest is not one:
            return "replaced later"
        if anew is None:
            return "differs: nothing follows from these events"
        same = one["data"].get("outcome") == anew.result.data.get("outcome") and one["time"] == _iso(anew.result.at)
        return "same" if same else "differs, or may still change"


def _relation(one: Mapping[str, Any]) -> str:
    return str(one["source"].partition("/")[2])


def _verdict(one: Mapping[str, Any]) -> str:
    data = one["data"]
    moved = f" to {data['to_stage']}" if "to_stage" in data else ""
    return f"{data.get('outcome', 'seen')}{moved}{' (taken back)' if data['withdrawn'] else ''}"


def _data(event: Envelope) -> dict[str, Any]:
    plain = msgspec.to_builtins(event)
    return {"channel": event.channel, **{k: v for k, v in plain["data"].items() if v is not None}, "id": event.id}


def _words(data: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in data.items() if value is not None)


def _named(fact: Fact) -> dict[str, str]:
    return {"id": fact.id, "source": fact.source, "type": fact.type, "time": _iso(fact.time)}


def _iso(time: int) -> str:
    return moment_of(time).isoformat(timespec="milliseconds").replace("+00:00", "Z")
