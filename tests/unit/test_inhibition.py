"""What keeps alerts from being delivered: which channels matter to a series, how much is missing, who speaks for whom."""

import re
from random import Random

import numpy as np
import pytest

from streams.alerts.judging.inhibition import Trust, parent_of
from streams.alerts.judging.sources import ChannelHealth, observe
from streams.alerts.judging.watch import Index, Subject, Watch
from streams.alerts.types import SourceHealth
from streams.kpis.language.series import parse_series
from tests.harness.closed import Closed
from tests.harness.judged import WINDOWS, key, rules

LEVEL = "service_level_all_offered"
RULES = """
groups:
  - name: test
    owner: contact-centre
    rules:
      - {{alert: Watched, kpi: {kpi}, by: [{by}], method: {method}, window: {window}, severity: ticket}}
"""
SILENT = "silent for 5 min"


class Seen:
    """One series as of one minute, with some history."""

    def __init__(self, held, *, window="1h", by="", kpi=LEVEL, method="floor, params: {target: 80}", **changes):
        """`held` is what each of 1,500 minutes holds by series; `changes` are what the last five hold instead."""
        self.closed = Closed(WINDOWS)
        for minute in range(1000, 2500):
            self.closed.close(minute, changes.get("lately", held) if minute >= 2495 else held)
        rule = next(iter(rules(RULES.format(kpi=kpi, by=by, method=method, window=window))))
        self.index = Index(kpi)
        self.watch = Watch(rule, 0)
        for series, labels in self.index.update(self.closed.series(kpi)):
            self.watch.take(series, labels, 10)

    def held_by(self, channel, name="web", *, kept=WINDOWS, only_now=False):
        """Say what of a channel's condition holds the one series that is watched."""
        trust = Trust(self.closed, {name: channel}, {self.watch.rule.kpi.id: self.index}, kept)
        [subject] = self.watch.subjects.values()
        return trust.trouble_of(subject) if only_now else trust.distortion_of(subject)


def parts(web, app, kpi=LEVEL):
    """A whole and two channels, of so many answers a minute."""
    accs = {key(kpi): web + app, key(kpi, channel="web"): web, key(kpi, channel="app"): app}
    return {name: [n] if kpi == "volume" else [n, n] for name, n in accs.items()}


def gap(minutes):
    """Trouble that is over, and took so many minutes of the last hour."""
    return ChannelHealth(spans=[(2440, 2440 + minutes - 1)])


@pytest.mark.parametrize(("web", "held"), [(10, True), (9, False)])
def test_a_channel_in_trouble_matters_from_a_tenth_of_the_answers_on(web, held):
    seen = Seen(parts(web, 100 - web))
    expected = f"pipeline web: {SILENT}" if held else None
    assert (
        seen.held_by(ChannelHealth(trouble=SILENT))
        == seen.held_by(ChannelHealth(trouble=SILENT), only_now=True)
        == expected
    )


def test_a_series_of_a_channel_hangs_on_that_channel_alone():
    seen = Seen({key(channel="web"): [60, 50]}, by="channel")
    assert seen.held_by(ChannelHealth(trouble=SILENT), "web") == f"pipeline web: {SILENT}"
    assert seen.held_by(ChannelHealth(trouble=SILENT), "app") is None


@pytest.mark.parametrize(("minutes", "held"), [(11, "pipeline web: 18 % of 1h cannot be trusted"), (10, None)])
def test_a_gap_distorts_a_level_when_it_moves_enough_weight(minutes, held):
    """Half of the answers come from there: 0.25·g / (1 - g/2) reaches a twentieth between 10 and 11 minutes of an hour."""
    assert Seen(parts(30, 30)).held_by(gap(minutes)) == held


def test_a_gap_in_the_only_channel_takes_volume_and_moves_no_level():
    seen = Seen({key(): [60, 50], key(channel="web"): [60, 50]})
    assert seen.held_by(gap(50)) is None


@pytest.mark.parametrize(("minutes", "held"), [(12, "pipeline web: 20 % of 1h cannot be trusted"), (11, None)])
def test_a_gap_takes_from_a_count_what_it_is_long(minutes, held):
    seen = Seen(parts(30, 30, "volume"), kpi="volume", method="ztest, params: {baseline: 24h}")
    assert seen.held_by(gap(minutes)) == held


def test_where_channels_are_not_told_apart_a_gap_spoils_counts_only():
    """A KPI that is not kept by channel mostly has but one."""
    count = Seen({key("volume"): [60]}, kpi="volume", method="ztest, params: {baseline: 24h}")
    assert count.held_by(gap(6)) == "pipeline web: 10 % of 1h cannot be trusted"
    assert count.held_by(gap(5)) is None
    assert Seen({key(): [60, 50]}).held_by(gap(30)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("usual", "now", "lost", "held"),
    [
        (60, 53, 1.0, True),
        (60, 55, 1.0, False),
        (60, 57, 0.5, True),
        (60, 58, 0.5, False),
        (60, 80, 1.0, False),
        (2, 2, 0.9, True),
        (4, 4, 0.9, False),
    ],
    ids=[
        "a tenth is missing",
        "less is",
        "a tenth of what is lost",
        "less of it",
        "more came",
        "too few to tell",
        "just enough",
    ],
)
def test_where_channels_are_not_told_apart_what_is_missing_tells_the_share(usual, now, lost, held):
    """Against the pace of the hour before the last five minutes."""
    seen = Seen({key(): [usual, usual]}, lately={key(): [now, now]})
    channel = ChannelHealth(trouble=SILENT, lost=lost)
    assert (seen.held_by(channel) is not None) == held


def test_where_nothing_tells_the_share_all_of_it_is_doubted():
    """Without the windows to look into, or without knowing how much of the channel is lost."""
    seen = Seen({key(): [60, 60]})
    assert seen.held_by(ChannelHealth(trouble=SILENT, lost=1.0)) is None
    assert seen.held_by(ChannelHealth(trouble=SILENT, lost=1.0), kept=("1h", "24h")) is not None
    assert seen.held_by(ChannelHealth(trouble=SILENT, lost=0.0)) is not None
    silent = Seen({key(): [60, 60]}, lately={})
    assert silent.held_by(ChannelHealth(trouble=SILENT, lost=1.0)) is not None


def subject(alert, series, severity="page"):
    runbook = "runbook: docs/R.md"
    text = RULES.format(
        kpi=LEVEL, by=",".join(dict(parse_series(series)[1])), method="floor, params: {target: 80}", window="1h"
    )
    text = text.replace("Watched", alert).replace("severity: ticket", f"severity: {severity}, min_n: 100, {runbook}")
    return Subject(Watch(next(iter(rules(text))), 0), series, dict(parse_series(series)[1]))


def test_the_whole_and_the_same_series_speak_for_an_alert_that_is_worth_no_more():
    mine = subject("Mine", key(channel="web"))
    whole, same, other = subject("W", key()), subject("S", key(channel="web")), subject("O", key(channel="app"))
    assert parent_of(mine, [other, mine, same, whole]) is same
    assert parent_of(mine, [mine, other, whole]) is whole
    assert parent_of(mine, [mine, other, subject("T", key(), "ticket")]) is None
    assert parent_of(whole, [mine]) is None
    assert parent_of(subject("Ticket", key(channel="web"), "ticket"), [mine]) is mine


def test_what_tells_of_records_is_never_in_doubt():
    """The trouble of a channel is its finding, now and afterwards."""
    series = key("violation_rate", channel="web")
    seen = Seen({series: [60, 1]}, by="channel", kpi="violation_rate")
    for channel in (ChannelHealth(trouble=SILENT, lost=1.0), gap(50)):
        assert (seen.held_by(channel), seen.held_by(channel, only_now=True)) == (None, None)


class Watched:
    """A channel of which so many records come each minute."""

    def __init__(self) -> None:
        self.channels: dict[str, ChannelHealth] = {}
        self.read: list[tuple[int, int]] = []

    def play(self, *minutes, times=1) -> ChannelHealth:
        """Records of each minute, or records and those of them that were bad."""
        for one in minutes * times:
            self.read.append(one if isinstance(one, tuple) else (one, 0))
            lately = self.read[-5:]
            silent = next((back for back, (read, _) in enumerate(reversed(self.read)) if read), len(self.read))
            health = SourceHealth("web", silent, sum(read for read, _ in lately), sum(bad for _, bad in lately))
            observe(self.channels, len(self.read), {"web/0": health})
        return self.channels["web"]


def test_next_to_nothing_is_trouble_from_its_first_minute():
    """What comes is known of five minutes together: it falls by a whole minute each minute, and is next to nothing then."""
    watched = Watched()
    assert watched.play(200, 210, 190, times=20).trouble == ""
    for records in (10, 12, 1, 8, 9, 30, 11, *[9] * 30):
        assert watched.play(records).kind == "scarce"
    found = watched.play(9)
    assert re.fullmatch(r"45 records where \d{3} are usual", found.trouble)
    assert found.spans == [], "windows that reach back to it are not in doubt"
    assert found.lost == pytest.approx(0.95, abs=0.02)
    assert watched.play(200).kind == ""


def test_a_minute_of_many_that_is_past_leaves_nothing_scarce():
    watched = Watched()
    watched.play(200, times=60)
    for records in (900, 180, 220, 190, 210, 200, 200):
        assert watched.play(records).kind == ""


@pytest.mark.parametrize("usual", [15, 0.5])
def test_a_channel_of_few_records_is_never_next_to_nothing(usual):
    watched = Watched()
    watched.play(*([1, 0] if usual == 0.5 else [usual]), times=60)
    assert watched.play(2).kind == ""


@pytest.mark.parametrize("usual", [25, 60, 400])
def test_chance_makes_nothing_scarce(usual):
    watched, rng = Watched(), Random(usual)
    for _ in range(1_000):
        assert watched.play(round(rng.gauss(usual, usual**0.5))).kind == ""


def test_an_evening_is_no_trouble():
    """A channel that falls to a tenth within three hours, and rises again."""
    watched = Watched()
    falling = [round(400 * 0.1 ** (minute / 180)) for minute in range(181)]
    for records in [400] * 60 + falling + [40] * 300 + falling[::-1]:
        assert watched.play(records).trouble == ""


def test_what_goes_on_for_half_a_day_is_usual():
    watched = Watched()
    watched.play(300, times=60)
    assert watched.play(20, times=240).kind == "scarce"
    assert watched.play(20, times=420).kind == ""


def test_a_first_look_at_a_channel_that_was_there_before_sees_nothing_scarce():
    """A judge that begins, or left minutes out, knows five minutes only together."""
    channels: dict[str, ChannelHealth] = {}
    for minute in (*range(100, 160), *range(300, 320)):
        observe(channels, minute, {"web/0": SourceHealth("web", 0, 1000, 0)})
        assert channels["web"].kind == ""


def test_what_is_left_of_a_channel_holds_what_lives_on_it():
    scarce = ChannelHealth(trouble="9 records a minute where 200 are usual", kind="scarce", lost=0.95)
    assert Seen(parts(9, 91)).held_by(scarce) is None
    assert Seen(parts(40, 60)).held_by(scarce) == f"pipeline web: {scarce.trouble}"


def test_silence_of_which_the_records_were_refused_is_told_by_who_refuses_them():
    """The same five minutes without volume: once nothing came, once all that came was bad."""
    watched = Watched()
    watched.play(200, times=60)
    assert watched.play((200, 190), times=5).kind == "refused"
    seen = Seen({key("volume", channel="web"): [40]}, by="channel", kpi="volume", method="absence", window="5m")
    [subject] = seen.watch.subjects.values()
    index = {"volume": seen.index}
    assert Trust(seen.closed, watched.channels, index, WINDOWS).refused(subject) == "refused: 95 % of 1000 records bad"
    watched.play(0, times=6)
    assert Trust(seen.closed, watched.channels, index, WINDOWS).refused(subject) is None
    assert Trust(seen.closed, {}, index, WINDOWS).refused(subject) is None


@pytest.mark.parametrize("usual", [1.0, 3.0, 10.0])
def test_a_silence_by_chance_is_no_illness_of_a_channel(usual: float) -> None:
    """At one record a minute two minutes without any are nothing."""
    watched = Watched()
    counts = np.random.default_rng(4).poisson(usual, 3_000)
    ill = sum(watched.play(int(count)).kind == "silent" for count in counts)
    assert ill <= 6


@pytest.mark.parametrize(("usual", "minutes"), [(60, 1), (9, 1), (3, 3), (1, 9)])
def test_a_channel_is_silent_once_nine_records_are_missing(usual: int, minutes: int) -> None:
    watched = Watched()
    watched.play(usual, times=60)
    assert [watched.play(0).kind == "silent" for _ in range(minutes)] == [False] * (minutes - 1) + [True]
