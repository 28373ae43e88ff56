"""Batches of records that one sender could have sent to make others wait, and the stages of a worker that take them."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from streams.agents import records
from streams.events.intake import Intake, Outcome
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.folding.fold import CREDIT, Folder
from streams.kpis.folding.partials import Partial, decode_partial, encode_partial
from streams.kpis.folding.ranges import events_of
from streams.kpis.rolling.admission import SeriesLimits
from streams.kpis.rolling.derive import Derivations
from streams.kpis.rolling.merge import MergeState
from streams.kpis.rolling.publish import Publisher
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection

START: Final = datetime(2026, 11, 22, 6, tzinfo=UTC)
NOW: Final = START.timestamp() + 3_600
STAGES: Final = ("ingest", "fold", "merge")
MOST: Final = 10.0
PUBLISHING_S: Final = 60.0
"""Seconds between two takes: enough for each to publish all that it moved, so that what one costs depends on it alone."""
RANGE: Final = 1_000
"""Records of a range: half a second of one key of the HTTP door."""

Make = Callable[[int, random.Random], bytes]


def survey(number: int, chance: random.Random, at_s: float = 0.0, **changes: Any) -> dict[str, Any]:
    """Make an ordinary event."""
    shop = chance.randrange(50)
    return {
        "specversion": "1.0", "id": f"e{number}", "source": "/shop", "type": "cx.survey.answered",
        "time": (START + timedelta(seconds=at_s or number % 60)).isoformat(), "subject": f"c{chance.randrange(10_000)}",
        "channel": "web", "touchpoint": chance.choice(["checkout", "delivery", "search"]), "unitid": f"shop-{shop}",
        "region": f"region-{shop % 7}", "segment": chance.choice(["gold", "silver"]),
        "data": {"survey_id": f"s{shop % 5}", "metric": "csat", "scale": 5, "score": chance.randrange(1, 6), "wait_s": 3},
    } | changes  # fmt: skip


def good(number: int, chance: random.Random) -> bytes:
    """Give one of those whose cost is the measure."""
    return json.dumps(survey(number, chance)).encode()


def padded(number: int, chance: random.Random, size: int) -> bytes:
    """Give a good record with a text of so many bytes altogether."""
    made = survey(number, chance)
    made["data"]["text"] = ""
    sentences = max(0, size - len(json.dumps(made).encode())) // 30
    made["data"]["text"] = "a word or two of the customer " * min(sentences, 600)
    if sentences > 600:  # no text may be longer
        made["data"]["more"] = "a word or two of somebody else" * (sentences - 600)
    return json.dumps(made).encode()


def _labels(number: int, chance: random.Random) -> bytes:
    names = ("touchpoint", "unitid", "agentid", "segment", "region", "experiment", "variant")
    return json.dumps(survey(number, chance, **{name: f"{name}-{number}" for name in names})).encode()


def _long_labels(number: int, chance: random.Random) -> bytes:
    return json.dumps(survey(number, chance, unitid=f"{number:0128d}", region="ش" * 100 + str(number))).encode()


def _spread(number: int, chance: random.Random) -> bytes:
    return json.dumps(survey(number, chance, -chance.randrange(86_000), unitid=f"u{number}")).encode()


def _changed(change: Callable[[dict[str, Any], int], None]) -> Make:
    def make(number: int, chance: random.Random) -> bytes:
        made = survey(number, chance)
        change(made, number)
        return json.dumps(made).encode()

    return make


def _of_text(text: Callable[[int], str]) -> Make:
    """Put a JSON text into the data, as it is."""

    def make(number: int, chance: random.Random) -> bytes:
        return json.dumps(survey(number, chance)).replace('"wait_s": 3', f'"wait_s": 3, "x": {text(number)}').encode()

    return make


def _set(place: str, name: str, value: Any) -> Make:
    def change(made: dict[str, Any], _: int) -> None:
        (made["data"] if place == "data" else made)[name] = value

    return _changed(change)


def _without(name: str) -> Make:
    def change(made: dict[str, Any], _: int) -> None:
        del made[name]

    return _changed(change)


SHAPES: Final[dict[str, Make]] = {
    "invented labels": _labels,
    "long labels": _long_labels,
    "a minute of a day each": _spread,
    "bins of a quantile": _changed(lambda made, n: made["data"].update(wait_s=1.03 ** (n % 1_200))),
    "customers": _changed(lambda made, n: made.update(subject=f"invented-{n}")),
    "huge amounts": _changed(lambda made, n: made["data"].update(wait_s=1e15 + n)),
    "many members": _of_text(lambda n: json.dumps({f"k{k}": n for k in range(1_500)})),
    "one key again and again": _of_text(lambda _: "{" + ", ".join(['"k": 1'] * 1_500) + "}"),
    "deep": _of_text(lambda _: "[" * 390 + "]" * 390),
    "too deep": _of_text(lambda _: "[" * 2_000 + "]" * 2_000),
    "escapes": _of_text(lambda _: '"' + "\\u0041\\n" * 1_000 + '"'),
    "quotes": _of_text(lambda _: '"' + '\\"' * 4_000 + '"'),
    "unicode": _of_text(lambda _: json.dumps("می‌شود 😀" * 500, ensure_ascii=False)),
    "long text": _of_text(lambda _: '"' + "x" * 20_000 + '"'),
    "digits": _of_text(lambda _: "9" * 900),
    "too many digits": _of_text(lambda _: "9" * 20_000),
    "floats": _of_text(lambda _: "[" + ", ".join(["1.7976931348623157e308"] * 1_000) + "]"),
    "brackets in strings": _of_text(lambda _: '"' + "[{" * 4_000 + '"'),
    "no JSON": lambda number, _: b"\x00" * (300 + number % 7),
    "cut off": lambda number, chance: good(number, chance)[:-20],
    "a quote that never closes": lambda number, chance: good(number, chance)[:-2] + b'"' * 5_001,
    "broken, with something invisible": lambda number, chance: (
        good(number, chance)[:-2] + "\u200b".encode() + b'"abcdef"' * 3_900
    ),
    "not UTF-8": lambda number, chance: good(number, chance).replace(b"gold", b"\xff\xfe").replace(b"silver", b"\xff"),
    "empty": lambda _number, _chance: b"",
    "unknown type": _set("", "type", "cx.survey.answerd"),
    "a long unknown type": _set("", "type", "cx." + "survey" * 2_000),
    "no subject": _without("subject"),
    "no data": _without("data"),
    "score as text": _set("data", "score", "five"),
    "score out of range": _set("data", "score", 99),
    "a wrong channel": _set("", "channel", "w" * 5_000),
    "a wrong time": _set("", "time", "yesterday" * 500),
    "the far future": _set("", "time", "2999-01-01T00:00:00Z"),
    "the far past": _set("", "time", "1970-01-01T00:00:00Z"),
    "a label too long": _set("", "unitid", "u" * 10_000),
    "an unknown member": _changed(lambda made, n: made.update({f"x{n}": 1})),
    "a list of data": _set("", "data", [1] * 500),
    "wrong deep inside": _set("data", "wait_s", [[[{}]]] * 100),
    "two in one": lambda number, chance: good(number, chance) * 2,
    "the same again": lambda _number, chance: json.dumps(survey(1, chance)).encode(),
}


class Worker:
    """The stages of a worker in one thread, and what each of them took."""

    def __init__(self, catalogue: Catalogue) -> None:
        protection = Protection(Pseudonyms([SecretKey(b"k" * 32)]))
        self.intake = Intake("web/0", retention_s=86_400.0, dedup_ids=200_000, protection=protection)
        self.folder = Folder(catalogue, credit=CREDIT)
        self.merge = MergeState(
            limits=SeriesLimits(lambda _kpi: 2_000, 1 << 27), grace_s=0, idle_s=1e9, derivations=Derivations(catalogue)
        )
        self.publisher = Publisher(catalogue)
        self.offset = 0

    def take(self, values: Sequence[bytes]) -> dict[str, float]:
        """Take a range through all stages; return the CPU seconds of each."""
        first = self.intake.head.next
        steps = iter(self._steps(values, first))
        took = {}
        for stage in STAGES:
            begun = time.process_time()
            next(steps)
            took[stage] = time.process_time() - begun
        return took

    def _steps(self, values: Sequence[bytes], first: int) -> Iterator[None]:
        self.intake.add(list(values), range(first, first + len(values)), NOW)
        outcome = self.intake.close()
        assert outcome is not None
        self._block(outcome)
        yield
        deltas = self.folder.fold([*outcome.counted, *events_of(outcome, "web")], source="web")
        yield
        partial = Partial(source="web/0", first=first, last=first + len(values) - 1, caught_up=True, deltas=deltas,
                          brought=self.folder.take_brought(),
                          watermark=self.intake.watermark(60.0))  # fmt: skip
        self.merge.apply(decode_partial(encode_partial(partial)), self.offset)
        self.offset += 1
        self.merge.dirty_records()
        outputs = self.merge.drain_outputs(NOW + PUBLISHING_S * self.offset)
        self.merge.marker()
        for minute in outputs.minutes:
            self.publisher.minute(minute)
        for value in outputs.values:
            list(self.publisher.values(value))
        yield

    @staticmethod
    def _block(outcome: Outcome) -> None:
        records.encode_block(records.block_of(outcome, "cx.touchpoints.web", 0, 0))


def warm(catalogue: Catalogue) -> Worker:
    """Return a worker that has been at work: it knows its labels."""
    worker, chance = Worker(catalogue), random.Random(1)
    for round_ in range(4):
        worker.take([good(round_ * RANGE + n, chance) for n in range(RANGE)])
    return worker
