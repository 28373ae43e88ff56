"""What customers wrote, without what names or reaches a person."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_NUMBER: Final = re.compile(r"(?<!\d)\+?\d(?:[\d\s().-]{5,}\d)")


def masked(text: str, longest: int = 280) -> str:
    """Return what a customer wrote without addresses and long numbers, and not longer than `longest` characters."""
    plain = _NUMBER.sub("•••", _ADDRESS.sub("•••", text)).strip()
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"
