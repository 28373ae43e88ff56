"""A file of settings: TOML, with the line of each, so that a wrong one can be named."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

_MOST_BYTES: Final = 64 * 1024
"""All settings with all that there is to say of them take a fifth of that."""


class SettingLine(NamedTuple):
    """A setting, what it is set to, and in which line."""

    name: str
    value: Any
    line: int


def read_lines(file: Path) -> list[SettingLine]:
    """
    Return what a file sets, with the lines.

    Raises:
        ValueError: It cannot be read, or is no TOML; the text names the file.
    """
    try:
        with file.open("rb") as opened:
            read = opened.read(_MOST_BYTES + 1)
        if len(read) > _MOST_BYTES:
            raise ValueError(f"{file}: is larger than {_MOST_BYTES // 1024} KiB, expected one line per setting")
        text = read.decode()
        table = tomllib.loads(text)
    except OSError as exc:
        raise ValueError(f"{file}: cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"{file}: {exc}") from exc
    except RecursionError:
        raise ValueError(f"{file}: is nested too deeply, expected one line per setting") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if found := re.match(r"[ \t\[\"']*([\w-]+)", line):
            lines.setdefault(found[1], number)
    return [SettingLine(name, value, lines.get(name, 1)) for name, value in table.items()]
