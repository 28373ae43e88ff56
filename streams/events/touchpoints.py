"""
The dictionary of touchpoints: what each is called, where it is met, at which stage, who owns it, what it aims at.

The file is written by people, so every mistake is named with its line, and all of them at once.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args

import msgspec
import yaml

from streams.events.scalars import Channel, Stage

CHANNELS: Final[tuple[str, ...]] = get_args(Channel)
STAGES: Final[tuple[str, ...]] = get_args(Stage)
# Ours is read by libyaml, which is faster and says less of what is wrong.
_LIBYAML: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
BUNDLED: Final = Path(__file__).with_name("touchpoints.yaml")

_ID: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_KEYS: Final = ("id", "name", "channels", "stage", "owner", "target")
_LANGUAGES: Final = ("en", "fa")


class Touchpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One touchpoint; `target` is the share of satisfied answers it aims at, in percent."""

    id: str
    en: str
    fa: str
    channels: tuple[Channel, ...]
    stage: Stage
    owner: str
    target: float


class TouchpointError(ValueError):
    """The dictionary is not usable; one `file:line: problem` per line of the message."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def load_touchpoints(path: Path = BUNDLED) -> dict[str, Touchpoint]:
    """
    Read the dictionary, by touchpoint id in the order of the file.

    Raises:
        TouchpointError: Anything in it is unknown, missing or out of bounds.
        OSError: The file cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    return _DictionaryReader(path.name, _LIBYAML if path == BUNDLED else yaml.SafeLoader).read(text)


def parse_touchpoints(text: str, origin: str = "touchpoints.yaml") -> dict[str, Touchpoint]:
    """
    Read the dictionary from YAML text; `origin` names it in messages.

    Raises:
        TouchpointError: Anything in it is unknown, missing or out of bounds.
    """
    return _DictionaryReader(origin, yaml.SafeLoader).read(text)


class _DictionaryReader:
    """Walks the YAML nodes, which know their lines, and collects all that is wrong."""

    def __init__(self, origin: str, loader: Any) -> None:
        self._origin = origin
        self._loader = loader
        self._problems: list[str] = []

    def read(self, text: str) -> dict[str, Touchpoint]:
        try:
            root = yaml.compose(text, Loader=self._loader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            problem = getattr(error, "problem", None) or str(error)
            raise TouchpointError([f"{self._origin}:{line}: not YAML: {problem}"]) from error
        found: dict[str, Touchpoint] = {}
        if root is None:
            raise TouchpointError([f"{self._origin}:1: the file is empty, expected the key touchpoints"])
        top = self._mapping(root, "the file", ("touchpoints",))
        entries = self._sequence(top["touchpoints"], "touchpoints") if "touchpoints" in top else []
        for node in entries:
            touchpoint = self._touchpoint(node)
            if touchpoint is None:
                continue
            if touchpoint.id in found:
                self._complain(node, f"touchpoint {touchpoint.id} is defined twice")
            found[touchpoint.id] = touchpoint
        if self._problems:
            raise TouchpointError(self._problems)
        return found

    def _touchpoint(self, node: yaml.Node) -> Touchpoint | None:
        before = len(self._problems)
        parts = self._mapping(node, "a touchpoint", _KEYS)
        if len(parts) < len(_KEYS):
            return None
        names = self._mapping(parts["name"], "name", _LANGUAGES)
        found = {
            "id": self._text(parts["id"], "id", _ID.fullmatch, "a lower-case name like order_tracking"),
            "channels": tuple(
                self._member(one, "channel", CHANNELS) for one in self._sequence(parts["channels"], "channels")
            ),
            "stage": self._member(parts["stage"], "stage", STAGES),
            "owner": self._text(parts["owner"], "owner", _ID.fullmatch, "a team's lower-case name like logistics"),
            "target": self._percent(parts["target"]),
            **{language: self._text(node, f"name.{language}", str.strip, "a name") for language, node in names.items()},
        }
        if len(self._problems) > before:
            return None
        return msgspec.convert(found, Touchpoint)

    def _mapping(self, node: yaml.Node, what: str, keys: tuple[str, ...]) -> Mapping[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._complain(node, f"{what} must be a mapping with the keys {', '.join(keys)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if name not in keys:
                near = get_close_matches(name, keys, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
                self._complain(key, f"{what} has the unknown key {name} ({hint})")
            elif name in found:
                self._complain(key, f"{what} has the key {name} twice")
            else:
                found[name] = value
        for name in keys:
            if name not in found:
                self._complain(node, f"{what} lacks the key {name}")
        return found

    def _sequence(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._complain(node, f"{what} must be a list with at least one entry")
            return []
        return list(node.value)

    def _text(self, node: yaml.Node, what: str, fits: Callable[[str], object], expected: str) -> str:
        value = node.value if isinstance(node, yaml.ScalarNode) else ""
        if not fits(value):
            self._complain(node, f"{what} must be {expected}, got {_shown(node)}")
        return str(value)

    def _member(self, node: yaml.Node, what: str, members: tuple[str, ...]) -> str:
        value = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
        if value not in members:
            near = get_close_matches(value, members, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            self._complain(node, f"{what} must be one of {', '.join(members)}, got {_shown(node)}{hint}")
        return value

    def _percent(self, node: yaml.Node) -> float:
        try:
            value = float(node.value) if isinstance(node, yaml.ScalarNode) else -1.0
        except ValueError:
            value = -1.0
        if not 0 <= value <= 100:
            self._complain(node, f"target must be a percentage from 0 to 100, got {_shown(node)}")
        return value

    def _complain(self, node: yaml.Node, problem: str) -> None:
        self._problems.append(f"{self._origin}:{node.start_mark.line + 1}: {problem}")


def _shown(node: yaml.Node) -> str:
    return repr(node.value) if isinstance(node, yaml.ScalarNode) else f"a {str(node.tag).rpartition(':')[2]}"
