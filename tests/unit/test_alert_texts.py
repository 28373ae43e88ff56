"""Texts of alerts: refused with their line when they cannot be right, never in the way of an alert when they fail."""

import pytest

from streams.alerts.rules.texts import (
    FILTERS,
    LONGEST,
    STEPS,
    VARIABLES,
    TextError,
    compile_text,
    moment,
)
from streams.wording.numbers import value_text
from streams.wording.texts import series_text

VALUES = {"value": 61.25, "n": 12345, "unit": "percent", "labels": {"channel": "web"}, "name": "CSAT", "baseline": None}


def test_a_text_is_filled():
    text = compile_text("{{ name }} of {{ labels.channel }}: {{ value | show }} ({{ n | number }})", ("channel",))
    assert text.fill(VALUES) == "CSAT of web: 61.2 % (12,345)"


def test_nothing_is_said_to_be_nothing():
    assert compile_text("{{ value | show }}, usually {{ baseline | show }}").fill(VALUES) == "61.2 %, usually no data"


def test_labels_can_be_gone_through():
    text = compile_text("{% for k, v in labels.items() %}{{ k }}={{ v }};{% endfor %}", ("channel",))
    assert text.fill(VALUES) == "channel=web;"


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("{{ valu }}", 1, "unknown variable 'valu'; did you mean 'value'?"),
        ("first\n{{ verbatims }}", 2, "unknown variable 'verbatims'"),
        ("a\nb\n{{ labels.chanel }}", 3, "no label 'chanel'; did you mean 'channel'?"),
        ("{{ labels['region'] }}", 1, "no label 'region'; labels of this rule: channel"),
        ("{{ value | shwo }}", 1, "No filter named 'shwo'"),
        ("x\n{% if value %}", 2, "Unexpected end of template"),
        ("{{ name + 1 }}", 1, "fails on plain numbers: TypeError"),
        ("{{ ''.__class__.__mro__ }}", 1, "SecurityError"),
        ("{{ 'a' * 1000000000 }}", 1, "SecurityError"),
        ("{{ 10 ** 10 }}", 1, "SecurityError"),
        ("{{ name | show }}", 1, "no value that has a unit"),
        ("{% for i in range(9) %}{% endfor %}", 1, "unknown variable 'range'"),
        ("{{ '%99999999d' % 1 }}", 1, "% works on numbers only"),
        ("{{ '{:>99999999}'.format(1) }}", 1, "'format' of 'str' object is unsafe"),
        ("{{ name.ljust(99999999) }}", 1, "'ljust' of 'str' object is unsafe"),
        ("{{ name | center(99999999) }}", 1, "No filter named 'center'"),
        ("a\n{% set a = name ~ name %}", 2, "{% set %} is not for texts of alerts"),
        ("{% macro a() %}{{ a() }}{% endmacro %}", 1, "{% macro %} is not for texts of alerts"),
        ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", 1, "cannot be recursive"),
    ],
)
def test_what_cannot_be_right_is_refused(source, line, message):
    with pytest.raises(TextError) as caught:
        compile_text(source, ("channel",))
    assert message in str(caught.value)
    assert caught.value.line == line


def test_a_text_that_fails_says_so_and_shows_itself():
    text = compile_text("{{ value - baseline }}")
    assert text.fill(VALUES).startswith("(this text failed: TypeError")
    assert "{{ value - baseline }}" in text.fill(VALUES)
    assert text.fill({"value": 1}).startswith("(this text failed: UndefinedError")


def test_a_text_has_an_end():
    filled = compile_text("{% for letter in name %}{{ labels }}{{ labels }}{% endfor %}").fill(
        {"name": "x" * 500, "labels": {"channel": "web"}}
    )
    assert len(filled) == LONGEST
    assert filled.endswith("…")


def test_loops_share_a_number_of_steps():
    """However they are nested, and whether or not they write anything."""
    text = compile_text("{% for a in name %}{% for b in name %}{% for c in name %}{% endfor %}{% endfor %}{% endfor %}")
    assert text.fill({"name": "x" * 9}) == ""
    assert text.fill({"name": "x" * 9_999}).startswith(
        f"(this text failed: SecurityError: loops take more than {STEPS} steps"
    )
    assert text.fill({"name": "x" * 9}) == "", "each text has them anew"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "percent", "no data"),
        (61.25, "percent", "61.2 %"),
        (0.4712, "fraction", "0.471"),
        (-12.0, "points", "-12.0 points"),
        (1234567.0, "currency", "1,234,567"),
        (12.0, "count", "12"),
        (4.256, "score", "4.26 score"),
        (3.25, "seconds", "3.2 s"),
        (200.4, "seconds", "3 min 20 s"),
        (3725.0, "seconds", "1 h 2 min"),
        (-3725.0, "seconds", "-1 h 2 min"),
        (3600.0, "seconds", "1 h"),
        (26.25, "hours", "26.2 hours"),
    ],
)
def test_values_are_written_as_people_do(value, unit, text):
    assert value_text(value, unit, "en") == text


def test_a_minute_is_told_by_its_end():
    assert moment(29_000_000) == "2025-02-19 21:21"


def test_series_are_named_by_their_labels():
    assert series_text({}, "en") == "overall"
    assert series_text({"channel": "web", "touchpoint": "checkout"}, "en") == "channel web, touchpoint checkout"


def test_every_variable_and_filter_that_is_told_of_can_be_used():
    for name in VARIABLES:
        compile_text("{{ " + name + " }}")
    for name in FILTERS:
        compile_text("{{ value | " + name + " }}")
