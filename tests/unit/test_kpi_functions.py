"""Functions of texts and times mean in Python and in ClickHouse what zones and texts say; and what refuses them tells."""

import json
import random
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from streams.kpis.catalogue.catalogue import Catalogue, CatalogueError
from streams.kpis.language.expressions import ExpressionError, parse
from streams.kpis.language.fields import Kind, all_fields
from streams.kpis.language.steps import WEEKDAYS, clock_of
from streams.kpis.language.writing import PYTHON_NAMES

FIELDS = all_fields(["cx.survey.answered"])
ZONES = ["UTC", "Asia/Tehran", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "America/St_Johns"]
TEXTS = ["", "a", "Late", "late parcel", "it's", "back\\slash", "پست دیر آمد", "دیر", None]
SOUGHT = ["late", "a", "'", "\\", "دیر", "آمد"]


def test_python_and_clickhouse_agree_with_clocks_and_texts() -> None:
    chdb = pytest.importorskip("chdb")
    rng = random.Random(3)
    moments = [at + rng.uniform(-7200, 7200) for zone in ZONES for at in clock_of(zone).since[-90::3] if at > 7200]
    moments += [rng.uniform(631_152_000, 4_000_000_000) for _ in range(100)]
    times = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(at * 1000)) for at in moments]
    events = [SimpleNamespace(time=at, text=rng.choice(TEXTS)) for at in times]
    asked = [f"{part}(time, {zone!r})" for zone in ZONES for part in ("hour_of_day", "minute_of_day", "day_of_week")]
    for zone in ZONES:
        day = rng.choice(times).astimezone(ZoneInfo(zone))
        asked.append(f"since(time, '{day:%Y-%m-%d}', {zone!r})")
    asked += [
        f"{how}(text, {rng.sample(SOUGHT, 2)})" for how in ("contains", "starts_with", "ends_with") for _ in range(4)
    ]
    kinds = [
        Kind.BOOL if "text" in one or "since" in one else Kind.TEXT if "week" in one else Kind.NUMBER for one in asked
    ]
    read = [parse(text, kind, FIELDS, {}) for text, kind in zip(asked, kinds, strict=True)]

    columns = ", ".join(f"{one.to_sql(lambda name: f'e_{name}')} AS r{n}" for n, one in enumerate(read))
    shape = "n UInt32, e_time Nullable(DateTime64(3, \\'UTC\\')), e_text Nullable(String)"
    rows = "\n".join(
        json.dumps({"n": n, "e_time": f"{e.time:%Y-%m-%d %H:%M:%S.%f}"[:-3], "e_text": e.text})
        for n, e in enumerate(events)
    )
    quoted = rows.replace("\\", "\\\\").replace("'", "\\'")
    answer = chdb.query(f"SELECT {columns} FROM format(JSONEachRow, '{shape}', '{quoted}') ORDER BY n", "JSONEachRow")
    results = [json.loads(line) for line in str(answer).splitlines()]
    assert len(results) == len(events)

    for n, (text, expression) in enumerate(zip(asked, read, strict=True)):
        python = eval(f"lambda e: {expression.to_python(lambda name: f'e.{name}')}", dict(PYTHON_NAMES))
        function, argument = text.split("(", 1)[0], eval(text.split(", ", 1)[1][:-1])
        for event, row in zip(events, results, strict=True):
            if function == "since":
                day, zone = argument
                meant: object = event.time.astimezone(ZoneInfo(zone)).date() >= date.fromisoformat(day)
            elif function in {"contains", "starts_with", "ends_with"}:
                ask = {"contains": str.__contains__, "starts_with": str.startswith, "ends_with": str.endswith}[function]
                meant = event.text is not None and any(ask(event.text, one) for one in argument)
            else:
                local = event.time.astimezone(ZoneInfo(argument))
                meant = {
                    "hour_of_day": local.hour, "minute_of_day": local.hour * 60 + local.minute,
                    "day_of_week": WEEKDAYS[local.weekday()],
                }[function]  # fmt: skip
            assert python(event) == meant, (text, event)
            stored = row[f"r{n}"]
            assert (stored if isinstance(meant, str) else int(stored)) == meant, (text, event)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("contains(text, 3)", "'3' is no text to look for"),
        ("contains(text, [])", "holds no text to look for"),
        ("contains(score, 'a')", "is a number where text is needed"),
        ("weekday(time) == 'friday'", "did you mean 'day_of_week'?"),
        ("hour_of_day(time) > 3", "is called otherwise: hour_of_day(time, 'Asia/Tehran')"),
        ("hour_of_day(time, 'Asia/Teheran') > 3", "is no time zone; did you mean 'Asia/Tehran'?"),
        ("hour_of_day(score, 'UTC') > 3", "is no time of these events"),
        ("since(time, '1405-01-32', 'UTC')", "is no day: write one such as '2026-03-21'"),
        ("since(time, 20260321, 'UTC')", "is no day"),
        ("since(score, '2026-03-21', 'UTC')", "is no time of these events: write since(time, '2026-03-21'"),
        ("since(time, '2026-03-21')", "is called otherwise: since(time, '2026-03-21', 'Asia/Tehran')"),
        ("day_of_week(time, 'UTC') == 'fri'", "is no day of the week: one of monday, tuesday"),
        ("text.lower() == 'a'", "is not part of the language, which has comparisons"),
        ("customer_mood == 'a'", "is no field of these events; they have type, id"),
    ],
)
def test_what_is_refused_is_told_with_what_there_is(text: str, says: str) -> None:
    with pytest.raises(ExpressionError) as told:
        parse(text, Kind.BOOL, FIELDS, {})
    assert says in str(told.value)


def problems(**changed: object) -> list[str]:
    block = {
        "id": "x", "name": "n", "question": "q", "unit": "seconds", "direction": "down", "class": "A", "aggregator": "mean",
        "formula": "f", "source": "s", "owner": "o", "groupings": [[]], "of": {"events": "cx.contact.queue_left", "value": "wait_s"},
    }  # fmt: skip
    block |= changed
    block = {key: value for key, value in block.items() if value is not None}
    with pytest.raises(CatalogueError) as told:
        Catalogue.parse(json.dumps([block]))
    return [problem.partition(": ")[2] for problem in told.value.problems]


def test_another_name_is_told_once_and_brings_no_other_problem() -> None:
    """`average` is not also a count with a value and a unit that it cannot have."""
    [told] = problems(aggregator="average")
    assert told.endswith("did you mean 'mean'?")
    [told] = problems(aggregator="sorcery")
    assert "'aggregator' cannot be 'sorcery': it is one of" in told
    assert "did you mean" not in told
    [told] = problems(groupings=None, group_by=[["channel"]])
    assert told.endswith("unknown key 'group_by'; did you mean 'groupings'?"), "and is not missing besides"
    [told] = problems(unit="ms")
    assert told.endswith("did you mean 'milliseconds'?")


def test_known_labels_are_listed_once() -> None:
    first, second = problems(groupings=[["weather_today"], ["moonphase"]])
    assert "labels are" in first
    assert "channel" in first
    assert second.endswith("'moonphase' is no field of its events")
    first, second = problems(xyzzy=1, plugh=2)
    assert "known: id, name" in first
    assert "known" not in second.partition("unknown key")[2]
