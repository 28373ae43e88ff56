"""Numbers, units, labels and texts as people read them, in English and in Persian."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final

from streams.board.texts import Lang, Texts

_PERSIAN: Final = str.maketrans({**dict(zip("0123456789", "۰۱۲۳۴۵۶۷۸۹", strict=True)), ".": "٫", ",": "٬", "%": "٪"})
_MINUS: Final = "\u2212"
# What could name or reach a person: shown to nobody on a wall, whatever a customer wrote.
_ADDRESS: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_NUMBER: Final = re.compile(r"(?<!\d)\+?\d(?:[\d\s().-]{5,}\d)")
_RTL: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_LETTER: Final = re.compile(r"[^\W\d_]")


def digits(text: str, lang: Lang) -> str:
    """Return a number's text with the digits and separators of the language."""
    return text.translate(_PERSIAN) if lang == "fa" else text


def number(value: float, lang: Lang, places: int | None = None, *, sign: bool = False) -> str:
    """Return a number with thousands separators; `places` None: as many as its size needs."""
    if places is None:
        places = 0 if abs(value) >= 1000 or value == int(value) else 1 if abs(value) >= 10 else 2
    rounded = round(value, places)
    text = f"{abs(rounded):,.{places}f}"
    return _mark(rounded, lang, sign=sign) + digits(text, lang)


def _mark(value: float, lang: Lang, *, sign: bool) -> str:
    """Return the sign; in Persian it stands left of its number too, which the direction mark sees to."""
    mark = _MINUS if value < 0 else "+" if sign and value > 0 else ""
    return f"\u200e{mark}" if mark and lang == "fa" else mark


def compact(value: float, lang: Lang) -> str:
    """Return a large amount in thousands, millions or billions."""
    for limit, factor, name in ((1e9, 1e9, "billion"), (1e6, 1e6, "million"), (1e5, 1e3, "thousand")):
        if abs(value) >= limit:
            return f"{number(value / factor, lang, 1)}\u202f{Texts(lang)[name]}"
    return number(value, lang)


def amount(value: float, unit: str, lang: Lang, *, sign: bool = False) -> tuple[str, str]:
    """
    Return a value of a KPI and its unit as text.

    Seconds from two minutes on read as minutes and seconds; of amounts without an own unit the unit is empty.
    """
    texts = Texts(lang)
    if unit == "percent":
        return number(value, lang, 1, sign=sign), digits("%", lang)
    if unit == "per_100":
        return number(value, lang, 1, sign=sign), texts["unit_per_100"]
    if unit == "seconds" and abs(value) >= 120:
        whole = round(abs(value))
        mark = _mark(value, lang, sign=sign)
        return mark + digits(f"{whole // 60}:{whole % 60:02d}", lang), texts["unit_minutes"]
    if unit == "seconds":
        return number(value, lang, 0 if abs(value) >= 20 else 1, sign=sign), texts["unit_seconds"]
    if unit in {"hours", "days", "milliseconds"}:
        return number(value, lang, 1, sign=sign), texts[f"unit_{unit}"]
    if unit == "points":
        return number(value, lang, 1 if abs(value) < 10 else 0, sign=sign), texts["unit_points"]
    if unit in {"score", "fraction"}:
        return number(value, lang, 2, sign=sign), ""
    if sign:
        return number(value, lang, sign=True), ""
    return compact(value, lang), ""


def one_text(value: float, unit: str, lang: Lang, *, sign: bool = False) -> str:
    """Return value and unit in one text; the sign of percent is joined as each language does."""
    text, name = amount(value, unit, lang, sign=sign)
    if not name:
        return text
    return f"{text}{name}" if unit == "percent" and lang == "fa" else f"{text}\u00a0{name}"


def difference_text(value: float, unit: str, lang: Lang) -> str:
    """Return a difference with its sign; one of percentages is in percentage points."""
    if unit == "percent":
        return f"{number(value, lang, 1, sign=True)}\u00a0{Texts(lang)['percentage_points']}"
    return one_text(value, unit, lang, sign=True)


def interval_text(lo: float | None, hi: float | None, unit: str, lang: Lang) -> str:
    """Return both ends of an interval; an end that is not known is an ellipsis, and nothing when both are unknown."""
    if lo is None and hi is None:
        return ""
    # Both ends in one form: 1:50 to 2:10, not 110 to 2:10.
    long = unit == "seconds" and max(abs(lo or 0), abs(hi or 0)) >= 120

    def end(value: float | None) -> str:
        if value is None:
            return "…"
        if long and abs(value) < 120:
            whole = round(abs(value))
            return _mark(value, lang, sign=False) + digits(f"{whole // 60}:{whole % 60:02d}", lang)
        return amount(value, unit, lang)[0]

    return f"{end(lo)} {Texts(lang)['to']} {end(hi)}"


def utc_text(at: float) -> str:
    """Return a time for who has no script: the browser replaces it by local time in the reader's calendar."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso(at: float) -> str:
    """Return a time for the `datetime` attribute."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pseudonym(subject: str) -> str:
    """Return a short name for a customer that leads nobody back, even where a producer sent a plain key."""
    return blake2b(subject.encode(), digest_size=3, person=b"cx-board").hexdigest() if subject else ""


def masked(text: str, longest: int = 280) -> str:
    """Return what a customer wrote without addresses and long numbers, and not longer than `longest` characters."""
    plain = _NUMBER.sub("•••", _ADDRESS.sub("•••", text)).strip()
    return plain if len(plain) <= longest else plain[: longest - 1].rstrip() + "…"


def direction_of(text: str) -> str:
    """Return `rtl` or `ltr` by the first letter, as browsers do for `dir=auto`."""
    letter = _LETTER.search(text)
    return "rtl" if letter and _RTL.match(letter[0]) else "ltr"


def plain_labels(labels: Mapping[str, str]) -> str:
    """Return label values as one text."""
    return " · ".join(value for _, value in sorted(labels.items()) if value)
