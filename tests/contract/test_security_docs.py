"""docs/SECURITY.md against the code: examples that load, and the rights that are asked for."""

import re
import tomllib
from pathlib import Path

import pytest

from streams.engine.rights import rights_of
from streams.engine.topics import topic_plan
from streams.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]
SECURITY = ROOT / "docs" / "SECURITY.md"
TEXT = SECURITY.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_are_settings_that_are_accepted(number: int, tmp_path: Path) -> None:
    """Together they would be a `cx.toml`; each is loaded as one."""
    file = tmp_path / "cx.toml"
    file.write_text(EXAMPLES[number])
    loaded = load(file, environ={})
    assert all(getattr(loaded, name) == value for name, value in tomllib.loads(EXAMPLES[number]).items())


def test_every_setting_of_a_secured_connection_is_told() -> None:
    """A setting that nobody can find protects nobody."""
    secured = re.compile(r"_(ca|cert|key|password|token)_file$|_(user|token_url|token_scope)$")
    names = {name for name in Settings.__struct_fields__ if secured.search(name)}
    assert len(names) > 20
    text = TEXT.lower()
    assert {name for name in names if name not in text} == set()


def rights_table() -> str:
    lines = ["| part | topic or group | operations |", "|---|---|---|"]
    for role in ("worker", "door", "producer", "operator", "topics"):
        for right in rights_of(role, "cx", "cx"):
            name = f"group `{right.name}`" if right.resource == "GROUP" else f"`{right.name}`"
            lines.append(f"| {role} | {name} | {', '.join(right.operations)} |")
    return "\n".join(lines)


def test_the_rights_in_the_docs_are_those_that_the_code_asks_for() -> None:
    """The list is granted word for word by administrators."""
    told = re.search(r"<!-- rights: .*? -->\n(.*)<!-- end of rights -->", TEXT, re.DOTALL)
    assert told
    assert told[1].strip() == rights_table()


def test_every_topic_of_the_plan_is_in_the_rights() -> None:
    """A new topic without rights would stop every worker at a broker that grants nothing unasked."""
    planned = {spec.name for spec in topic_plan(1, 1, "app", "prefix")}
    for role in ("worker", "topics"):
        assert {right.name for right in rights_of(role, "prefix", "app") if right.resource == "TOPIC"} == planned
