"""Promises of service: reading them, and holding them against contacts by hour of a local day."""

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from streams.commands.gaps import GapSpan, gaps
from streams.gaps.promises import ServedContact, ServicePromise, judge_promise, load_promises
from streams.kpis.arithmetic.intervals import wilson
from streams.kpis.language.blocks import CatalogueError
from streams.shipped import PROMISES

TEHRAN = ZoneInfo("Asia/Tehran")
CLOCKS = """
- {id: always, kind: clock, zone: Asia/Tehran, hours: {saturday-friday: "00:00-24:00"}}
- {id: office, kind: clock, zone: Asia/Tehran, hours: {saturday-wednesday: "08:00-16:30"}, holidays: [2026-05-05]}
"""


def promise(tmp_path: Path, text: str) -> ServicePromise:
    file = tmp_path / "promises.yaml"
    file.write_text(CLOCKS + text)
    [found] = load_promises([file]).values()
    return found


def telephone(tmp_path: Path, clock: str = "always", more: str = "") -> ServicePromise:
    return promise(
        tmp_path,
        f"- {{id: t, kind: promise, name: {{en: T}}, owner: o, clock: {clock}, within: 60s, target: 80{more}}}\n",
    )


def at(day: int, hour: int, minute: int = 0) -> int:
    """A moment of May 2026 in Tehran; the 2nd is a Saturday."""
    return int(datetime(2026, 5, day, hour, minute, tzinfo=TEHRAN).timestamp())


def contacts(day: int, hour: int, hits: int, n: int, who: str = "") -> list[ServedContact]:
    return [
        ServedContact(who or f"c{day}-{hour}-{one}", "call_center", "phone", at(day, hour, one % 60), 30.0 if one < hits else None)
        for one in range(n)
    ]  # fmt: skip


def test_around_the_clock_is_broken_at_night_only(tmp_path: Path) -> None:
    found = judge_promise(
        telephone(tmp_path),
        [
            one
            for day in (2, 3, 4)
            for hour in range(24)
            for one in contacts(day, hour, 0 if hour in {2, 3} else 20, 20)
        ],
        at(2, 0),
        at(5, 0),
    )
    assert {hour.hour: hour.state for hour in found.hours} == {
        hour: "broken" if hour in {2, 3} else "kept" for hour in range(24)
    }
    assert (found.whole.value, found.whole.n) == (pytest.approx(100 * 22 / 24), 1_440)
    assert found.whole[2:] == pytest.approx([100 * end for end in wilson(1_320, 1_440)], rel=0.02)
    assert found.state == "kept", "as a whole it is; the hours say where it is not"
    assert (found.claimed, found.with_contacts, found.unstaffed) == (72, 72, 6)
    assert [hour.claimed for hour in found.hours] == [3.0] * 24


def test_only_claimed_hours_count(tmp_path: Path) -> None:
    """Saturday to Wednesday from 8 to 16:30; the 5th is a holiday, the 7th a Thursday."""
    rows = [
        *contacts(2, 9, 5, 5), *contacts(2, 17, 0, 5), *contacts(5, 9, 1, 5), *contacts(7, 9, 0, 5),
        ServedContact("half past", "call_center", "phone", at(2, 16, 29), None),
        ServedContact("too late", "call_center", "phone", at(2, 16, 30), None),
    ]  # fmt: skip
    found = judge_promise(telephone(tmp_path, "office"), rows, at(2, 0), at(9, 0))
    assert (found.whole.n, found.whole.value) == (6, pytest.approx(100 * 5 / 6))
    assert (found.outside.n, found.outside.value) == (16, pytest.approx(100 / 16))
    assert found.claimed == 4 * 8.5
    assert {hour.hour: (hour.claimed, hour.contacts) for hour in found.hours} == {
        **{hour: (4.0, 5 if hour == 9 else 0) for hour in range(8, 16)}, 16: (2.0, 1),
    }  # fmt: skip
    assert [hour.in_time.value for hour in found.hours if not hour.contacts] == [None] * 7


def test_late_answers_are_answers_and_new_contacts_wait(tmp_path: Path) -> None:
    row = ServedContact("a", "call_center", "phone", at(2, 9), 60.0)
    rows = [
        row, row._replace(customer="b", answered_s=60.1), row._replace(customer="c", answered_s=None),
        row._replace(customer="d", began=at(2, 10) - 59, answered_s=5.0),
        row._replace(customer="e", way="chat"), row._replace(customer="f", channel="app"),
    ]  # fmt: skip
    kept = judge_promise(telephone(tmp_path, more=", way: phone, channel: call_center"), rows, at(2, 0), at(2, 10))
    assert (kept.whole.value, kept.answered.value, kept.whole.n) == (pytest.approx(100 / 3), pytest.approx(200 / 3), 3)
    assert kept.pending == 1, "answered or not: who was answered at once would flatter"


def test_who_calls_again_and_again_is_one_customer(tmp_path: Path) -> None:
    redialled = judge_promise(telephone(tmp_path), contacts(2, 3, 0, 60, "one"), at(2, 0), at(3, 0))
    assert (redialled.whole.value, redialled.whole.n, redialled.state) == (0, 60, "not known")


def test_without_contacts_nothing_is_known(tmp_path: Path) -> None:
    empty = judge_promise(telephone(tmp_path), [], at(2, 0), at(3, 0))
    assert (empty.whole.value, empty.state, empty.pending, empty.with_contacts) == (None, "not known", 0, 0)
    assert {hour.state for hour in empty.hours} == {"not known"}


def test_the_hour_that_a_clock_skips_is_not_claimed(tmp_path: Path) -> None:
    """In the night to 29 March 2026 there is no hour of two in Berlin, and in that to 25 October there are two."""
    file = tmp_path / "berlin.yaml"
    file.write_text(
        '- {id: always, kind: clock, zone: Europe/Berlin, hours: {saturday-friday: "00:00-24:00"}}\n'
        "- {id: t, kind: promise, name: {en: T}, owner: o, clock: always, within: 60s, target: 80}\n"
    )
    [berlin] = load_promises([file]).values()
    for month, day, hours in ((3, 29, 0.0), (10, 25, 2.0)):
        since = int(datetime(2026, month, day, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
        until = int(datetime(2026, month, day, 12, tzinfo=UTC).timestamp())
        found = {hour.hour: hour.claimed for hour in judge_promise(berlin, [], since, until).hours}
        assert found.get(2, 0.0) == hours
        assert found[4] == 1.0


def test_shipped_promises_are_sound() -> None:
    found = load_promises([PROMISES])
    assert {name: (one.way, one.clock.name, one.within_s, one.target) for name, one in found.items()} == {
        "telephone": ("phone", "always", 60, 80.0), "chat": ("chat", "shop_hours", 120, 80.0),
    }  # fmt: skip
    assert all({*one.name} == {"en", "fa"} for one in found.values())


WRONG = (
    ("{id: p, kind: promise, name: {en: P}, owner: o, clock: alwys, within: 60s, target: 80}", "no clock 'alwys'; did you mean 'always'"),
    ("{id: p, kind: promise, name: {en: P}, owner: o, clock: always, within: soon, target: 80}", "'within' cannot be 'soon'"),
    ("{id: p, kind: promise, name: {en: P}, owner: o, clock: always, within: 60s, target: 0}", "'target' must be a percentage above 0, not 0"),
    ("{id: p, kind: promise, name: {en: P}, owner: o, clock: always, within: 60s}", "'target' is missing"),
    ("{id: p, kind: promise, name: {en: P}, owner: o, clock: always, within: 60s, target: 80, way: fone}", "'way' cannot be 'fone'"),
    ("{id: p, kind: promise, name: {de: P}, owner: o, clock: always, within: 60s, target: 80}", "'en' is missing"),
    ("{id: p, kind: promiss, name: {en: P}, owner: o, clock: always, within: 60s, target: 80}", "'kind' cannot be 'promiss'"),
)  # fmt: skip


@pytest.mark.parametrize(("block", "said"), WRONG)
def test_what_cannot_be_right_is_refused_with_its_line(tmp_path: Path, block: str, said: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        promise(tmp_path, f"- {block}\n")
    assert said in str(refused.value)
    assert "promises.yaml:4: " in str(refused.value)
    with pytest.raises(CatalogueError, match="there is another promise 'p'"):
        promise(tmp_path, f"- {WRONG[0][0].replace('alwys', 'always')}\n" * 2)


def test_a_file_without_a_promise_is_not_sound(tmp_path: Path) -> None:
    empty, clocks, folder = tmp_path / "empty.yaml", tmp_path / "clocks.yaml", tmp_path / "folder"
    empty.write_text("")
    clocks.write_text(CLOCKS)
    folder.mkdir()
    for paths, said in (
        ([empty], [f"{empty}:1: no promise in it"]),
        ([PROMISES, empty, folder], [f"{empty}:1: no promise in it", f"{folder}:1: no promise in it"]),
        ([clocks], [f"{clocks}:2: block always: there are clocks only, no promise"]),
    ):
        with pytest.raises(CatalogueError) as refused:
            load_promises(paths)
        assert [*refused.value.problems] == said
    assert load_promises([clocks, PROMISES])


def test_what_is_listed_as_possible_has_no_empty_item(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="it is one of web, app"):
        telephone(tmp_path, more=", channel: telegram")


def test_the_span_that_is_judged_is_named_where_less_is_stored() -> None:
    since, until = datetime(2026, 5, 1, tzinfo=TEHRAN), datetime(2026, 5, 29, tzinfo=TEHRAN)
    span = GapSpan(since, until, TEHRAN, datetime(2026, 5, 3, 9, tzinfo=TEHRAN))
    assert span.within(int(since.timestamp()), int(until.timestamp())) == ""
    assert (
        span.within(at(2, 8), at(3, 9))
        == "judged is only 2026-05-02 08:00 to 2026-05-03 09:00: nothing is stored of the rest"
    )


@pytest.mark.parametrize("command", ["consistency", "perception", "listening", "kano"])
def test_more_customers_than_there_can_be_are_not_asked_for(command: str) -> None:
    told = CliRunner().invoke(gaps, [command, "--fewest", "1000000000000"])
    assert (told.exit_code, "is not in the range" in told.output) == (2, True)
