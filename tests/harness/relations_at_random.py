"""Relations that nobody thought of: every key of the language, at random, over a few event types."""

import random
from typing import Any

import yaml

CLOCK = {"id": "hours", "kind": "clock", "zone": "Asia/Tehran", "hours": {"saturday-wednesday": ["08:00-12:00", "13:00-17:00"]},
         "country": "IR"}  # fmt: skip
CONDITIONS: dict[str, list[str]] = {
    "cx.contact.opened": ["topic == 'a'", "channel in ['web', 'app']", "topic is not None and channel != 'store'"],
    "cx.contact.closed": ["topic == 'a'", "not (channel == 'web')"],
    "cx.contact.message_sent": ["by == 'human'", "by != 'bot'"],
    "cx.contact.resolved": ["topic is None", "channel == 'app'"],
    "cx.contact.reopened": ["channel in ['app', 'store']"],
    "cx.promise.made": ["items >= 2", "coalesce(items, 0) < 2"],
    "cx.promise.changed": ["by == 'company'"],
    "cx.order.delivered": ["late", "not late", "complete", "not (complete == False)", "items > 1"],
    "cx.order.refund_completed": ["amount > 10", "amount * 2 <= 60"],
    "cx.survey.answered": ["score >= top_box(scale)", "metric in ['csat', 'ces']"],
    "cx.cart.added": ["price * coalesce(quantity, 1) > 30", "quantity is None"],
}
VALUES: dict[str, list[str]] = {
    "cx.contact.opened": ["topic", "channel", "contactid"],
    "cx.contact.closed": ["topic", "channel"],
    "cx.contact.message_sent": ["by"],
    "cx.contact.resolved": ["channel"],
    "cx.contact.reopened": ["channel"],
    "cx.promise.made": ["items", "due", "carrier"],
    "cx.promise.changed": ["by", "due"],
    "cx.order.delivered": ["items", "late", "complete", "'late' if late else 'in time'"],
    "cx.order.refund_completed": ["amount", "amount / 3"],
    "cx.survey.answered": ["score", "score / scale", "metric"],
    "cx.cart.added": ["price", "price * quantity", "product"],
}
NUMBERS = {"items", "amount", "amount / 3", "score", "score / scale", "price", "price * quantity"}
TYPES = sorted(CONDITIONS)
LENGTHS = ["5m", "60m", "4h", "24h", "3d"]
BY: list[list[str]] = [[], [], ["orderid"], ["contactid"], ["contactid", "channel"]]


class _Maker:
    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def which(self, types: list[str] | None = None, *, kept: str = "") -> dict[str, Any]:
        chance = self.chance
        names = chance.sample(types or TYPES, k=1 if chance.random() < 0.7 else min(2, len(types or TYPES)))
        block: dict[str, Any] = {"events": names if len(names) > 1 else names[0]}
        if kept and chance.random() < 0.3:
            block["where"] = kept
        elif len(names) == 1 and chance.random() < 0.4:
            block["where"] = chance.choice(CONDITIONS[names[0]])
        return block

    def take(self, back: str) -> dict[str, Any]:
        chance, name = self.chance, self.chance.choice(TYPES)
        take = chance.choice(
            ["first", "last", "count", "sum", "min", "max", "distinct", "changes", "since_first", "since_last"]
        )
        values = [v for v in VALUES[name] if take not in {"sum", "min", "max"} or v in NUMBERS]
        block: dict[str, Any] = {"take": take if values else "count", "events": name}
        if block["take"] not in {"count", "since_first", "since_last"}:
            block["value"] = chance.choice(values)
        if chance.random() < 0.3:
            block["where"] = chance.choice(CONDITIONS[name])
        if back == "within" or chance.random() < 0.3:
            block[back] = chance.choice(LENGTHS)
            block |= {"itself": True} if chance.random() < 0.3 else {}
        elif back == "before" and chance.random() < 0.2:
            block["since"] = chance.choice(LENGTHS)
        return block

    def relation(self, number: int) -> dict[str, Any]:
        chance = self.chance
        kind = chance.choice(["span", "span", "span", "lookback", "stages"])
        block: dict[str, Any] = {
            "id": f"r{number}", "kind": kind, "name": {"en": "R"}, "question": "Q?", "owner": "o", "emits": f"cx.random.r{number}",
        }  # fmt: skip
        if by := chance.choice(BY):
            block["by"] = by
        back = "within" if kind == "lookback" else "before"
        keeps = {f"k{n}": self.take(back) for n in range(chance.randrange(1, 5))}
        if kind == "stages":
            keeps = {
                name: {k: v for k, v in take.items() if k not in {"before", "since", "itself"}}
                for name, take in keeps.items()
            }
        block["keeps"] = keeps | {
            "n": {"take": "count", "events": chance.choice(TYPES), **({"within": "24h"} if back == "within" else {})}
        }
        {"span": self.span, "lookback": self.lookback, "stages": self.stages}[kind](block)
        return block

    def lookback(self, block: dict[str, Any]) -> None:
        block["at"] = self.which()

    def stages(self, block: dict[str, Any]) -> None:
        chance = self.chance
        block["stages"] = {f"s{n}": self.which() for n in range(chance.randrange(2, 5))}
        block["expires"] = {"after": chance.choice(LENGTHS), "as": "left"}
        if chance.random() < 0.6:
            block["completes"] = chance.choice([*block["stages"]])

    def span(self, block: dict[str, Any]) -> None:
        chance = self.chance

        def perhaps(share: float) -> bool:
            return chance.random() < share

        by_time = perhaps(0.25)
        block["opens"] = self.which(["cx.promise.made"] if by_time else None)
        block["closes"] = {f"o{n}": self.which(kept="kept_n >= 2") for n in range(chance.randrange(1, 3))}
        block |= {"each": True} if perhaps(0.25) else {}
        block |= {"touches": self.which(kept="kept_n < 3")} if perhaps(0.35) else {}
        block |= {"restarts": self.which()} if perhaps(0.25) else {}
        block |= {"clock": "hours"} if perhaps(0.25) else {}
        if perhaps(0.2):
            opening = block["opens"]["events"]
            block["splits"] = {"split": {"events": opening if isinstance(opening, str) else opening[0]}}
        lot = chance.random()
        deadline: dict[str, Any] = {"at": "due"} if by_time else {"after": chance.choice(LENGTHS)}
        if by_time and perhaps(0.5):
            deadline["moves"] = {"events": "cx.promise.changed"}
        if lot < 0.65:
            block["expires"] = {**deadline, "as": "over"}
            if perhaps(0.4):
                block["expires"]["reopens"] = chance.choice(LENGTHS)
        elif lot < 0.85:
            block["target"] = deadline
        if perhaps(0.3):
            block["reopens"] = {**self.which(), "within": chance.choice(LENGTHS)}
        if "after" not in block.get("expires", {}) and perhaps(0.5):
            block["forgets"] = chance.choice(LENGTHS)


def relations_at_random(seed: int, count: int) -> str:
    """Return so many relations, and a clock, as a YAML file holds them."""
    made = _Maker(seed)
    return yaml.safe_dump([CLOCK, *(made.relation(number) for number in range(count))], sort_keys=False)
