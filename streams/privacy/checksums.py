"""The checks that tell identifiers from other numbers of the same length."""

from operator import mul
from typing import Final

_WEIGHTS: Final = range(10, 1, -1)
_ZEROS: Final = ord("0") * sum(_WEIGHTS)
_MAPPED: Final = {ord("A") + value: str(value + 10) for value in range(26)}
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes([0, 2, 4, 6, 8, 1, 3, 5, 7, 9]))
"""The digit sums of the doubles."""
_COUNTRY_OF_IRAN: Final = "1827"
"""Its letters as numbers."""


def is_national_id(digits: str) -> bool:
    """Return whether ten digits are an Iranian national id: the last one checks the others, and not all are equal."""
    if len(digits) != 10:
        return False
    rest: int = (sum(map(mul, digits.encode(), _WEIGHTS)) - _ZEROS) % 11
    return int(digits[9]) == (rest if rest < 2 else 11 - rest) and digits.count(digits[0]) < 10


def passes_luhn(digits: str) -> bool:
    """Return whether the last digit checks the others by Luhn's rule."""
    written = digits.encode()
    return (sum(written[::-2].translate(_VALUES)) + sum(written[-2::-2].translate(_DOUBLED))) % 10 == 0


def is_iban(text: str) -> bool:
    """Return whether upper-case letters and digits, country first, pass the check of an IBAN (mod 97)."""
    return int((text[4:] + text[:4]).translate(_MAPPED)) % 97 == 1


def is_iban_of_iran(digits: str) -> bool:
    """Return whether the digits of an IBAN pass its check with the letters of Iran before them."""
    return int(digits[2:] + _COUNTRY_OF_IRAN + digits[:2]) % 97 == 1
