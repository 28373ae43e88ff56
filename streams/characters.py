"""Characters that nobody sees, as ranges of code points, and patterns made of such ranges, in Python and in SQL."""

from typing import Final

OVERRIDES: Final = (0x202D, 0x202E)
"""Marks under which people see other letters and digits than are written."""
INVISIBLE: Final = (
    OVERRIDES, (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202C), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
"""Soft hyphens, joiners (one is the half-space), marks of direction, fillers, variants, tags: none of them is drawn."""


def character_class(ranges: tuple[tuple[int, int], ...]) -> str:
    """Return the inside of a character class for Python's patterns."""
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


def character_class_sql(ranges: tuple[tuple[int, int], ...]) -> str:
    """Return the inside of a character class for ClickHouse's patterns, in a literal of SQL."""
    return "".join(f"\\\\x{{{low:x}}}-\\\\x{{{high:x}}}" for low, high in ranges)
