"""The checks that tell identifiers from other numbers of the same length."""

from operator import mul
from typing import Final

_WEIGHTS: Final = range(10, 1, -1)
_MAPPED: Final = {chr(ord("A") + value): str(value + 10) for value in range(26)}


def is_national_id(digits: str) -> bool:
    """Return whether ten digits are an Iranian national id: the last one checks the others, and not all are equal."""
    if len(digits) != 10 or len(set(digits)) == 1:
        return False
    rest: int = sum(map(mul, map(int, digits), _WEIGHTS)) % 11
    return int(digits[9]) == (rest if rest < 2 else 11 - rest)


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit checks the others by Luhn's rule."""
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Return whether upper-case letters and digits, country first, pass the check of an IBAN (mod 97)."""
    moved = text[4:] + text[:4]
    return int("".join(_MAPPED.get(character, character) for character in moved)) % 97 == 1
