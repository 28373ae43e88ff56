"""The checks that tell identifiers from other numbers of the same length."""

from operator import mul
from typing import Final

_WEIGHTS: Final = range(10, 1, -1)
_ZEROS: Final = ord("0") * sum(_WEIGHTS)
_MAPPED: Final = {ord("A") + value: str(value + 10) for value in range(26)}
_DOUBLED: Final = str.maketrans("0123456789", "0246813579")
"""The digit sums of the doubles."""


def is_national_id(digits: str) -> bool:
    """Return whether ten digits are an Iranian national id: the last one checks the others, and not all are equal."""
    if len(digits) != 10:
        return False
    rest: int = (sum(map(mul, digits.encode(), _WEIGHTS)) - _ZEROS) % 11
    return int(digits[9]) == (rest if rest < 2 else 11 - rest) and digits.count(digits[0]) < 10


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit checks the others by Luhn's rule."""
    return (sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


def is_iban(text: str) -> bool:
    """Return whether upper-case letters and digits, country first, pass the check of an IBAN (mod 97)."""
    return int((text[4:] + text[:4]).translate(_MAPPED)) % 97 == 1
