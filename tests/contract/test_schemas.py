"""The schema folder: equal to the types, true to decoding, and never broken by a version that says it is compatible."""

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from streams.events import compatibility, examples, schemas
from streams.events.compatibility import VersionStep, breaking_changes, changes
from streams.events.decode import decode_stored
from streams.events.envelope import schema_file, version_of, versions_of
from streams.events.refusal import Refusal
from streams.events.touchpoints import load_touchpoints
from streams.events.types import EVENT_TYPES

ROOT = Path(__file__).parents[2] / "schemas"
SCHEMAS = {
    path: json.loads((ROOT / path).read_text("utf-8")) for path in [schemas.ENVELOPE, *schemas.schema_paths().values()]
}
REGISTRY = Registry().with_resources((path, DRAFT202012.create_resource(schema)) for path, schema in SCHEMAS.items())


def validator(event_type):
    # The reference to the envelope is relative to the file, so the file's path is the base.
    return Draft202012Validator({"$ref": schemas.schema_path(event_type)}, registry=REGISTRY)


def folder(event_type, kind):
    return ROOT / "examples" / "/".join(event_type.split(".")[1:]) / version_of(event_type) / kind


def test_the_committed_folder_is_what_the_types_say():
    assert schemas.check(ROOT) == []


@pytest.mark.parametrize("event_type", schemas.PUBLISHED)
def test_good_examples_fit_their_schema_and_decode(event_type):
    fits = validator(event_type)
    files = sorted(folder(event_type, "good").glob("*.json"))

    assert {"minimal.json", "full.json"} <= {file.name for file in files}
    for file in files:
        record = json.loads(file.read_text("utf-8"))
        assert [error.message for error in fits.iter_errors(record)] == [], file
        assert decode_stored(file.read_bytes()).type == event_type


@pytest.mark.parametrize("event_type", schemas.PUBLISHED)
def test_bad_examples_are_refused_for_what_they_state(event_type):
    files = sorted(folder(event_type, "bad").glob("*.json"))

    assert len(files) >= 2
    for file in files:
        example = json.loads(file.read_text("utf-8"))
        sent = example["text"].encode() if "text" in example else json.dumps(example["record"]).encode()
        refusal = decode_stored(sent)
        assert isinstance(refusal, Refusal), file
        assert (refusal.reason, refusal.path) == (example["reason"], example["path"]), file


@pytest.mark.parametrize("event_type", schemas.PUBLISHED)
def test_generated_bad_examples_do_not_fit_their_schema_either(event_type):
    fits = validator(event_type)

    for example in examples.bad(event_type).values():
        assert not fits.is_valid(example["record"]), example


@pytest.mark.parametrize("path", SCHEMAS)
def test_schemas_are_valid_in_both_dialects_in_use(path):
    Draft202012Validator.check_schema(SCHEMAS[path])
    Draft7Validator.check_schema({**SCHEMAS[path], "$schema": "http://json-schema.org/draft-07/schema#"})


def test_full_examples_name_touchpoints_of_the_dictionary_in_their_channel_and_stage():
    known = load_touchpoints()

    for event_type in schemas.PUBLISHED:
        record = examples.good(event_type)["full"]
        touchpoint = known[record["touchpoint"]]
        assert record["channel"] in touchpoint.channels, event_type
        assert record["stage"] == touchpoint.stage, event_type


def test_the_asyncapi_document_names_every_topic_and_refers_to_files_that_exist():
    document = yaml.safe_load((ROOT / "asyncapi.yaml").read_text("utf-8"))

    assert document["asyncapi"] == "3.0.0"
    channels = document["channels"]
    assert {channel["address"] for channel in channels.values()} == {
        "cx.touchpoints.{channel}",
        "cx.touchpoints.derived",
        "cx.dead_letters",
        "cx.kpis",
        "cx.alerts",
    }
    assert channels["touchpoints"]["parameters"]["channel"]["enum"] == ["web", "app", "store", "call_center"]
    messages = document["components"]["messages"]
    assert len(channels["touchpoints"]["messages"]) == len(EVENT_TYPES)
    assert len(channels["derived"]["messages"]) == len(schemas.PUBLISHED) - len(EVENT_TYPES)
    for reference in references(document):
        if reference.startswith("#/"):
            target = document
            for part in reference[2:].split("/"):
                target = target[part]
        else:
            assert (ROOT / reference).is_file(), reference
    assert messages["survey_answered"]["payload"] == {"$ref": "./events/survey/answered/1-0-0.json"}


def references(node):
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


BASE = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "minLength": 1, "maxLength": 9},
        "b": {"type": ["integer", "null"], "minimum": 0},
        "c": {"enum": ["x", "y"]},
        "d": {"type": "object", "properties": {"e": {"type": "number"}}},
        "f": {"const": "1.0"},
    },
    "allOf": [{"minProperties": 1}],
}


def changed(edit):
    new = copy.deepcopy(BASE)
    edit(new, new["properties"])
    return new


CHANGES = {
    "b became mandatory": (VersionStep.MODEL, lambda s, p: s["required"].append("b")),
    "a is no longer mandatory": (VersionStep.REVISION, lambda s, p: s["required"].clear()),
    "c was removed": (VersionStep.MODEL, lambda s, p: p.pop("c")),
    "g was added": (VersionStep.ADDITION, lambda s, p: p.update(g={"type": "string"})),
    "d.e was removed": (VersionStep.MODEL, lambda s, p: p["d"]["properties"].clear()),
    "d.e no longer takes number": (VersionStep.MODEL, lambda s, p: p["d"]["properties"].update(e={"type": "integer"})),
    "b no longer takes null": (VersionStep.MODEL, lambda s, p: p["b"].update(type="integer")),
    "b now takes number": (VersionStep.REVISION, lambda s, p: p["b"].update(type=["number", "null"])),
    'c lost the value "y"': (VersionStep.MODEL, lambda s, p: p["c"].update(enum=["x"])),
    'c gained the value "z"': (VersionStep.REVISION, lambda s, p: p["c"]["enum"].append("z")),
    "a became an enumeration": (VersionStep.MODEL, lambda s, p: p["a"].update(enum=["q"])),
    "f is no longer an enumeration": (VersionStep.REVISION, lambda s, p: p["f"].clear()),
    "a: minLength changed from 1 to 2": (VersionStep.MODEL, lambda s, p: p["a"].update(minLength=2)),
    "a: minLength changed from 1 to 0": (VersionStep.REVISION, lambda s, p: p["a"].update(minLength=0)),
    "a: maxLength changed from 9 to 8": (VersionStep.MODEL, lambda s, p: p["a"].update(maxLength=8)),
    "a: maxLength changed from 9 to 10": (VersionStep.REVISION, lambda s, p: p["a"].update(maxLength=10)),
    "b: minimum changed from 0 to null": (VersionStep.REVISION, lambda s, p: p["b"].pop("minimum")),
    "b: maximum changed from null to 5": (VersionStep.MODEL, lambda s, p: p["b"].update(maximum=5)),
    'a: pattern changed from null to "^a"': (VersionStep.MODEL, lambda s, p: p["a"].update(pattern="^a")),
    "b: default changed from null to 3": (VersionStep.MODEL, lambda s, p: p["b"].update(default=3)),
    "a: description was reworded": (VersionStep.ADDITION, lambda s, p: p["a"].update(description="new words")),
    'the record: allOf changed from [{"minProperties": 1}] to []': (VersionStep.MODEL, lambda s, p: s.update(allOf=[])),
}


@pytest.mark.parametrize(("text", "level", "edit"), [(text, *rest) for text, rest in CHANGES.items()], ids=CHANGES)
def test_a_change_has_the_level_of_what_it_does(text, level, edit):
    new = changed(edit)

    assert changes(BASE, new) == [(level, text)]
    assert breaking_changes(BASE, new) == ([text] if level is VersionStep.MODEL else [])
    assert changes(BASE, copy.deepcopy(BASE)) == []


@pytest.mark.parametrize("event_type", ["cx.survey.answered", "cx.contact.handled", "cx.page.viewed"])
def test_every_field_that_becomes_mandatory_is_found_in_real_schemas(event_type):
    old = schemas.event_schema(event_type)
    data = old["properties"]["data"]
    for name in data["properties"].keys() - set(data["required"]):
        new = copy.deepcopy(old)
        new["properties"]["data"]["required"].append(name)
        assert breaking_changes(old, new) == [f"data.{name} became mandatory"]


def versions(**by_version):
    return {f"events/x/done/{v.strip('v').replace('_', '-')}.json": json.dumps(s) for v, s in by_version.items()}


@pytest.mark.parametrize(
    ("bumped", "edit", "refused"),
    [
        ("v1_0_1", CHANGES["g was added"][1], False),
        ("v1_0_1", CHANGES["a is no longer mandatory"][1], True),
        ("v1_1_0", CHANGES["a is no longer mandatory"][1], False),
        ("v1_1_0", CHANGES["c was removed"][1], True),
        ("v2_0_0", CHANGES["c was removed"][1], False),
    ],
)
def test_a_version_number_must_announce_its_changes(bumped, edit, refused):
    current = versions(v1_0_0=BASE, **{bumped: changed(edit)})

    assert bool(compatibility.problems(current, versions(v1_0_0=BASE))) is refused


def test_the_versions_that_are_there_announce_what_they_change():
    paths = [schema_file(name, version) for name in schemas.PUBLISHED for version in versions_of(name)]
    current = {path: (ROOT / path).read_text("utf-8") for path in paths}
    assert len(current) > len(schemas.PUBLISHED)
    assert compatibility.problems(current, {}) == []


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [("(1-0-0|1-1-0)", False), ("(1-1-0)", True), ("(1-0-0)x", True), ("(1-0-0|1-1-0)x", True)],
)
def test_a_new_version_may_name_itself_beside_the_earlier_ones(pattern, refused):
    """And take none of them away."""
    old, new = ({"properties": {"dataschema": {"pattern": f"^e/{one}$"}}} for one in ("(1-0-0)", pattern))
    assert bool(compatibility.breaking_changes(old, new)) is refused


def test_versions_are_compared_as_numbers_and_with_the_one_before():
    added = changed(CHANGES["g was added"][1])
    current = versions(v1_0_9=BASE, v1_0_10=added, v1_0_11=BASE)

    assert compatibility.problems(current, {}) == [
        "events/x/done: 1-0-10 to 1-0-11 announces ADDITION, but is MODEL: g was removed"
    ]


def test_a_published_version_neither_changes_nor_goes():
    published = versions(v1_0_0=BASE)

    assert compatibility.problems({}, published) == [
        "events/x/done/1-0-0.json: published, but gone: versions stay for those who still send them"
    ]
    reworded = versions(v1_0_0={**BASE, "title": "new words"})
    assert compatibility.problems(reworded, published) == [
        "events/x/done/1-0-0.json: published versions never change; make a new one"
    ]


def test_what_has_stood_for_half_a_day_is_published(tmp_path):
    """The first text that did, whatever came later; what was changed sooner, or is young, is not published yet."""

    def git(*arguments: str, at: int = 0) -> None:
        names = ("name", "test"), ("email", "t@example.org"), ("date", f"@{at} +0000")
        environment = {f"GIT_{who}_{name.upper()}": value for who in ("AUTHOR", "COMMITTER") for name, value in names}
        subprocess.run(
            ["git", "-C", tmp_path, *arguments], check=True, capture_output=True, env=os.environ | environment
        )

    git("init", "-q")
    root, hour = tmp_path / "schemas", 3600
    stories = {
        "events/x/done/1-0-0.json": [(0, "draft"), (2, "first"), (20, "second")],
        "events/x/young/1-0-0.json": [(25, "draft"), (30, "only")],
        "envelope/1.json": [(0, "small"), (13, "grown"), (30, "growing")],
        "README.json": [(0, "no schema")],
    }
    for at, path, text in sorted((at, path, text) for path, told in stories.items() for at, text in told):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        git("add", "."), git("commit", "-qm", text, at=1_700_000_000 + at * hour)
    stood = compatibility.published_by_standing(root, 12 * hour, 1_700_000_000 + 40 * hour)
    assert stood == {"events/x/done/1-0-0.json": "first", "envelope/1.json": "grown"}


def test_the_envelope_may_grow_but_not_break():
    published = {"envelope/1.json": json.dumps(BASE)}
    grown = {"envelope/1.json": json.dumps(changed(CHANGES["g was added"][1]))}
    broken = {"envelope/1.json": json.dumps(changed(CHANGES["b became mandatory"][1]))}

    assert compatibility.problems(grown, published) == []
    assert compatibility.problems(broken, published) == [
        "envelope/1.json: the envelope only grows within a model: b became mandatory"
    ]


@pytest.fixture
def repository(tmp_path):
    """A repository with the schema folder committed, and a function that runs git in it."""

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    root = tmp_path / "schemas"
    schemas.write(root)
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "publish")
    return root


def test_the_folder_is_held_against_a_commit(repository):
    assert schemas.check_compatibility(repository, compatibility.published_at(repository, "main")) == []

    page = repository / schemas.schema_path("cx.page.viewed")
    page.write_text(page.read_text("utf-8").replace('"page"', '"page_name"'), "utf-8")

    assert schemas.check_compatibility(repository, compatibility.published_at(repository, "main")) == [
        "events/page/viewed/1-0-0.json: published versions never change; make a new one"
    ]


def test_an_unknown_commit_is_an_error_and_not_a_pass(repository):
    with pytest.raises(compatibility.GitError, match="ls-tree failed"):
        compatibility.published_at(repository, "no-such-commit")


def test_what_is_written_passes_the_check_and_damage_does_not(tmp_path):
    written = schemas.write(tmp_path)
    assert set(written) == set(schemas.generated())
    assert schemas.write(tmp_path) == []
    earlier = [schema_file(name, version) for name in schemas.PUBLISHED for version in versions_of(name)[:-1]]
    assert schemas.check(tmp_path) == [
        f"{path}: an earlier version of its type, but not there" for path in sorted(earlier)
    ]
    for path in earlier:
        (tmp_path / path).write_bytes((ROOT / path).read_bytes())
    assert schemas.check(tmp_path) == []

    handwritten = tmp_path / "examples/page/viewed/1-0-0"
    (handwritten / "good/mine.json").write_text("{}", "utf-8")
    (handwritten / "bad/mine.json").write_text('{"reason": "bad_time", "path": "time", "text": "{}"}', "utf-8")
    (tmp_path / "asyncapi.yaml").write_text("", "utf-8")
    (tmp_path / "events/page/viewed/1-0-1.json").write_text("{}", "utf-8")
    (tmp_path / schemas.ENVELOPE).unlink()

    assert schemas.problems(tmp_path) == [
        "envelope/1.json: missing; generate the schemas",
        "asyncapi.yaml: differs from the types; generate the schemas, as a new version if published",
        "events/page/viewed/1-0-1.json: no type has this version; register it as an earlier one",
        "examples/page/viewed/1-0-0/good/mine.json: refused as missing_field at type: type is missing",
        "examples/page/viewed/1-0-0/bad/mine.json: states bad_time at 'time', but was refused as missing_field at 'type'",
    ]
