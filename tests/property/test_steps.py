"""Steps tile any span, as clocks on the wall say; told by a walk over its minutes that knows no arithmetic of zones."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from persiantools.jdatetime import JalaliDate

from streams.kpis.language.steps import Steps, clock_of

ZONES = [
    "UTC", "Asia/Tehran", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Berlin", "America/Havana",
    "America/New_York", "Pacific/Chatham", "Africa/Casablanca", "Asia/Beirut", "Pacific/Apia", "America/Sao_Paulo",
]  # fmt: skip
# Moments near which clocks changed, so that spans often hold one.
CHANGES = [at for zone in ZONES for at in clock_of(zone).since if 0 < at < 2_000_000_000]
STARTS = st.one_of(
    st.integers(0, 2_200_000_000 // 60),
    st.tuples(st.sampled_from(CHANGES), st.integers(-2000, 200)).map(lambda pair: max(0, pair[0] // 60 + pair[1])),
).map(lambda minute: minute * 60)
EPOCH = date(1970, 1, 1).toordinal()
LENGTHS = ["1m", "5m", "15m", "20m", "30m", "1h", "90m", "2h", "6h", "12h", "1d", "2d", "1w", "1mo", "3mo", "1y"]


def shown(at: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


def walked(steps: Steps, since: int, until: int) -> list[int]:
    """Where steps begin within a span, by what clocks show at each of its minutes."""

    def key(at: int) -> object:
        local = shown(at, steps.zone)
        day = local.date()
        if steps.unit == "minute":
            return (day.toordinal() * 1440 + local.hour * 60 + local.minute - EPOCH * 1440) // steps.count
        if steps.unit == "day":
            return (day.toordinal() - EPOCH) // steps.count
        if steps.unit == "week":
            return (day - timedelta(days=(day.weekday() - steps.first_day) % 7)).toordinal()
        month = JalaliDate.to_jalali(day) if steps.calendar == "jalali" else day
        return (month.year * 12 + month.month - 1) // steps.count

    found, highest = [], key(since - 60)
    for at in range(since, until, 60):
        now = key(at)
        if steps.unit == "minute" and steps.count <= 60:
            local = shown(at, steps.zone)
            fresh = now != key(at - 60) or (local.hour * 60 + local.minute) % steps.count == 0
        else:
            fresh = now > highest  # type: ignore[operator]
            highest = max(now, highest)  # type: ignore[type-var]
        found += [at] if fresh else []
    return found


@settings(max_examples=200, deadline=None)
@given(
    zone=st.sampled_from(ZONES), length=st.sampled_from(LENGTHS), calendar=st.sampled_from(["gregorian", "jalali"]),
    first_day=st.integers(0, 6), since=STARTS, minutes=st.integers(1, 2400),
)  # fmt: skip
def test_steps_begin_where_clocks_say_and_leave_no_moment_out(
    zone: str, length: str, calendar: str, first_day: int, since: int, minutes: int
) -> None:
    since = max(since, 3 * 86_400)
    until = since + minutes * 60
    steps = Steps.parse(length, zone, calendar, first_day)  # type: ignore[arg-type]
    bounds = steps.bounds(since, until)
    assert bounds == sorted(set(bounds)), "no step is empty, none overlaps"
    assert bounds[0] <= since < bounds[1]
    assert bounds[-2] < until <= bounds[-1]
    assert [at for at in bounds if since <= at < until] == walked(steps, since, until)


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from([*ZONES, "America/St_Johns"]), length=st.sampled_from(LENGTHS), since=STARTS, data=st.data()
)
def test_a_step_is_the_same_whatever_span_asks_for_it(zone: str, length: str, since: int, data: st.DataObject) -> None:
    """Each moment is in exactly one step, the same one in every answer."""
    steps = Steps.parse(length, zone, "jalali", 5)
    bounds = steps.bounds(since, since + data.draw(st.integers(1, 5000)) * 60)
    at = data.draw(st.integers(bounds[0], bounds[-1] - 1))
    [begin, end] = steps.bounds(at, at + 1)
    assert begin <= at < end
    assert bounds.index(end) == bounds.index(begin) + 1


@given(zone=st.sampled_from(ZONES), size=st.sampled_from(["1m", "15m", "1h", "6h", "1d"]), since=STARTS)
def test_what_is_said_to_be_of_even_length_is(zone: str, size: str, since: int) -> None:
    steps = Steps.parse(size, zone)
    length = steps.fixed_s(since, since + 400_000)
    assume(length is not None)
    bounds = steps.bounds(since, since + 400_000)
    assert bounds[0] % length == 0  # type: ignore[operator]
    assert bounds == [*range(bounds[0], bounds[-1] + 1, length)]  # type: ignore[arg-type]


def test_an_hour_of_utc_is_one_of_whole_hour_zones() -> None:
    now = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp())
    assert Steps.parse("1h", "Europe/Berlin").fixed_s(now, now + 86_400) == 3600
    assert Steps.parse("1h", "Asia/Tehran").fixed_s(now, now + 86_400) is None
    assert Steps.parse("30m", "Asia/Tehran").fixed_s(now, now + 86_400) == 1800
    assert Steps.parse("1d").fixed_s(now, now + 86_400) == 86_400
    assert Steps.parse("1d", "Europe/Berlin").fixed_s(now, now + 86_400) is None
