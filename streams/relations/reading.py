"""Relations as people write them: blocks of YAML, read strictly."""

import fnmatch
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from streams.events import types
from streams.events.types import EVENT_TYPES, PIPELINE_TYPES
from streams.kpis.language.blocks import YamlBlock
from streams.kpis.language.expressions import TRUE, Expression, ExpressionError, parse, suggest
from streams.kpis.language.fields import Field, Fields, Kind, all_fields, lacking
from streams.relations.clocks import WorkingClock, read_duration
from streams.relations.definition import COMMON, KEPT, Matcher, Relation, Take
from streams.relations.kinds import Expiry, LookbackRelation, SpanRelation, StagesRelation
from streams.relations.takes import TAKES, TAKING, VALUELESS, TakeName

KINDS: Final = ("span", "lookback", "stages")
_COMMON: Final = ("id", "kind", "name", "question", "owner", "emits")
_KNOWN: Final = sorted(EVENT_TYPES.keys() - PIPELINE_TYPES)
REVISES_MS: Final = 86_400_000
"""How late an event may come and still change results, if the relation does not say: a day."""
FORGETS_MS: Final = 90 * 86_400_000
"""How long a span without a deadline may stay open, if the relation does not say: 90 days."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_EMITS: Final = re.compile(r"cx(\.[a-z][a-z0-9_]{0,31}){2,3}")

_Fields = Mapping[str, Field]


def read_relation(
    block: YamlBlock, kind: str, clocks: Mapping[str, WorkingClock], emitted: Mapping[str, str]
) -> Relation | None:
    """
    Read one relation.

    Args:
        block: Its block; what is wrong with it becomes a problem.
        kind: One of `KINDS`.
        clocks: The clocks that there are.
        emitted: The types of derived events that there are, and the relations that emit them.

    Returns:
        The relation; if problems were noted on the way, it means nothing.
    """
    reader: Callable[[_RelationBlock], Relation | None] = _READERS[kind]
    return reader(_RelationBlock(block, kind, clocks, emitted))


class _RelationBlock:
    """A block with what is needed to make sense of it."""

    def __init__(
        self, block: YamlBlock, kind: str, clocks: Mapping[str, WorkingClock], emitted: Mapping[str, str]
    ) -> None:
        self.block, self._kind = block, kind
        self._taken = {*(output.name for output in COMMON), *_SAID[kind], *types.ENVELOPE_FIELDS, "labels", "data"}
        self.clocks = clocks
        self._emitted = emitted
        self.kept: dict[str, Field] = {}

    def common(self, default_revision: int = REVISES_MS) -> dict[str, Any]:
        """Read what all kinds have, but for what is kept."""
        block = self.block
        name = block.text("id")
        if name and not _NAME.fullmatch(name):
            block.problem("id", f"id {name!r} must be lower case letters, digits and underscores")
        emits = block.text("emits")
        if emits and not _EMITS.fullmatch(emits):
            block.problem("emits", f"{emits!r} cannot be an event type: expected a name such as cx.cart.ended")
        by = tuple(map(str, block.list("by")))
        if len(set(by)) < len(by):
            block.problem("by", f"'by' names a field twice: {', '.join(by)}")
        revises = 0 if block.plain("revises") is False else read_duration(block, "revises", default_revision)
        return {
            "id": name,
            "name": self._names(),
            "question": block.text("question"),
            "owner": block.text("owner"),
            # What all matters of a customer have in common does not tell them apart.
            "by": tuple(one for one in by if one != "subject"),
            "emits": emits,
            "revises_ms": revises,
            "text": json.dumps({key: block.plain(key) for key in block}, sort_keys=True, default=str),
        }

    def _names(self) -> dict[str, str]:
        block = self.block.block("name")
        if block is None:
            return {}
        block.expect(("en",), ("fa",))
        return {language: block.text(language) for language in block}

    def matcher(self, block: YamlBlock, key: str, *, kept: bool = False) -> Matcher:
        """Read which events are meant below a key; conditions may ask for what is kept where that is known."""
        given = block.block(key)
        if given is None:
            return _NONE
        given.expect(("events",), ("where",))
        return self.selected(given, kept=kept)

    def selected(self, given: YamlBlock, *, kept: bool = False) -> Matcher:
        """Read `events` and `where` of a block."""
        events = self._events(given)
        if not events:
            return _NONE
        where = self.expression(given, "where", Kind.BOOL, events, self.kept if kept else {})
        return Matcher(frozenset(events), tuple(map(str, given.list("events"))), where or TRUE)

    def matchers(self, key: str) -> dict[str, Matcher]:
        """Read the selectors that are listed below a key by outcome."""
        block = self.block.block(key)
        if block is not None and not any(True for _ in block):
            self.block.problem(key, f"{key!r} is empty: give one or more outcomes, each with its events")
        for name in block or ():
            if not _NAME.fullmatch(name):
                self.block.problem(key, f"outcome {name!r} must be lower case letters, digits and underscores")
        return {name: self.matcher(block, name, kept=True) for name in block} if block is not None else {}

    def expression(
        self, given: YamlBlock, part: str, kind: Kind, events: tuple[str, ...], kept: _Fields
    ) -> Expression | None:
        """Read a condition or value over the fields of events, and what is kept."""
        if part not in given:
            return None
        fields = _with(all_fields(events), kept)
        try:
            found = parse(str(given.plain(part)), kind, fields, {})
        except ExpressionError as error:
            given.problem(part, f"{part}: {error}")
            return None
        for name in found.fields - kept.keys() if "type" not in found.fields else ():
            if without := lacking(name, events):
                given.problem(part, f"{part}: {name!r} is no field of {without}")
        return found

    def _events(self, given: YamlBlock) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for name in map(str, given.list("events")):
            if name in self._emitted:
                given.problem(
                    "events",
                    f"{name!r} is what {self._emitted[name]} emits: a relation reads what happened, not what others "
                    "made of it, so that none can feed another in a circle; name the events themselves",
                )
                return ()
            matching = fnmatch.filter(_KNOWN, name) if "*" in name else [name]
            if not matching or matching[0] not in _KNOWN:
                given.problem("events", f"unknown event type {name!r}{suggest(name, _KNOWN)}")
                return ()
            found.update(dict.fromkeys(matching))
        if not found and "events" in given:
            given.problem("events", "'events' names no event type")
        return tuple(found)

    def keeps(self, default: Matcher) -> tuple[Take, ...]:
        """Read what is kept; its names can stand in conditions from then on, with `kept_` in front."""
        block = self.block.block("keeps")
        found = []
        for name in block or ():
            assert block is not None
            given = block.block(name)
            if given is None:
                continue
            if not _NAME.fullmatch(name) or name in self._taken:
                why = "is taken" if name in self._taken else "must be lower case letters, digits and underscores"
                block.problem(name, f"the name {name!r} {why}")
            if take := self._take(given, name, default):
                found.append(take)
                self.kept[KEPT + name] = Field(KEPT + name, take.kind, "data", optional=True)
        return tuple(found)

    def _take(self, given: YamlBlock, name: str, default: Matcher) -> Take | None:
        back = {"span": "before", "lookback": "within"}.get(self._kind, "")
        further = {"span": ("before", "since", "itself"), "lookback": ("itself",)}.get(self._kind, ())
        must = ("take", "events", "within") if self._kind == "lookback" else ("take",)
        given.expect(must, ("events", "where", "value", *further))
        take: TakeName = given.choice("take", TAKES, "count")
        of = self.selected(given) if "events" in given else default
        if "where" in given and "events" not in given:
            given.problem("where", "'where' needs 'events' beside it")
        since = "since" in given
        if since and "before" in given:
            given.problem("since", "'since' means nothing beside 'before': it goes on from there until the end")
        before = read_duration(given, "since" if since else back) if back else 0
        itself = given.choice("itself", (True, False), False)
        if "itself" in given and (since or not before):
            given.problem("itself", f"'itself' means something only with {back!r}")
        if take in VALUELESS:
            if "value" in given:
                given.problem("value", f"'value' means nothing for {take}")
            return Take(name, take, of, None, Kind.NUMBER, before, itself, since)
        if "value" not in given:
            given.problem("value", f"'value' is missing: {take} takes one of each event")
            return None
        if not of.events:
            return None
        return self._with_value(given, Take(name, take, of, None, Kind.NUMBER, before, itself, since))

    def _with_value(self, given: YamlBlock, take: Take) -> Take | None:
        events, text = tuple(take.of.events), str(given.plain("value"))
        taking = TAKING[take.take]
        if _is_time(text, events):
            if taking.numbers:
                given.problem("value", f"value {text!r} is a time: {take.take} needs a number")
            return replace(take, value=text, kind=taking.kind(Kind.TIME))
        for kind in (Kind.NUMBER,) if taking.numbers else (Kind.NUMBER, Kind.TEXT, Kind.BOOL):
            try:
                parse(text, kind, all_fields(events), {})
            except ExpressionError:
                continue
            break
        value = self.expression(given, "value", kind, events, {})
        return replace(take, value=value, kind=taking.kind(kind)) if value else None

    def check_by(self, relation: Relation) -> None:
        """Note the fields of `by` that events of the relation do not have."""
        everywhere = sorted(relation.events)
        for name in relation.by:
            if without := lacking(name, everywhere):
                known = [one for one in all_fields(everywhere) if not lacking(one, everywhere)]
                self.block.problem("by", f"'by': {name!r} is no field of {without}{suggest(name, known)}")
            elif all_fields(everywhere)[name].kind is Kind.TIME:
                self.block.problem("by", f"'by': {name!r} is a time, and no two matters have the same")

    def clock(self) -> WorkingClock | None:
        """Read the name of the clock."""
        name = self.block.text("clock") if "clock" in self.block else ""
        if name and name not in self.clocks:
            there = suggest(name, self.clocks) or f"; there are {', '.join(sorted(self.clocks)) or 'none'}"
            self.block.problem("clock", f"no clock {name!r}{there}")
        return self.clocks.get(name)


_SAID: Final = {
    "span": {"outcome", "opened", "duration_s", "last", "started", "elapsed_s", "worked_s", "due", "left_s"},
    "lookback": set[str](),
    "stages": {
        "outcome", "from_stage", "to_stage", "stayed_s", "skipped", "backward", "first", "opened", "highest",
    },
}  # fmt: skip
"""What derived events of each kind say beside what is kept."""
_NONE: Final = Matcher(frozenset(), ())


def _with(fields: Mapping[str, Field], kept: _Fields) -> dict[str, Field]:
    own = Fields(fields) if isinstance(fields, Fields) else dict(fields)
    own.update(kept)
    return own


def _is_time(name: str, events: tuple[str, ...]) -> bool:
    """Whether a name is that of a time in the data of all these events."""
    infos = [types.fields_of(one).get(name) for one in events]
    return bool(infos) and all(info is not None and info.kind == "time" for info in infos)


def _span(reading: _RelationBlock) -> Relation | None:
    block = reading.block
    block.expect(
        (*_COMMON, "opens"),
        (
            "by",
            "each",
            "touches",
            "restarts",
            "splits",
            "closes",
            "expires",
            "target",
            "reopens",
            "keeps",
            "clock",
            "forgets",
            "revises",
        ),
    )
    common = reading.common()
    opens = reading.matcher(block, "opens")
    keeps = reading.keeps(opens)
    optional = {
        key: reading.matcher(block, key, kept=True) if key in block else None for key in ("touches", "restarts")
    }
    closes, splits = reading.matchers("closes"), reading.matchers("splits")
    clock = reading.clock()
    expires, target = _expiry(reading, "expires", opens, clock), _expiry(reading, "target", opens, clock)
    if expires and target:
        block.problem("target", "'target' means nothing where 'expires' is: the span ends by then")
    if not closes and not splits and expires is None:
        block.problem("closes", "it can never end: give 'closes', 'splits' or 'expires'")
    for outcome in splits.keys() & closes.keys():
        block.problem("splits", f"outcome {outcome!r} stands in 'closes' as well")
    for outcome, matcher in splits.items():
        if matcher.events and not matcher.events <= opens.events:
            block.problem("splits", f"{outcome!r}: what splits opens the next one, so name its events in 'opens' too")
    reopens, reopens_ms = _reopening(reading)
    if "forgets" in block and expires is not None and expires.after_ms:
        block.problem("forgets", "'forgets' means nothing where it ends after a time: no span stays open for ever")
    relation = SpanRelation(
        **common,
        keeps=keeps,
        opens=opens,
        closes=closes,
        each=block.choice("each", (True, False), False),
        touches=optional["touches"],
        restarts=optional["restarts"],
        splits=splits,
        expires=expires,
        target=target,
        reopens=reopens,
        reopens_ms=reopens_ms,
        clock=clock,
        forgets_ms=read_duration(block, "forgets", FORGETS_MS),
    )
    if opens.events:
        reading.check_by(relation)
    return relation


def _expiry(reading: _RelationBlock, key: str, opens: Matcher, clock: WorkingClock | None) -> Expiry | None:
    """Read the deadline by which a span ends, or should have ended."""
    block = reading.block.block(key)
    if block is None:
        return None
    ends = key == "expires"
    block.expect(("as",) if ends else (), ("after", "at", "moves", *(("reopens",) if ends else ())))
    outcome, at = block.text("as"), block.text("at") if "at" in block else ""
    if ("after" in block) == ("at" in block):
        block.problem("after", "give either 'after', a length of time, or 'at', a field")
    length = read_duration(block, "after")
    if clock and length:
        _runs_long_enough(block, clock, length)
    moves = reading.matcher(block, "moves", kept=True) if "moves" in block else None
    if moves and not at:
        block.problem("moves", "'moves' belongs to 'at': it brings the same field anew")
    for matcher in (opens, moves) if at else ():
        without = [one for one in sorted(matcher.events if matcher else ()) if not _is_time(at, (one,))]
        if without:
            times = [name for name, info in types.data_fields(without[0]).items() if info.kind == "time"]
            there = suggest(at, times) or f"; its times are {', '.join(times) or 'none'}"
            block.problem("at", f"{at!r} is no time of {', '.join(without)}{there}")
    return Expiry(outcome, length, at, moves, read_duration(block, "reopens"))


def _runs_long_enough(block: YamlBlock, clock: WorkingClock, length: int) -> None:
    minutes = sum(
        (until.hour * 60 + until.minute if until else 24 * 60) - since.hour * 60 - since.minute
        for day in clock.hours
        for since, until in day
    )
    if length > minutes * 60_000 * 1_000:
        block.problem("after", f"{block.plain('after')} takes years by the clock {clock.name}")


def _reopening(reading: _RelationBlock) -> tuple[Matcher | None, int]:
    block = reading.block.block("reopens")
    if block is None:
        return None, 0
    block.expect(("events", "within"), ("where",))
    return reading.selected(block), read_duration(block, "within")


def _lookback(reading: _RelationBlock) -> Relation | None:
    block = reading.block
    block.expect((*_COMMON, "at", "keeps"), ("by", "revises"))
    common, at = reading.common(), reading.matcher(block, "at")
    relation = LookbackRelation(**common, keeps=reading.keeps(at), at=at)
    if at.events:
        reading.check_by(relation)
    return relation


def _stages(reading: _RelationBlock) -> Relation | None:
    block = reading.block
    block.expect((*_COMMON, "stages", "expires"), ("by", "of", "events", "completes", "keeps", "revises"))
    common = reading.common()
    stages = _listed_stages(reading) if isinstance(block.plain("stages"), list) else reading.matchers("stages")
    if len(stages) < 2 and "stages" in block:
        block.problem("stages", "'stages' needs two or more")
    expiry = block.block("expires")
    if expiry is not None:
        expiry.expect(("after", "as"), ())
    expires = Expiry(expiry.text("as"), read_duration(expiry, "after")) if expiry else Expiry("", 1)
    completes = block.choice("completes", tuple(stages), "") if "completes" in block and stages else ""
    everything = Matcher(frozenset().union(*(one.events for one in stages.values())), ("its stages",))
    keeps = reading.keeps(everything)
    relation = StagesRelation(**common, keeps=keeps, stages=stages, expires=expires, completes=completes)
    if everything.events:
        reading.check_by(relation)
    return relation


def _listed_stages(reading: _RelationBlock) -> dict[str, Matcher]:
    """Read stages that are the values of a field, in order."""
    block = reading.block
    names = [str(name) for name in block.list("stages")]
    field = block.text("of") if "of" in block else "stage"
    matcher = reading.selected(block) if "events" in block else _NONE
    if "events" not in block:
        block.problem("events", "'events' is missing: a list of stages are the values of a field of events")
    found = {}
    for name in names if matcher.events else ():
        try:
            where = parse(f"{field} == {name!r}", Kind.BOOL, all_fields(matcher.events), {})
        except ExpressionError as error:
            block.problem("stages", f"stages: {error}")
            return {}
        found[name] = replace(matcher, where=where)
    return found


_READERS: Final[dict[str, Callable[[_RelationBlock], Relation | None]]] = {
    "span": _span, "lookback": _lookback, "stages": _stages,
}  # fmt: skip
