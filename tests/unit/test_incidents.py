"""Incidents: how they are written, and when they strike."""

from datetime import UTC, datetime

import pytest

from streams.producers.incidents import Incident, IncidentError, Incidents, parse_incident
from streams.producers.rhythm import TEHRAN

ORIGIN = datetime(2026, 10, 5, 9, 0, tzinfo=TEHRAN)


def test_a_clock_time_is_tehrans_and_the_next_one() -> None:
    incident = parse_incident("payment-outage@12:00+20m", ORIGIN)
    assert incident.start == datetime(2026, 10, 5, 12, 0, tzinfo=TEHRAN).timestamp()
    assert incident.end - incident.start == 1200
    assert parse_incident("slow-site@08:59+1h", ORIGIN).start == datetime(2026, 10, 6, 8, 59, tzinfo=TEHRAN).timestamp()
    assert parse_incident("slow-site@12:00+1h", ORIGIN.astimezone(UTC)).start == incident.start


def test_relative_and_absolute_times_and_severity() -> None:
    assert parse_incident("queue-overload@+5m+10m,severity=0.5", ORIGIN) == Incident(
        "queue-overload", ORIGIN.timestamp() + 300, ORIGIN.timestamp() + 900, 0.5
    )
    absolute = parse_incident("late-deliveries@2026-10-05T09:30:00+03:30+90s", ORIGIN)
    assert (absolute.start - ORIGIN.timestamp(), absolute.end - absolute.start) == (1800, 90)


def test_a_channel_is_named_where_one_is_hit() -> None:
    assert parse_incident("collector-dead:app@+1m+2m", ORIGIN).target == "app"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("payment-outge@+1m+2m", "did you mean payment-outage"),
        ("flood@+1m+2m", "known: payment-outage"),
        ("payment-outage", "expected e.g."),
        ("payment-outage@noon+2m", "'noon' is not understood"),
        ("payment-outage@+1m+2", "length '2'"),
        ("payment-outage@+1m+0m", "length '0m'"),
        ("payment-outage@+1m+2m,severity=1.5", "at most 1"),
        ("payment-outage@+1m+2m,severity=0", "above 0"),
        ("payment-outage@+1m+2m,strength=1", "severity="),
        ("collector-dead@+1m+2m", "one of web, app, store, call_center"),
        ("bad-schema:fax@+1m+2m", "'fax'"),
        ("slow-site:web@+1m+2m", "hits no single channel"),
        ("slow-site@2026-10-05T09:30:00+2m", "no offset"),
    ],
)
def test_a_mistake_is_refused_with_what_came_and_what_is_expected(text: str, said: str) -> None:
    with pytest.raises(IncidentError, match=said.replace("+", r"\+")):
        parse_incident(text, ORIGIN)


def test_an_incident_strikes_from_its_start_until_before_its_end() -> None:
    incidents = Incidents([Incident("slow-site", 100, 200, 0.4), Incident("slow-site", 150, 160, 0.9)])
    levels = [incidents.level("slow-site", at) for at in (99.9, 100, 155, 160, 199.9, 200)]
    assert levels == [0, 0.4, 0.9, 0.4, 0.4, 0]
    assert incidents.level("payment-outage", 155) == 0


def test_only_the_named_channel_is_hit() -> None:
    incidents = Incidents([Incident("collector-dead", 0, 10, 1.0, "web")])
    assert (incidents.level("collector-dead", 5, "web"), incidents.level("collector-dead", 5, "app")) == (1.0, 0)
