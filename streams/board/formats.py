"""What the page shows beside numbers: times for browsers, customers without their names, labels."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

_RTL: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LETTER: Final = re.compile(r"[^\W\d_]")


def utc_text(at: float) -> str:
    """Return a time for who has no script: the browser replaces it by local time in the reader's calendar."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(at: float) -> str:
    """Return a time for the `datetime` attribute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pseudonym(subject: str) -> str:
    """Return a short name for a customer that leads nobody back, even where a producer sent a plain key."""
    return blake2b(subject.encode(), digest_size=3, person=b"cx-board").hexdigest() if subject else ""


def direction_of(text: str) -> str:
    """Return `rtl` or `ltr` by the first letter, as browsers do for `dir=auto`."""
    letter = _LETTER.search(text)
    return "rtl" if letter and _RTL.match(letter[0]) else "ltr"


def plain_labels(labels: Mapping[str, str]) -> str:
    """Return label values as one text."""
    return " · ".join(value for _, value in sorted(labels.items()) if value)
