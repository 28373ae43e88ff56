"""Numbers with their units as people read them, in English and in Persian."""

from typing import Final

from streams.wording.texts import Lang, Texts

_PERSIAN: Final = str.maketrans({**dict(zip("0123456789", "۰۱۲۳۴۵۶۷۸۹", strict=True)), ".": "٫", ",": "٬", "%": "٪"})
_MINUS: Final = "\u2212"


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


_PLACES: Final = {"percent": 1, "per_100": 1, "points": 1, "score": 2, "fraction": 3, "count": 0, "currency": 0}


def value_text(value: float | None, unit: str, lang: Lang, places: int | None = None) -> str:
    """Return a value in running text, with its unit in words: `61.2 %`, `3 min 20 s`, `no data`."""
    texts = Texts(lang)
    if value is None:
        return texts["no_data"]
    if unit == "seconds":
        return _seconds(value, lang)
    text = digits(f"{value:,.{_PLACES.get(unit, 1) if places is None else places}f}", lang)
    if unit == "percent":
        return f"{text} %" if lang == "en" else f"{text}٪"
    if unit in {"count", "fraction", "currency", ""}:
        return text
    name = texts["unit_per_100"] if unit == "per_100" else unit if lang == "en" else texts.get(f"unit_{unit}", unit)
    return f"{text} {name}"


def _seconds(value: float, lang: Lang) -> str:
    hour, minute, second = ("h", "min", "s") if lang == "en" else ("ساعت", "دقیقه", "ثانیه")
    if abs(value) < 10:
        return digits(f"{value:.1f} {second}", lang)
    if value < 0:
        return f"-{_seconds(-value, lang)}"
    whole = round(value)
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, hour), (minutes, minute), (seconds if not hours else 0, second)]
    return " ".join(f"{digits(str(count), lang)} {name}" for count, name in parts if count)
