"""All settings as a page for operators: `python -m streams.commands.settings_page` writes docs/SETTINGS.md."""

import ast
import inspect
import re
from collections.abc import Iterator

from msgspec import inspect as types

from streams.settings import PREFIX, Settings
from streams.shipped import CLONE

_HEAD = """# Settings

Written by `make generate` from `streams/settings.py`. Each is read from the environment variable below; or from
`cx.toml` (or the file that `CX_CONFIG` names) under its name in small letters without `CX_`. The environment wins.
Times are seconds and sizes are bytes unless the name says otherwise. A wrong or unknown setting is refused at start,
with its line.

| setting | takes | default | |
|---|---|---|---|
"""


def page() -> str:
    """Return the text of docs/SETTINGS.md."""
    said = _said()
    return _HEAD + "".join(
        f"| `{PREFIX}{field.name.upper()}` | {_takes(field.type)} | {_default(field)} | {said.get(field.name, '')} |\n"
        for field in _fields()
    )


def _fields() -> tuple[types.Field, ...]:
    described = types.type_info(Settings)
    assert isinstance(described, types.StructType)
    return described.fields


def _said() -> dict[str, str]:
    """Return what stands below each field in the source, which is not kept anywhere else."""
    [shape] = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(shape, ast.ClassDef)
    found = {}
    for field, text in zip(shape.body, shape.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                found[name] = re.sub(r"\s+", " ", words).strip().replace("|", "\\|")
            case _:
                pass
    return found


def _takes(kind: types.Type) -> str:
    match kind:
        case types.StrType(pattern=str(pattern)) if choices := re.fullmatch(r"\^\(([^()]*)\)\$", pattern):
            return ", ".join(f"`{choice}`" for choice in choices[1].split("|"))
        case types.LiteralType(values=values):
            return ", ".join(f"`{value}`" if value else "empty" for value in values)
        case types.IntType() | types.FloatType():
            return ", ".join([_NUMBERS[type(kind)], *_bounds(kind)])
        case types.BoolType():
            return "`true`, `false`"
        case _:
            return "text"


_NUMBERS = {types.IntType: "a whole number", types.FloatType: "a number"}


def _bounds(kind: types.IntType | types.FloatType) -> Iterator[str]:
    for sign, bound in (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt)):
        if bound is not None:
            yield f"{sign} {bound:,}"


def _default(field: types.Field) -> str:
    if isinstance(field.default, bool):
        return f"`{field.default}`".lower()
    if isinstance(field.default, int | float):
        return f"{field.default:,}"
    return f"`{field.default}`" if field.default else ""


if __name__ == "__main__":
    (CLONE / "docs" / "SETTINGS.md").write_text(page(), encoding="utf-8")
