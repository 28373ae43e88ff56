"""Reading YAML strictly: every value knows the line it stands on, and every problem is reported with it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

import yaml

from streams.events.visible import visible_line
from streams.kpis.language.expressions import meant, suggest

T = TypeVar("T")
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_DEEPEST: Final = 32
_MOST: Final = 200_000
"""Values in a file, those of an alias each time it is used: a page of aliases can stand for billions."""
_LARGEST: Final = 1 << 63
_LONGEST_NUMBER: Final = 400
MOST_BYTES: Final = 512 * 1024
"""Of a file; all KPIs of this package together are a seventh of that. Reading takes seconds at most."""
_MOST_TEXT: Final = 8 * MOST_BYTES
"""Characters in the values of a file, those of an alias each time it is used."""


class CatalogueError(ValueError):
    """
    Definitions that cannot be right.

    Attributes:
        problems: One line each: file, line, what is wrong, and what would be right.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


_TEXT: Final = "tag:yaml.org,2002:str"
_LIBYAML: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_OURS: Final = (Path(__file__).parents[2], Path(__file__).parents[3] / "deploy")
"""Folders of files that are shipped, in a wheel and in a clone."""


class Problems:
    """The problems found so far, in one file or many."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, file: str, line: int, message: str) -> None:
        """Note one problem, once, as one line whatever names are in it; lines count from 1."""
        self._found[visible_line(f"{file}:{line}: {message}")] = None

    def __len__(self) -> int:
        return len(self._found)

    def raise_any(self, error: type[CatalogueError] = CatalogueError) -> None:
        """
        Raises:
            CatalogueError: There is at least one problem; of the given kind.
        """
        if self._found:
            raise error([*self._found])


class YamlBlock:
    """One YAML mapping; what is asked of it and is not there, or is of the wrong kind, becomes a problem."""

    def __init__(self, node: yaml.MappingNode, file: str, what: str, problems: Problems) -> None:
        self.file = file
        self.line = node.start_mark.line + 1
        self.what = what
        self.problems = problems
        self._nodes: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in self._nodes:
                self._report(key_node, f"{key!r} stands twice in {what}")
            self._nodes[key] = value_node
            value_node.key_line = key_node.start_mark.line + 1

    def __contains__(self, key: str) -> bool:
        return key in self._nodes

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def line_of(self, key: str) -> int:
        """Return the line a key stands on, or of the block if it has none."""
        node: Any = self._nodes.get(key)
        return node.key_line if node is not None else self.line

    def problem(self, key: str, message: str) -> None:
        """Note a problem with the value of a key."""
        self.problems.add(self.file, self.line_of(key), f"{self.what}: {message}")

    def expect(self, required: Iterable[str], allowed: Iterable[str], *, below: Mapping[str, str] = NOTHING) -> None:
        """Note each key that is unknown, and each that is missing; `below` says of keys under which one they belong."""
        known = [*required, *allowed]
        unknown = [key for key in self._nodes if key not in known]
        # What was meant by another name is there, only misnamed.
        free = [one for one in known if one not in self._nodes]
        misnamed = {near for key in unknown if key not in below and (near := meant(key, free))}
        listed = f"; known: {', '.join(known)}"
        for key in unknown:
            hint = f"; it belongs below {below[key]!r}" if key in below else suggest(key, known)
            self.problem(key, f"unknown key {key!r}{hint or listed}")
            # The known ones are listed once.
            listed = listed if hint else ""
        for key in required:
            if key not in self._nodes and key not in misnamed:
                self.problem(key, f"{key!r} is missing")

    def text(self, key: str) -> str:
        """Return a text, empty if there is none."""
        value = self.plain(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.problem(key, f"{key!r} must be a text, not {value!r}")
            return ""
        return value.strip()

    def choice(self, key: str, options: Sequence[T], default: T) -> T:
        """Return one of the options."""
        value = self.plain(key)
        if value is None:
            return default
        if value not in options:
            listed = ", ".join(str(option) for option in options if option != "")
            self.problem(key, f"{key!r} cannot be {value!r}: it is one of {listed}{suggest(str(value), options)}")
            # Go on with what was meant, so that no problem is reported that only follows from another one.
            near = meant(str(value), options)
            return next((option for option in options if str(option) == near), default)
        return value  # type: ignore[no-any-return]

    def whole(self, key: str, default: int, largest: int) -> int:
        """Return a whole number from 1 to `largest`."""
        value = self.plain(key)
        if value is None:
            return default
        if type(value) is not int or not 1 <= value <= largest:
            self.problem(key, f"{key!r} must be a whole number from 1 to {largest}, not {value!r}")
            return default
        return value

    def number(self, key: str) -> float | None:
        """Return a number, None if there is none."""
        value = self.plain(key)
        if value is not None and type(value) not in {int, float}:
            self.problem(key, f"{key!r} must be a number, not {value!r}")
            return None
        return value  # type: ignore[no-any-return]

    def list(self, key: str) -> "list[Any]":
        """Return the items of a list; one item may stand without one."""
        value = self.plain(key)
        return [] if value is None else value if isinstance(value, list) else [value]

    def block(self, key: str) -> "YamlBlock | None":
        """Return the mapping below a key."""
        node = self._nodes.get(key)
        if node is None:
            return None
        if not isinstance(node, yaml.MappingNode):
            self.problem(key, f"{key!r} must be a mapping")
            return None
        return YamlBlock(node, self.file, f"{self.what}, {key}", self.problems)

    def blocks(self, key: str, what: str, name: str) -> "Sequence[YamlBlock]":
        """Return the mappings listed below a key, each called `what` and the value of its key `name`."""
        node = self._nodes.get(key)
        return [] if node is None else _listed(node, self.file, what, name, self.problems)

    def first_line(self, key: str) -> int:
        """Return the line on which the value itself begins: of a text set apart by `|` or `>`, its first."""
        node: Any = self._nodes[key]
        return int(node.start_mark.line) + (2 if getattr(node, "style", None) in {"|", ">"} else 1)

    def written(self, key: str) -> str | None:
        """Return a single value as it stands in the file, whatever YAML takes it for; None if it is not one."""
        node = self._nodes.get(key)
        return str(node.value) if isinstance(node, yaml.ScalarNode) else None

    def plain(self, key: str) -> Any:
        """Return a value as YAML means it; None if it is not there."""
        node = self._nodes.get(key)
        if node is None:
            return None
        try:
            value = _construct(node)
        except (ValueError, yaml.YAMLError) as error:
            self.problem(key, f"{key!r} cannot be read: {getattr(error, 'problem', None) or error}")
            return None
        except (LookupError, AttributeError):
            # How the constructors fail of which a tag asks for a kind of value that the text is not.
            self.problem(key, f"{key!r} cannot be read: it is no {node.tag.rpartition(':')[2]}")
            return None
        if value is None:
            self.problem(key, f"{key!r} is empty")
        if isinstance(value, float) and not math.isfinite(value):
            self.problem(key, f"{key!r} must be finite")
            return None
        if isinstance(value, int) and abs(value) >= _LARGEST:
            self.problem(key, f"{key!r} is too large a number")
            return None
        return value

    def _report(self, node: yaml.Node, message: str) -> None:
        self.problems.add(self.file, node.start_mark.line + 1, message)


def _construct(node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT:
        return node.value
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def blocks_of(text: str, file: str, what: str, problems: Problems) -> list[YamlBlock]:
    """Read a YAML text that is a list of mappings."""
    root = _root(text, file, problems)
    return [] if root is None else _listed(root, file, what, "id", problems)


def block_of(text: str, file: str, what: str, problems: Problems) -> YamlBlock | None:
    """Read a YAML text that is one mapping; None if it is empty or something else."""
    root = _root(text, file, problems)
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        problems.add(file, root.start_mark.line + 1, f"must be a mapping: {what}")
        return None
    return YamlBlock(root, file, what, problems)


def files_of(paths: Iterable[Path], of: str, problems: Problems) -> list[Path]:
    """Give the files, and of folders the YAML files by name; where there is neither, `of` says what was to be there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(one for one in path.iterdir() if one.suffix in {".yaml", ".yml"})
        elif path.exists():
            found.append(path)
        else:
            problems.add(str(path), 1, f"no such file or folder of {of}")
    return found


def nothing_in(paths: Iterable[Path], blocks: Iterable[YamlBlock], what: str, problems: Problems) -> None:
    """Note each file or folder that was given without a block in it: whoever names it means something by it."""
    if len(problems):  # a file that cannot be read at all is none without blocks
        return
    files = {Path(block.file) for block in blocks}
    for path in paths:
        if path.exists() and not any(path == file or path in file.parents for file in files):
            problems.add(str(path), 1, f"no {what} in it")


def text_of(path: Path, problems: Problems) -> str:
    """Return the text of a file; of one that cannot be read, or is too large, which becomes a problem, none."""
    read = b""
    try:
        with path.open("rb") as file:
            read = file.read(MOST_BYTES + 1)
        if len(read) > MOST_BYTES:
            problems.add(str(path), 1, f"is larger than {MOST_BYTES // 1024} KiB: split it into several files")
            return ""
        return read.decode().replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = read[: error.start].count(b"\n") + 1
        problems.add(str(path), line, "not UTF-8: save the file in that encoding")
    except OSError as error:
        problems.add(str(path), 1, f"cannot be read: {error.strerror}")
    return ""


def _composed(text: str, file: str) -> yaml.Node | None:
    """Read by libyaml what is shipped, ten times as fast; it has no bound on nesting, and says less of mistakes."""
    path = Path(file)
    if path.is_absolute() and any(folder in path.parents for folder in _OURS):
        with suppress(yaml.YAMLError):
            ours: yaml.Node | None = yaml.compose(text, Loader=_LIBYAML)
            return ours
    theirs: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    return theirs


def _root(text: str, file: str, problems: Problems) -> yaml.Node | None:
    try:
        root = _composed(text, file)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.add(file, line, f"not YAML: the character U+{error.character:04X} cannot stand in it")
        return None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or str(error)
        problems.add(file, mark.line + 1 if mark else 1, f"not YAML: {message}")
        return None
    except RecursionError:
        problems.add(file, 1, "is nested too deeply")
        return None
    return None if root is None or _oversized(root, file, problems) else root


def _oversized(root: yaml.Node, file: str, problems: Problems) -> bool:
    """Note what nobody can work with: values within themselves or without end, and text that no file can hold."""
    left, seen, length, before = [(root, 0)], 0, 0, len(problems)
    while left and len(problems) == before:
        node, depth = left.pop()
        seen += 1
        line = node.start_mark.line + 1
        if depth > _DEEPEST:
            problems.add(file, line, f"is nested deeper than {_DEEPEST} levels")
        elif seen > _MOST:
            problems.add(file, line, f"aliases make more than {_MOST} values of it")
        elif isinstance(node, yaml.ScalarNode):
            length += len(node.value)
            if length > _MOST_TEXT:
                problems.add(file, line, f"aliases make more than {_MOST_TEXT} characters of it")
            elif node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
                problems.add(file, line, f"a number has at most {_LONGEST_NUMBER} characters")
            elif not node.value.isascii() and any("\ud800" <= char <= "\udfff" for char in node.value):
                problems.add(file, line, "holds half a character: write the whole one, not an escape of each half")
        else:
            pairs = node.value if isinstance(node, yaml.MappingNode) else [(item,) for item in node.value]
            left += [(item, depth + 1) for pair in pairs for item in pair]
    return len(problems) > before


def _listed(root: yaml.Node, file: str, what: str, key: str, problems: Problems) -> list[YamlBlock]:
    if not isinstance(root, yaml.SequenceNode):
        problems.add(file, root.start_mark.line + 1, f"must be a list: one '- {key}: …' block per {what}")
        return []
    found = []
    for node in root.value:
        if isinstance(node, yaml.MappingNode):
            names = (v.value for k, v in node.value if k.value == key and isinstance(v, yaml.ScalarNode))
            name = next(names, f"without {key}")
            found.append(YamlBlock(node, file, f"{what} {name}", problems))
        else:
            problems.add(file, node.start_mark.line + 1, f"must be a {what}: '- {key}: …' with keys below")
    return found
