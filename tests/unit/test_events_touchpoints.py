"""The dictionary of touchpoints and its mistakes."""

import ast
from pathlib import Path

import pytest

from streams import producers
from streams.events.touchpoints import CHANNELS, STAGES, TouchpointError, load_touchpoints, parse_touchpoints
from streams.producers.readers import DATA_SETS

GOOD = """\
touchpoints:
  - id: checkout
    name: {en: Checkout, fa: تسویه}
    channels: [web, app]
    stage: conversion
    owner: payments
    target: 80
"""


def test_the_bundled_dictionary_covers_all_channels_and_stages():
    found = load_touchpoints()

    assert {touchpoint.stage for touchpoint in found.values()} == set(STAGES)
    assert {channel for touchpoint in found.values() for channel in touchpoint.channels} == set(CHANNELS)
    assert {"search", "checkout", "delivery", "ivr", "phone_agent", "branch_desk", "app_review"} <= found.keys()


def test_a_touchpoint_is_read_whole():
    touchpoint = parse_touchpoints(GOOD)["checkout"]

    assert (touchpoint.en, touchpoint.fa) == ("Checkout", "تسویه")
    assert touchpoint.channels == ("web", "app")
    assert (touchpoint.stage, touchpoint.owner, touchpoint.target) == ("conversion", "payments", 80)


MISTAKES = [
    ("stage:", "stge:", "t.yaml:5: a touchpoint has the unknown key stge (did you mean stage?)"),
    ("stage: conversion", "stage: conversions", "t.yaml:5: stage must be one of .* (did you mean conversion?)"),
    ("    owner: payments\n", "", "t.yaml:2: a touchpoint lacks the key owner"),
    ("target: 80", "target: 101", "t.yaml:7: target must be a percentage from 0 to 100, got '101'"),
    ("target: 80", "target: .nan", "t.yaml:7: target must be a percentage from 0 to 100, got '.nan'"),
    ("target: 80", "target: high", "t.yaml:7: target must be a percentage from 0 to 100, got 'high'"),
    ("[web, app]", "[web, apps]", "t.yaml:4: channel must be one of .*, got 'apps' (did you mean app?)"),
    ("[web, app]", "[]", "t.yaml:4: channels must be a list with at least one entry"),
    ("[web, app]", "web", "t.yaml:4: channels must be a list with at least one entry"),
    ("id: checkout", "id: Check out", "t.yaml:2: id must be a lower-case name like order_tracking, got 'Check out'"),
    ("{en: Checkout, fa: تسویه}", "{en: Checkout}", "t.yaml:3: name lacks the key fa"),
    ("{en: Checkout, fa: تسویه}", "Checkout", "t.yaml:3: name must be a mapping with the keys en, fa"),
    ("target: 80", "target: 80\n    target: 90", "t.yaml:8: a touchpoint has the key target twice"),
    ("touchpoints:", "touchpoint:", "t.yaml:1: the file has the unknown key touchpoint (did you mean touchpoints?)"),
    ("{en:", "{en", "t.yaml:3: "),
]


@pytest.mark.parametrize(("old", "new", "problem"), MISTAKES, ids=[new or "nothing" for _, new, _ in MISTAKES])
def test_a_mistake_is_named_with_file_and_line(old, new, problem):
    assert old in GOOD
    with pytest.raises(TouchpointError) as caught:
        parse_touchpoints(GOOD.replace(old, new, 1), "t.yaml")

    start, _, end = problem.partition(".*")
    assert any(found.startswith(start) and found.endswith(end) for found in caught.value.problems), (
        caught.value.problems
    )


def test_all_mistakes_are_named_at_once():
    text = GOOD.replace("conversion", "buying").replace("80", "-1") + GOOD.partition("\n")[2].replace("web", "fax")

    with pytest.raises(TouchpointError) as caught:
        parse_touchpoints(text)

    assert [problem.split(":")[1] for problem in caught.value.problems] == ["5", "7", "10"]


def test_a_touchpoint_is_defined_once():
    with pytest.raises(TouchpointError, match="yaml:8: touchpoint checkout is defined twice"):
        parse_touchpoints(GOOD + GOOD.partition("\n")[2])


def test_an_empty_file_is_refused():
    with pytest.raises(TouchpointError, match="the file is empty"):
        parse_touchpoints("")


PRODUCERS = Path(producers.__file__).parent
SOURCES = sorted([*(PRODUCERS / "readers").glob("*.py"), *(PRODUCERS / "simulator").glob("*.py")])
# Which argument of these calls is the touchpoint.
PLACES = {"say": 1, "made": 2, "Ask": 3, "case": 3}


def texts(node):
    """The texts that an expression may come to; what is passed on by name is found where it was made."""
    match node:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp():
            return texts(node.body) | texts(node.orelse)
        case ast.Constant(value=None) | ast.Name() | ast.Attribute():
            return set()
    raise AssertionError(f"line {node.lineno}: which touchpoint is {ast.unparse(node)}?")


def touchpoints_used(source):
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                place = PLACES.get(name)
                given = [keyword.value for keyword in node.keywords if keyword.arg == "touchpoint"]
                if place is not None and not given and ast.unparse(node.func) != "_ORIGIN.made":
                    given = node.args[place : place + 1]
                found = found.union(*map(texts, given))
            case ast.Assign(targets=[ast.Name(id="touchpoint")]):
                found |= texts(node.value)
            case ast.Dict():
                keys = [ast.unparse(key) if key else "" for key in node.keys]
                found = found.union(*(texts(v) for k, v in zip(keys, node.values, strict=True) if k == "'touchpoint'"))
            # What happened, perhaps when, and where: a row of a table of events.
            case ast.Tuple(elts=[ast.Call(), *_, ast.Constant(value=str(text))]):
                found.add(text)
    return found


def test_touchpoints_are_found_however_they_are_written():
    source = """
trail.say(data, "a")
yield made(data, 5, "b" if served else "c")
yield _ORIGIN.made(row, key, data, at, touchpoint="d")
yield _ORIGIN.made(row, key, data, at, **{"touchpoint": "e"})
touchpoint = "f" if page == "not this" else "g" if app else "h"
trail.say(data, touchpoint)
trail.say(data, None)
table = {"act": (Data(name="nor this"), 0.5, "i"), "other": (1, "nor this")}
ASK = Ask("nor", "that", "either", "j", touch=1)
"""
    assert touchpoints_used(source) == set("abcdefghij")
    with pytest.raises(AssertionError, match="line 1: which touchpoint is"):
        touchpoints_used("trail.say(data, choose())")


def test_readers_and_the_simulator_use_touchpoints_of_the_dictionary_only():
    used = {path.name: touchpoints_used(path.read_text("utf-8")) for path in SOURCES}

    known = load_touchpoints().keys()
    assert {name: unknown for name, names in used.items() if (unknown := names - known)} == {}
    for dataset in DATA_SETS:
        assert used[f"{dataset}.py"], dataset
    assert len(set().union(*used.values())) > 25
