"""
What relations come to, worked out a second time from their YAML and from lines of JSON, with none of the product.

`holding` gives what holds as of a watermark, or in the end, when all waiting is over: by relation, source and id of the
event that a result is named by, when it became so and what it says.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.harness.conditions_oracle import MISSING
from tests.harness.oracle_parts import Clock, Event, Relation, Which, before, length, ms, seconds

Result = tuple[int, dict[str, Any]]
Holding = dict[tuple[str, str, str], Result]
NEVER = 1 << 62
ENVELOPE = frozenset(
    {"specversion", "id", "source", "type", "time", "subject", "data", "span", "revision", "withdrawn"}
)
DEFAULTS = {"synthetic": False, "timeimputed": False}
IN_DATA = {"cx.store.pos_transaction": {"refund": False}, "cx.perf.sampled": {"failed": False}}
A_TIME = re.compile(r"\d{4}-\d\d-\d\dT.*")


def holding(
    definitions: Iterable[Path], lines: Iterable[str], types: Iterable[str], until: int = NEVER, *, linked: bool = True
) -> Holding:
    """
    Work out the relations of YAML files over events of one JSON each, in any order and repeated.

    Args:
        definitions: The files.
        lines: The events.
        types: All event types that patterns may mean.
        until: The watermark in milliseconds: nothing later has happened.
        linked: Whether keys of one person are one customer.
    """
    blocks = [block for path in definitions for block in yaml.safe_load(path.read_text(encoding="utf-8"))]
    clocks = {block["id"]: Clock(block) for block in blocks if block["kind"] == "clock"}
    known = sorted(types)
    read_once = {(event["source"], event["id"]): event for event in map(read, lines)}
    events = [event for event in read_once.values() if event["time"] <= until]
    events = of_persons(events) if linked else events
    found: Holding = {}
    for block in blocks:
        if block["kind"] != "clock":
            kind = {"span": Spans, "lookback": Lookbacks, "stages": Stages}[block["kind"]]
            relation = kind(block, known, clocks)
            for group in relation.groups(events):
                for event, at, data in relation.results(group, until):
                    found[block["id"], event["source"], event["id"]] = at, data
    return found


def read(line: str) -> Event:
    """Read an event: its attributes and data side by side, times in milliseconds."""
    raw = json.loads(line)
    fields = DEFAULTS | IN_DATA.get(raw["type"], {}) | raw | raw["data"]
    times = {k: ms(v) for k, v in fields.items() if isinstance(v, str) and A_TIME.fullmatch(v)}
    score = {"score": int(fields["score"])} if "score" in fields else {}  # in any digits
    return {k: v for k, v in {**fields, **times, **score}.items() if v is not None}


def standing(lines: Iterable[str], names: Mapping[str, tuple[str, str]]) -> Holding:
    """Return what holds by derived events as they are sent; `names` are of the events that results are named by."""
    last: dict[str, Event] = {}
    for event in map(read, lines):
        former = last.get(event["span"])
        if former is None or (former["revision"], former["withdrawn"]) < (event["revision"], event["withdrawn"]):
            last[event["span"]] = event
    return {
        (event["source"].partition("/")[2], *names[span]): (
            event["time"],
            {k: v for k, v in event.items() if k not in ENVELOPE and k != "timeimputed"},
        )
        for span, event in last.items()
        if not event["withdrawn"]
    }


def of_persons(events: list[Event]) -> list[Event]:
    """Put in the place of each key the one that remains of its person, whenever that was learnt."""
    remaining: dict[str, str] = {}

    def person(key: str) -> str:
        while key in remaining:
            key = remaining[key]
        return key

    for event in sorted(events, key=lambda e: e["time"]):
        pair = not event["synthetic"] and {
            "cx.identity.linked": (event.get("alias"), event["subject"]),
            "cx.identity.merged": (event["subject"], event.get("merged_into")),
        }.get(event["type"])
        if pair and (gone := person(pair[0])) != (stays := person(pair[1])):
            remaining[gone] = stays
    return [event if event["synthetic"] else {**event, "subject": person(event["subject"])} for event in events]


class Lookbacks(Relation):
    """When this happens, what had happened before."""

    def __init__(self, block: dict[str, Any], known: list[str], clocks: dict[str, Clock]) -> None:
        super().__init__(block, known, clocks)
        self.at = Which(block["at"], known)
        self.ranks = dict.fromkeys(self.at.types, 2)
        self.keep(block, known, self.at)

    def results(self, events: list[Event], until: int) -> Iterator[tuple[Event, int, dict[str, Any]]]:
        for place, event in enumerate(events):
            if self.at(event):
                yield event, event["time"], self.common(event, {k.name: before(k, events, place) for k in self.keeps})


class Stages(Relation):
    """Where somebody is, and how they move."""

    def __init__(self, block: dict[str, Any], known: list[str], clocks: dict[str, Clock]) -> None:
        super().__init__(block, known, clocks)
        if isinstance(block["stages"], list):
            field = block.get("of", "stage")
            self.stages = {
                n: Which({"events": block["events"], "where": f"{field} == {n!r}"}, known) for n in block["stages"]
            }
        else:
            self.stages = {name: Which(given, known) for name, given in block["stages"].items()}
        for rank, stage in enumerate(self.stages.values()):
            for name in stage.types:
                self.ranks.setdefault(name, rank)
        every = set(self.ranks)
        self.keep(block, known, lambda event: event["type"] in every)
        self.wait, self.otherwise = length(block["expires"]["after"]), block["expires"]["as"]
        self.completes = block.get("completes")

    def rank(self, event: Event) -> int:
        return next((at for at, one in enumerate(self.stages.values()) if one(event)), super().rank(event))

    def results(self, events: list[Event], until: int) -> Iterator[tuple[Event, int, dict[str, Any]]]:
        names, journey, seen = [*self.stages], [], []
        for event in events:
            stage = next((name for name, one in self.stages.items() if one(event)), None)
            if journey and seen[-1][1] + self.wait < event["time"]:
                yield self.end(journey, seen)
                journey, seen = [], []
            if stage is None and not journey:
                continue
            journey.append(event)
            if stage is not None:
                former = [name for name, _ in seen]
                seen.append((stage, event["time"]))
                if former and former[-1] != stage:
                    a, b = names.index(former[-1]), names.index(stage)
                    said = self.said(journey, seen[:-1], event["time"])
                    said |= {"outcome": "moved", "to_stage": stage, "backward": b < a, "first": stage not in former}
                    said["skipped"] = len({*names[a + 1 : b]} - {*former})
                    said["highest"] = names[max(names.index(name) for name, _ in seen)]
                    yield event, event["time"], self.common(event, said)
        if journey and seen[-1][1] + self.wait <= until:
            yield self.end(journey, seen)

    def end(self, journey: list[Event], seen: list[tuple[str, int]]) -> tuple[Event, int, dict[str, Any]]:
        last = seen[-1][1]
        done = self.completes in [name for name, _ in seen]
        said = self.said(journey, seen, last) | {"outcome": "completed" if done else self.otherwise}
        return journey[0], last + self.wait, self.common(journey[0], said)

    def said(self, journey: list[Event], seen: list[tuple[str, int]], now: int) -> dict[str, Any]:
        stage, names = seen[-1][0], [*self.stages]
        stay = len(seen) - 1
        while stay and seen[stay - 1][0] == stage:
            stay -= 1
        return {
            "from_stage": stage, "stayed_s": seconds(now - seen[stay][1]), "skipped": 0, "backward": False, "first": False,
            "opened": journey[0]["time"], "highest": names[max(names.index(name) for name, _ in seen)],
            **{kept.name: kept.come_to(journey, now) for kept in self.keeps},
        }  # fmt: skip


class Spans(Relation):
    """From an opening until a closing, a split, silence or a deadline."""

    def __init__(self, block: dict[str, Any], known: list[str], clocks: dict[str, Clock]) -> None:
        super().__init__(block, known, clocks)

        def which(given: dict[str, Any] | None) -> Which | None:
            return Which(given, known) if given else None

        self.opens = Which(block["opens"], known)
        self.touches, self.restarts = which(block.get("touches")), which(block.get("restarts"))
        self.closes = {name: Which(given, known) for name, given in block.get("closes", {}).items()}
        self.splits = {name: Which(given, known) for name, given in block.get("splits", {}).items()}
        self.ends = "expires" in block
        deadline = block.get("expires") or block.get("target") or {}
        self.after, self.field, self.otherwise = length(deadline.get("after")), deadline.get("at"), deadline.get("as")
        self.moves, self.bought_later = which(deadline.get("moves")), length(deadline.get("reopens"))
        self.reopens = which(block.get("reopens"))
        self.within = length(block.get("reopens", {}).get("within"))
        self.each, self.forgets = block.get("each", False), length(block.get("forgets", "90d"))
        self.silent = bool(self.touches and self.ends and self.after)
        for one in (self.touches, self.restarts, self.reopens, self.moves, *self.splits.values()):
            self.ranks |= dict.fromkeys(one.types if one else (), 1)
        for one in self.closes.values():
            self.ranks |= dict.fromkeys(one.types, 2)
        self.ranks |= dict.fromkeys(self.opens.types, 0)
        self.keep(block, known, self.opens)

    def results(self, events: list[Event], until: int) -> Iterator[tuple[Event, int, dict[str, Any]]]:
        spans: list[Span] = []
        for place, event in enumerate([*events, {"time": until + 1}]):
            for span in spans:
                span.wait_until(event["time"])
            if place == len(events):
                break
            waiting = [span for span in spans if span.open]
            for span in waiting:
                span.go_on(event)
            over = [span for span in spans if not span.open and not span.forgotten]
            if not waiting and over:
                max(reversed(over), key=lambda span: span.end).come_back(event)
            says_when = not (self.ends and self.field) or self.field in event
            if self.opens(event) and says_when and (self.each or not any(span.open for span in spans)):
                spans.append(Span(self, events, place))
        for span in spans:
            if span.outcome:
                yield span.events[0], span.end, self.common(span.events[0], span.said())


class Span:
    """One matter: the events that belong to it, from which everything follows."""

    def __init__(self, of: Spans, events: list[Event], place: int) -> None:
        event = events[place]
        self.of, self.events, self.now = of, [event], event["time"]
        self.before = {kept.name: before(kept, events, place) for kept in of.keeps if kept.back}
        past = [(kept, event["time"] - kept.since) for kept in of.keeps if kept.since]
        self.past = {kept.name: [one for one in events[:place] if one["time"] >= since] for kept, since in past}
        self.started = self.last = event["time"]
        self.outcome, self.end, self.rested, self.forgotten = "", 0, 0, False
        self.due = self.deadline(event)

    @property
    def open(self) -> bool:
        return not self.outcome and not self.forgotten

    def deadline(self, event: Event) -> int | None:
        if self.of.after:
            return self.of.clock.after(event["time"], self.of.after) if self.of.clock else event["time"] + self.of.after
        found = event.get(self.of.field) if self.of.field else None
        return found if found is None or not self.of.ends else max(found, event["time"])

    def kept(self, now: int) -> dict[str, Any]:
        found = {
            k.name: self.before[k.name] if k.back else k.come_to([*self.past.get(k.name, []), *self.events], now)
            for k in self.of.keeps
        }
        return {name: value for name, value in found.items() if value is not MISSING}

    def wait_until(self, now: int) -> None:
        """Let deadlines pass before a moment: what happens at a deadline is in time."""
        if not self.open:
            return
        if self.of.ends and self.due is not None:
            if self.due < now:
                self.outcome, self.end = self.of.otherwise, self.due
        elif self.events[0]["time"] + self.of.forgets < now:
            self.forgotten = True

    def go_on(self, event: Event) -> None:
        of, former, now = self.of, self.kept(event["time"]), event["time"]
        for outcome, splits in of.splits.items():
            if splits(event, former):
                self.outcome, self.end = outcome, now
                return
        self.events.append(event)
        if of.touches and of.touches(event, former):
            self.last = now
            self.due = self.deadline(event) if of.silent else self.due
        if of.restarts and of.restarts(event, former):
            self.started = now
            self.due = self.deadline(event) if of.after and not of.silent else self.due
        if of.moves and of.moves(event, former) and (moved := self.deadline(event)) is not None:
            self.due = moved
        self.close(event)

    def close(self, event: Event) -> bool:
        kept = self.kept(event["time"])
        found = next((outcome for outcome, closes in self.of.closes.items() if closes(event, kept)), None)
        if found:
            self.outcome, self.end, self.last = found, event["time"], event["time"]
        return bool(found)

    def come_back(self, event: Event) -> None:
        of, now = self.of, event["time"]
        if of.bought_later and self.outcome == of.otherwise and now <= self.end + of.bought_later:
            self.events.append(event)
            if not self.close(event):
                self.events.pop()
        elif of.reopens and of.reopens(event) and now <= self.end + of.within:
            self.rested += of.clock.between(self.end, now) if of.clock else now - self.end
            self.outcome, self.end, self.last = "", 0, now
            if of.ends and self.due is not None:
                self.due = self.deadline(event) if of.silent else max(self.due, now)
            self.events.append(event)

    def said(self) -> dict[str, Any]:
        of = self.of
        until = self.end if self.outcome in of.closes or not of.touches else self.last
        worked = of.clock.between(self.started, until) if of.clock else max(0, until - self.started)
        said = {"outcome": self.outcome, "opened": self.events[0]["time"], "duration_s": seconds(worked)}
        said |= {"last": self.last} if of.touches else {}
        said |= {"started": self.started} if of.restarts else {}
        said |= {"elapsed_s": seconds(max(0, until - self.started))} if of.clock else {}
        said |= {"worked_s": seconds(worked - self.rested)} if of.reopens else {}
        said |= {} if self.due is None else {"due": self.due, "left_s": seconds(self.due - self.end)}
        return said | self.kept(self.end)
