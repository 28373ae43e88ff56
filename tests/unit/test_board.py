"""The live page without browser and store: what numbers, comparisons, tiles and lines say."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import given
from hypothesis import strategies as st

from streams import board
from streams.board.charts import chart, spans, sparkline, ticks, time_ticks
from streams.board.compare import EarlierValue, apart, change, difference_interval, standing
from streams.board.heat import HEAT_GROUPING, heat_map
from streams.board.readings import ALL, Latest, PublishedReading, overlaid
from streams.board.store import BoardStore
from streams.board.tiles import GROUPS, HEADLINE, TileFacts, tile, trend_span, trend_step
from streams.events.refusal import REASONS
from streams.events.scalars import CHANNELS
from streams.events.touchpoints import STAGES, load_touchpoints
from streams.kpis.catalogue.catalogue import Catalogue
from streams.storage.connection import Address, PermanentStorageError
from streams.wording import texts
from streams.wording.numbers import amount, difference_text, interval_text, number, one_text
from streams.wording.texts import LANGS, window_text, words
from tests.harness.readings import CSAT, NOW, VOLUME, share

DIGITS = str.maketrans("0123456789.", "۰۱۲۳۴۵۶۷۸۹٫")


def facts(latest: Latest | None = None, baselines: tuple[EarlierValue, ...] = (), **changes: object) -> TileFacts:
    values = {("csat", ALL, ""): latest} if latest else {}
    made = TileFacts(values, {("csat", ALL, ""): baselines}, {}, "15m", NOW)
    return replace(made, **changes)


# -- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "en", "fa"),
    [
        (82.44, "percent", "82.4\u00a0%", "۸۲٫۴٪"),
        (12.0, "seconds", "12.0\u00a0s", "۱۲٫۰\u00a0ثانیه"),
        (331.4, "seconds", "5:31\u00a0min", "۵:۳۱\u00a0دقیقه"),
        (-33.0, "points", "−33\u00a0pts", "\u200e−۳۳\u00a0امتیاز"),
        (4.256, "score", "4.26", "۴٫۲۶"),
        (1234.0, "count", "1,234", "۱٬۲۳۴"),
        (3_456_000.0, "currency", "3.5\u202fM", "۳٫۵\u202fمیلیون"),
        (36.5, "hours", "36.5\u00a0h", "۳۶٫۵\u00a0ساعت"),
        (0.0, "percent", "0.0\u00a0%", "۰٫۰٪"),
    ],
)
def test_values_read_as_each_language_writes_them(value: float, unit: str, en: str, fa: str) -> None:
    assert one_text(value, unit, "en") == en
    assert one_text(value, unit, "fa") == fa


def test_intervals_of_minutes_are_minutes_on_both_ends_and_unknown_ends_are_open() -> None:
    assert interval_text(105, 130, "seconds", "en") == "1:45 to 2:10"
    assert interval_text(105, 130, "seconds", "fa") == "۱:۴۵ تا ۲:۱۰"
    assert interval_text(3, None, "seconds", "en") == "3.0 to …"
    assert interval_text(None, None, "seconds", "en") == ""


def test_differences_of_percentages_are_percentage_points() -> None:
    assert difference_text(-2.34, "percent", "en") == "−2.3\u00a0pp"
    assert difference_text(150, "count", "en") == "+150"
    assert amount(-130.0, "seconds", "en", sign=True) == ("−2:10", "min")


@given(st.floats(-1e12, 1e12))
def test_no_latin_digit_is_left_in_persian_and_no_zero_has_a_sign(value: float) -> None:
    assert not re.search("[0-9]", number(value, "fa"))
    assert number(value, "en") not in {"−0", "−0.0", "−0.00"}


# -- texts -----------------------------------------------------------------------------------------------------------


def test_every_text_is_there_in_every_language() -> None:
    for key, pair in words().items():
        assert len(pair) == len(LANGS), key
        assert all(text.strip() for text in pair), key
        if key not in {"clickhouse", "other_language", "no_data"}:
            assert re.search("[\u0600-\u06ff]", pair[1]), f"{key} is not Persian: {pair[1]}"


def test_templates_use_only_texts_that_exist() -> None:
    folders = Path(board.__file__).parent, Path(texts.__file__).parent
    files = [file for folder in folders for pattern in ("*.py", "*.html") for file in folder.rglob(pattern)]
    sources = "".join(file.read_text(encoding="utf-8") for file in files)
    used = set(re.findall(r"""\b(?:t|texts|Texts\(\w+(?:\.\w+)?\))\[['"](\w+)['"]\]""", sources))
    assert len(used) > 60
    assert used <= set(words())


def test_what_the_page_names_by_key_has_a_text() -> None:
    keys = [*CHANNELS, ALL, *STAGES, *(f"reason_{reason}" for reason in REASONS), *(f"group_{name}" for name in GROUPS)]
    assert [key for key in keys if key not in words()] == []


def test_kpis_of_the_page_exist() -> None:
    assert set(HEADLINE) <= {kpi.id for kpi in Catalogue.load()}


def test_windows_read_as_people_say_them() -> None:
    assert window_text("15m", "en") == "15\u00a0min"
    assert window_text("24h", "fa") == "۲۴\u00a0ساعت"
    assert window_text("7d", "en") == "7\u00a0d"
    assert window_text("total", "en") == "since start"


# -- comparisons -----------------------------------------------------------------------------------------------------


def test_the_interval_of_a_difference_is_newcombes() -> None:
    """56/70 against 48/80: Newcombe (1998), table II, method 10."""
    found = difference_interval(share(56, 70), share(48, 80))
    assert found is not None
    assert found == pytest.approx((5.24, 33.39), abs=0.01)


def test_only_a_sure_change_is_marked() -> None:
    day = EarlierValue("day", share(850, 1000))
    sure = change(CSAT, share(750, 1000), [day])
    unsure = change(CSAT, share(840, 1000), [day])
    assert sure is not None
    assert (sure.significant, sure.better) == (True, False)
    assert unsure is not None
    assert not unsure.significant


def test_marks_hardly_ever_appear_when_nothing_has_changed() -> None:
    """At 99.9 % about one of a thousand pairs of samples may be marked."""
    rng = random.Random(5)
    draw = [sum(rng.random() < 0.8 for _ in range(150)) for _ in range(4000)]
    marked = sum(
        bool((found := change(CSAT, share(a, 150), [EarlierValue("day", share(b, 150))])) and found.significant)
        for a, b in zip(draw[::2], draw[1::2], strict=True)
    )
    assert marked <= 8


def test_the_best_baseline_with_enough_answers_is_taken() -> None:
    week, day = EarlierValue("week", share(3, 4)), EarlierValue("day", share(80, 100))
    found = change(CSAT, share(80, 100), [week, day])
    assert found is not None
    assert (found.kind, found.baseline_n) == ("day", 100)
    assert change(CSAT, share(80, 100), []) is None
    assert change(CSAT, None, [day]) is None


def test_amounts_are_compared_with_the_same_length_only_and_never_judged() -> None:
    now, before = PublishedReading(NOW, 900.0, 900), PublishedReading(NOW - 86_400, 300.0, 300)
    found = change(VOLUME, now, [EarlierValue("24h", before), EarlierValue("day", before)])
    assert found is not None
    assert (found.kind, found.difference, found.significant) == ("day", 600.0, False)


def test_fewer_complaints_are_better() -> None:
    late = replace(CSAT, direction="down")
    found = change(late, share(100, 1000), [EarlierValue("day", share(300, 1000))])
    assert found is not None
    assert found.better is True


@pytest.mark.parametrize(("hits", "side"), [(95, 1), (80, 0), (40, -1)])
def test_a_part_is_apart_when_its_interval_excludes_the_whole(hits: int, side: int) -> None:
    assert apart(share(hits, 100), share(800, 1000)) == side


# -- tiles -----------------------------------------------------------------------------------------------------------


def test_a_tile_says_value_unit_n_interval_and_change() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(750, 1000)), (EarlierValue("day", share(850, 1000)),)), "en")
    assert (shown.value, shown.unit, shown.n, shown.interval) == ("75.0", "%", "1,000", "72.2 to 77.6")
    assert (shown.state, shown.mark) == ("ok", "worse")
    assert shown.change == "−10.0\u00a0pp vs a day earlier"
    assert "before: 85.0\u00a0%, n 1,000" in shown.change_tip
    assert shown.spoken.startswith("Customer satisfaction: 75.0 %, n 1,000, 95 % interval 72.2 to 77.6; worse:")


def test_no_data_is_never_zero() -> None:
    for latest in (None, Latest(PublishedReading(NOW, None, 0))):
        shown = tile(CSAT, ALL, facts(latest), "en")
        assert (shown.state, shown.value, shown.n, shown.mark, shown.change) == ("none", "", "", "", "")
        assert "no data" in shown.spoken


def test_zero_is_a_value() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(0, 50))), "en")
    assert (shown.value, shown.state) == ("0.0", "ok")


def test_thin_samples_are_grey_and_say_so() -> None:
    shown = tile(CSAT, ALL, facts(Latest(share(4, 5)), (EarlierValue("day", share(10, 1000)),)), "en")
    assert (shown.state, shown.note, shown.mark) == ("thin", "few answers", "same")


def test_all_of_a_tile_is_of_one_closed_moment() -> None:
    """Value, change, channels and map are of closed minutes, as the course is, whatever the open minute says."""
    closed, opened = share(80, 100), share(10, 100, NOW + 60, closed=False)
    latest = {("csat", where, ""): Latest(closed, opened) for where in (ALL, "web")}
    latest |= {("csat", "app", ""): Latest(None, opened), ("csat", "web", "checkout"): Latest(closed, opened)}
    found = replace(facts(Latest(closed, opened), (EarlierValue("day", share(80, 100)),)), latest=latest)
    shown = tile(CSAT, ALL, found, "en")
    assert (shown.value, shown.open, shown.at, shown.mark) == ("80.0", False, NOW, "same")
    assert [part.text for part in shown.parts[:2]] == ["80.0\u00a0%", "–"]
    heat = heat_map(replace(CSAT, groupings=(HEAT_GROUPING,)), latest, load_touchpoints(), "en")
    assert (heat.whole, heat.rows[0].cells[0].text) == ("80.0\u00a0%", "80.0\u00a0%")


@pytest.mark.parametrize(
    ("direction", "hits", "target", "stands"),
    [
        ("up", 80, 70.0, "meets"), ("up", 80, 95.0, "misses"), ("up", 80, 82.0, "unsure"), ("up", 80, None, ""),
        ("down", 8, 20.0, "meets"), ("down", 30, 10.0, "misses"), ("down", 8, 8.0, "unsure"), ("none", 80, 70.0, ""),
    ],
)  # fmt: skip
def test_a_target_is_met_or_missed_by_the_whole_interval(
    direction: str, hits: int, target: float | None, stands: str
) -> None:
    """The bare value decides nothing; a value without an interval is what it is."""
    info = replace(CSAT, direction=direction, target=target)
    assert standing(info, share(hits, 100), target) == stands
    if target is not None and stands:
        assert standing(info, PublishedReading(NOW, target, 9), target) == "meets"


def test_a_tile_and_its_cells_say_how_they_stand_to_their_targets() -> None:
    """In words too; what is grey stands to nothing, and a touchpoint has a target of its own for satisfaction."""
    info = replace(CSAT, target=90.0, groupings=(*CSAT.groupings, HEAT_GROUPING))
    shown = tile(info, ALL, facts(Latest(share(60, 100))), "en")
    assert (shown.standing, shown.target) == ("misses", "≥ 90.0\u00a0%")
    assert "misses the target ≥ 90.0\u00a0%" in shown.spoken
    thin = tile(info, ALL, facts(Latest(share(1, 5))), "en")
    assert (thin.state, thin.standing, thin.target) == ("thin", "", "")
    touchpoints = load_touchpoints()
    own = next(one for one in touchpoints.values() if "web" in one.channels)
    values = {("csat", ALL, ""): Latest(share(60, 100)), ("csat", "web", own.id): Latest(share(1, 100))}
    [cell] = [
        cell for row in heat_map(info, values, touchpoints, "fa").rows for cell in row.cells if cell and cell.text
    ]
    assert (cell.standing, f"دست‌کم {own.target:.1f}".translate(DIGITS) in cell.tip) == ("misses", True)


class Answers(BoardStore):
    """A store that answers every question with the same rows."""

    def __init__(self, rows: list[tuple[object, ...]]) -> None:
        super().__init__(Address("http://127.0.0.1:1"))
        self.rows = rows

    def ask(self, sql: str, **parameters: object) -> list[tuple[object, ...]]:
        return self.rows


@pytest.mark.parametrize(
    ("age_min", "kinds"), [(7, []), (23 * 60, []), (24 * 60 + 13, []), (24 * 60 + 14, ["day", "24h"])]
)
def test_nothing_is_compared_with_a_time_that_is_not_all_there(age_min: int, kinds: list[str]) -> None:
    """The 24 hours before the window need 24 hours of their KPI, the same window a day earlier that window; not a minute less."""
    before, day = NOW - 900, NOW - 86_400
    store = Answers(
        [("csat", ALL, "", 0, 0, (before, 70.0, 90, 60.0, 80.0)), ("csat", ALL, "", 0, 1, (day, 70.0, 90, 60.0, 80.0))]
    )
    found = store.baselines("15m", 900, NOW, {("csat", ALL): NOW - 60 * age_min}, ["csat"], {"csat": CSAT})
    assert [one.kind for one in found.get(("csat", ALL, ""), [])] == kinds
    young = {("csat", ALL): NOW - 60 * age_min, ("csat", "web"): NOW - 3_600}
    store.rows += [("csat", "web", "", 0, 1, (day, 70.0, 90, 60.0, 80.0))]
    found = store.baselines("15m", 900, NOW, young, ["csat"], {"csat": CSAT})
    assert ("csat", "web", "") not in found, "a channel that is younger than the rest"
    assert store.baselines("15m", 900, NOW, {}, ["csat"], {"csat": CSAT}) == {}, "a KPI that never had an event"


def test_before_any_minute_is_closed_all_of_a_tile_is_open() -> None:
    """Just after a start; an amount over a minute that is not over is not shown, nor is anything compared."""
    opened = share(10, 100, NOW + 60, closed=False)
    latest = {("csat", where, ""): Latest(None, opened) for where in (ALL, "web")}
    shown = tile(CSAT, ALL, replace(facts(), latest=latest), "en")
    assert (shown.value, shown.open, shown.mark, shown.parts[0].text) == ("10.0", True, "", "10.0\u00a0%")
    amounts = TileFacts(
        {("volume", ALL, ""): Latest(None, PublishedReading(NOW, 20.0, 20, closed=False))}, {}, {}, "15m", NOW
    )
    waiting = tile(VOLUME, ALL, amounts, "en")
    assert (waiting.value, waiting.note) == ("", "counted once its first minute is over")
    assert tile(VOLUME, ALL, replace(amounts, latest={}), "en").note == ""


@pytest.mark.parametrize(("answers", "lines"), [(8, 1), (1, 2)])
def test_a_moment_of_few_answers_is_drawn_and_one_of_hardly_any_is_not(answers: int, lines: int) -> None:
    """A fall of volume is part of an outage, which must not vanish from the line."""
    trend = [share(40, 50, NOW - 60 * ago) for ago in (5, 4, 3)] + [share(0, answers, NOW - 120)]
    trend += [share(40, 50, NOW - 60), share(40, 50, NOW)]
    drawn = tile(
        replace(CSAT, min_n_colour=30), ALL, facts(trends={("csat", ALL, ""): trend}, steps={"csat": 60}), "en"
    ).spark
    assert drawn.count('class="line"') == lines


def test_a_tile_says_whether_it_is_still_counting() -> None:
    """Before a minute closed it is; for who does not see the mark it is said, in the words of the language."""
    closed, opened = share(80, 100), share(75, 100, NOW + 60, closed=False)
    for lang, counting, ended in (("en", "still counting", "closed"), ("fa", "هنوز در شمارش", "بسته")):
        assert tile(CSAT, ALL, facts(Latest(None, opened)), lang).spoken.endswith(f"; {counting}")
        assert tile(CSAT, ALL, facts(Latest(closed)), lang).spoken.endswith(f"; {ended}")
        nothing = tile(CSAT, ALL, facts(), lang).spoken
        assert counting not in nothing
        assert ended not in nothing


def test_a_value_behind_the_page_is_told_to_be_old() -> None:
    assert tile(CSAT, ALL, facts(Latest(share(8, 10, NOW - 600))), "en").old
    assert not tile(CSAT, ALL, facts(Latest(share(8, 10, NOW - 60))), "en").old


def test_the_whole_has_its_channels_and_one_channel_has_none() -> None:
    values = {("csat", ALL, ""): Latest(share(80, 100)), ("csat", "web", ""): Latest(share(9, 9))}
    shown = tile(CSAT, ALL, replace(facts(), latest=values), "en")
    assert [(part.channel, part.text, part.state) for part in shown.parts] == [
        ("web", "100.0\u00a0%", "thin"), ("app", "–", "none"), ("store", "–", "none"), ("call_center", "–", "none"),
    ]  # fmt: skip
    web = tile(CSAT, "web", replace(facts(), latest=values), "en")
    assert (web.value, web.parts) == ("100.0", ())
    alone = tile(replace(CSAT, groupings=((),)), "web", facts(), "en")
    assert alone.note == "not kept by channel"


def test_fresh_halves_keep_the_other_half() -> None:
    old, key = Latest(share(1, 2), share(1, 2, NOW + 60, closed=False)), ("csat", ALL, "")
    newer = share(2, 3, NOW + 60)
    assert overlaid({key: old}, {key: Latest(closed=newer)})[key] == Latest(newer, old.open)


# -- charts ----------------------------------------------------------------------------------------------------------


def test_a_gap_breaks_the_line_and_what_is_missing_is_not_zero() -> None:
    points = [share(5, 10, NOW + 60 * step) for step in (0, 1, 2, 6, 7)]
    assert [len(run) for run in spans([*points, PublishedReading(NOW + 480, None, 0)], 60)] == [3, 2]
    drawn = sparkline(points, 60, "x")
    assert drawn.count('class="line"') == 2
    assert drawn.count('class="band"') == 2


def test_a_line_needs_two_values() -> None:
    assert sparkline([share(5, 10)], 60, "x") == ""
    assert chart([], 60, "percent", "en", "x") == ""


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 12
    assert all(low - 1e-6 * abs(low) - 1e-9 <= tick <= low + width + 1e-6 * abs(low + width) + 1e-9 for tick in found)


@given(st.integers(0, 2_000_000_000), st.integers(600, 40_000_000))
def test_time_ticks_are_few_and_inside(start: int, length: int) -> None:
    found = time_ticks(start, start + length)
    assert 1 <= len(found) <= 16
    assert all(start <= at <= start + length for at in found)


@pytest.mark.parametrize("window", ["1m", "5m", "15m", "1h", "24h", "7d", "total", "30m"])
def test_courses_are_whole_steps(window: str) -> None:
    assert trend_span(window) % trend_step(window) == 0


@pytest.mark.parametrize(("code", "advised"), [(47, True), (60, True), (497, False)])
def test_a_store_of_an_earlier_version_is_told_as_that(code: int, *, advised: bool) -> None:
    """A page that was updated first asks for columns that nobody has made yet."""

    class Older:
        def raw_query(self, *_: object, **__: object) -> bytes:
            raise DatabaseError("Unknown expression identifier `name_fa`", code=code)

    store = BoardStore(Address("http://127.0.0.1:1"))
    store._client = Older()  # type: ignore[assignment]
    with pytest.raises(PermanentStorageError) as caught:
        store.ask("SELECT name_fa FROM kpis")
    assert ("run `cx migrate`" in str(caught.value)) is advised
    assert "name_fa" in str(caught.value)
