"""Relations that cannot be right are refused with the line, what came, what was expected, and what was meant."""

import re
from pathlib import Path

import pytest

from streams.events.derived import declare
from streams.events.types import EVENT_TYPES
from streams.kpis.catalogue.catalogue import Catalogue
from streams.kpis.language.blocks import CatalogueError
from streams.relations.catalogue import load, parse
from streams.relations.docs import filled
from streams.relations.events import types_of
from streams.relations.reading import KINDS
from streams.relations.takes import TAKES
from streams.relations.timelinefiles import check, load_timelines

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = load([ROOT / "deploy" / "relations"])
SOUND = """\
- id: damaged
  kind: span
  name: {en: Complaint after a damaged delivery}
  question: Does who got damaged goods complain within three days?
  owner: logistics
  opens: {events: cx.order.delivered, where: condition == 'damaged'}
  closes:
    complained: {events: cx.feedback.given, where: kind == 'complaint'}
  expires: {after: 3d, as: silent}
  keeps:
    carrier: {take: first, value: carrier}
  emits: cx.damage.settled
"""


@pytest.mark.parametrize(
    ("sound", "wrong", "line", "told"),
    [
        ("kind: span", "kind: spam", 2, "'kind' cannot be 'spam'"),
        ("kind: span", "spice: span", 1, "'kind' is missing: span, lookback, stages or clock"),
        ("id: damaged", "id: Damaged", 1, "must be lower case letters"),
        ("opens:", "openz:", 6, "unknown key 'openz'; did you mean 'opens'?"),
        ("cx.order.delivered", "cx.order.deliverd", 6, "did you mean 'cx.order.delivered'?"),
        ("condition ==", "conditoin ==", 6, "did you mean 'condition'"),
        ("'damaged'}", "'broken'}", 6, "is never a value of condition (damaged, intact)"),
        ("cx.feedback.given", "cx.damage.settled", 8, "so that none can feed another in a circle"),
        ("after: 3d", "after: 3 days", 9, "expected a length of time such as 90s, 60m, 24h or 7d"),
        ("after: 3d", "after: 4000d", 9, "at most 1000d"),
        ("after: 3d", "at: due", 9, "'due' is no time of cx.order.delivered"),
        ("after: 3d", "after: 3d, at: due", 9, "give either 'after'"),
        ("take: first", "take: frist", 11, "did you mean 'first'?"),
        ("take: first, value: carrier", "take: sum, value: carrier", 11, "is text where a number is needed"),
        ("take: first, value: carrier", "take: count, value: carrier", 11, "'value' means nothing for count"),
        ("value: carrier", "value: carrier, before: 1d, since: 2d", 11, "'since' means nothing beside 'before'"),
        ("value: carrier", "value: carrier, since: 1d, itself: true", 11, "'itself' means something only with 'before'"),
        ("    carrier: {", "    outcome: {", 11, "the name 'outcome' is taken"),
        ("emits: cx.damage.settled", "emits: cx.order.placed", 12, "is an event type already"),
        ("emits: cx.damage.settled", "emits: damage", 12, "expected a name such as cx.cart.ended"),
        ("owner: logistics", "owner: logistics\n  by: colour", 6, "'by': 'colour' is no field of cx.feedback.given"),
        ("owner: logistics", "owner: logistics\n  clock: nights", 6, "no clock 'nights'"),
        ("owner: logistics", "owner: logistics\n  forgets: 3d", 6, "'forgets' means nothing"),
        ("owner: logistics", "owner: logistics\n  target: {after: 1d}", 6, "'target' means nothing where 'expires' is"),
        ("complained:", "Complained!:", 7, "outcome 'Complained!' must be lower case"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(sound: str, wrong: str, line: int, told: str) -> None:
    assert sound in SOUND
    with pytest.raises(CatalogueError) as refused:
        parse(SOUND.replace(sound, wrong), "mine.yaml")
    assert any(one.startswith(f"mine.yaml:{line}: ") and told in one for one in refused.value.problems), refused.value


def test_a_span_that_can_never_end_is_refused() -> None:
    text = re.sub(r"  closes:\n.*?(?=  keeps)", "", SOUND, flags=re.DOTALL)
    with pytest.raises(CatalogueError, match="it can never end"):
        parse(text)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("zone: Asia/Teheran, hours: {friday: 08:00-16:00}", "did you mean 'Asia/Tehran'"),
        ("zone: UTC, hours: {freitag: 08:00-16:00}", "is no day of the week"),
        ("zone: UTC, hours: {friday: 16:00-08:00}", "expected from and until on one day"),
        ("zone: UTC, hours: {friday: [08:00-12:00, 11:00-16:00]}", "the hours of friday overlap"),
        ("zone: UTC, hours: {friday: 08:00-16:00}, country: XX", "give the ISO code, e.g. IR"),
        ("zone: UTC, hours: {friday: 08:00-16:00}, holidays: [nowruz]", "expected a day such as 2026-03-21"),
        ("zone: UTC, hours: {}", "opens on no day"),
    ],
)
def test_clocks_that_cannot_run_are_refused(written: str, told: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        parse(f"- {{id: hours, kind: clock, {written}}}")
    assert told in str(refused.value)


def test_stages_are_values_of_a_field_or_named_with_their_events() -> None:
    text = "- {id: s, kind: stages, name: {en: S}, question: Q, owner: o, emits: cx.s.moved, events: cx.page.viewed, stages: [awareness, discoveri], expires: {after: 1d, as: left}}"
    with pytest.raises(CatalogueError, match=r"never a value of stage .*did you mean 'discovery'"):
        parse(text)
    assert list(parse(text.replace("discoveri", "discovery"))["s"].matchers())
    with pytest.raises(CatalogueError, match="unknown key 'before'"):
        parse(
            text.replace("discoveri", "discovery").replace("expires", "keeps: {n: {take: count, before: 1d}}, expires")
        )


def test_derived_types_and_what_they_say_do_not_clash() -> None:
    assert len({one.emits for one in SHIPPED.values()}) == len(SHIPPED)
    assert not {one.emits for one in SHIPPED.values()} & EVENT_TYPES.keys()
    for relation in SHIPPED.values():
        names = [output.name for output in relation.outputs()]
        assert len(names) == len(set(names)), relation.id


def test_every_shipped_relation_has_a_timeline() -> None:
    timelines = load_timelines([ROOT / "deploy" / "relations" / "tests"], SHIPPED)
    tested = {wanted["relation"] for timeline in timelines for _, wanted in timeline.expect}
    assert SHIPPED.keys() <= tested


def test_the_page_shows_the_shipped_relations_and_an_example_that_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "RELATIONS.md").read_text(encoding="utf-8")
    assert filled(page, SHIPPED, Catalogue.load([ROOT / "deploy" / "kpis"], built_in=False)) == page
    relation, kpi, timeline, clock = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "timeline.yaml").write_text(timeline, encoding="utf-8")
    (played,) = load_timelines([tmp_path / "timeline.yaml"], parse(relation + clock))
    assert check(played) == []
    declare(types_of(parse(relation).values()))
    assert len(Catalogue.parse(kpi)) == 2
    told = set(re.findall(r"`(\w+)`", page))
    assert told >= {*TAKES, *KINDS, "opens", "closes", "expires", "target", "touches", "restarts", "splits", "reopens"}
