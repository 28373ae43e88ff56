"""
Identifiers of people who do not exist, planted into records: so that whoever looks for personal data has some to find.

They are seeded and pass every check that real ones pass. They stand where producers let them slip in: in the subject,
in labels, ids, fields that no contract knows, and free text, in three scripts and with what people write in between.
"""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple

import msgspec

from streams.privacy.checksums import is_iban, is_national_id, passes_luhn
from streams.producers.replay import Deliveries, ReplaySender

SHARE: Final = 0.2
"""Of the records: so many get an identifier."""
PEOPLE: Final = 300
"""As many people are made up."""

_AREAS: Final = ("21", "31", "51", "71", "41")
_BANKS: Final = ("603799", "589210", "622106", "502229", "627353")
_HANDLES: Final = ("sara", "ali.rezaei", "m_karimi", "neda+shop", "reza-1370")
_DOMAINS: Final = ("example.com", "mail.example.org", "example.co")
_SCRIPTS: Final = ("0123456789", "۰۱۲۳۴۵۶۷۸۹", "٠١٢٣٤٥٦٧٨٩")
_SEPARATORS: Final = ("", "", " ", "-", ".", "\u200c", "\u200f")
_TEXTS: Final = ("با {} تماس بگیرید", "please call {} today", "{}", "شماره من {} است", "contact: {}, thank you")
_GROUPS: Final = {
    "mobile": (4, 3, 4), "landline": (3, 4, 4), "abroad": (3, 4, 4), "national_id": (3, 6, 1), "card": (4, 4, 4, 4),
    "sheba": (4, 4, 4, 4, 4, 4, 2), "iban": (4, 4, 4, 4, 4, 2),
}  # fmt: skip
_KINDS: Final = (*_GROUPS, "email")


class _Person(NamedTuple):
    """Somebody made up: their identifiers by kind, in the plainest form."""

    identifiers: dict[str, str]


class Planter:
    """Plants identifiers of one seed; the same records get the same ones."""

    def __init__(self, seed: int, share: float = SHARE) -> None:
        """Make people up."""
        self._rng = Random(f"{seed}:planting")  # noqa: S311 - wants to be repeatable
        self._seed = seed
        self._share = share
        self._people = [_person(self._rng) for _ in range(PEOPLE)]
        self._used: set[str] = set()

    @property
    def planted(self) -> list[str]:
        """What was planted by now, each identifier once, in its plainest form."""
        return sorted(self._used)

    def plant(self, payload: bytes, subject: str) -> tuple[bytes, str]:
        """Return a record and its subject, some of them with identifiers; what is no JSON object stays as it is."""
        if self._rng.random() >= self._share:
            return payload, subject
        try:
            fields = msgspec.json.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return payload, subject
        if not isinstance(fields, dict):
            return payload, subject
        where = self._rng.choice(_PLACES)
        # What one subject gets in its place is the same each time, so that one customer stays one.
        rng = Random(f"{self._seed}:{subject}") if where is _as_subject else self._rng  # noqa: S311
        person = rng.choice(self._people)
        kind = rng.choice(_KINDS)
        self._used.add(person.identifiers[kind])
        where(fields, _written(kind, person.identifiers[kind], rng), rng)
        return msgspec.json.encode(fields), str(fields.get("subject", subject))


class PlantingSender:
    """A sender of records that plants identifiers into them."""

    def __init__(self, sender: ReplaySender, planter: Planter) -> None:
        self._sender = sender
        self._planter = planter

    def send_encoded(self, payload: bytes, channel: str, subject: str) -> None:
        """Queue a record, perhaps with an identifier."""
        payload, subject = self._planter.plant(payload, subject)
        self._sender.send_encoded(payload, channel, subject)

    def flush(self, timeout_s: float = 30.0) -> Deliveries:
        """Wait for what is queued, and tell what became of it."""
        return self._sender.flush(timeout_s)


def _as_subject(fields: dict[str, Any], written: str, _rng: Random) -> None:
    if "subject" in fields:
        fields["subject"] = written


def _in_labels(fields: dict[str, Any], written: str, _rng: Random) -> None:
    fields["labels"] = {**(fields.get("labels") or {}), "contact": written}


def _in_id(fields: dict[str, Any], written: str, rng: Random) -> None:
    fields["id"] = f"{rng.randrange(16**8):08x}:{written}"


def _deep_down(fields: dict[str, Any], written: str, _rng: Random) -> None:
    fields["crm"] = {"people": [{"role": "payer", "reach": [written]}]}


def _in_text(fields: dict[str, Any], written: str, rng: Random) -> None:
    data = fields.get("data")
    text = rng.choice(_TEXTS).format(written)
    if isinstance(data, dict) and "text" in data:
        data["text"] = f"{data['text'] or ''} {text}".strip()
    else:
        fields["note"] = text


_PLACES: Final[tuple[Callable[[dict[str, Any], str, Random], None], ...]] = (
    _as_subject, _in_labels, _in_id, _deep_down, _in_text, _in_text,
)  # fmt: skip


def _written(kind: str, plain: str, rng: Random) -> str:
    """Write an identifier as people do: in some script, in groups with something between them, or in a row."""
    if kind == "email":
        return plain if rng.random() < 0.5 else plain.title()
    letters, digits = plain.rstrip("0123456789"), plain.lstrip("+IRDE")
    separator, groups, at = rng.choice(_SEPARATORS), list[str](), 0
    for length in _GROUPS[kind]:
        groups.append(digits[at : at + length])
        at += length
    grouped = [*groups[:-1], groups[-1] + digits[at:]]
    if kind in {"sheba", "iban"}:
        grouped = [letters + grouped[0][:2], grouped[0][2:] + grouped[1][:2], *_shifted(grouped[1:])]
    elif letters == "+":
        grouped[0] = f"+{grouped[0]}"
    written = separator.join(filter(None, grouped))
    return written.translate(str.maketrans(_SCRIPTS[0], rng.choice(_SCRIPTS)))


def _shifted(groups: list[str]) -> list[str]:
    return [before[2:] + after[:2] for before, after in zip(groups, [*groups[1:], ""], strict=True)]


def _person(rng: Random) -> _Person:
    def digits(number: int) -> str:
        return "".join(rng.choice("0123456789") for _ in range(number))

    def checked(make: Callable[[str], str], check: Callable[[str], bool], number: int) -> str:
        rest = digits(number)
        # One check digit in ten, or two in a hundred, is right.
        while not (found := [made for last in range(100) if check(made := make(f"{rest}{last:02}"))]):
            rest = digits(number)
        return found[0]

    bank = rng.choice(_BANKS)
    return _Person({
        "mobile": f"{rng.choice(('09', '+989', '00989'))}{rng.choice('0123')}{digits(8)}",
        "landline": f"0{rng.choice(_AREAS)}{rng.choice('2345678')}{digits(7)}",
        "abroad": f"+49{rng.choice('123456789')}{digits(9)}",
        "national_id": checked(lambda text: f"00{text}", is_national_id, 6),
        "card": checked(lambda text: f"{bank}{text}", passes_luhn, 8),
        "sheba": checked(lambda text: f"IR{text[-2:]}{text[:-2]}", is_iban, 22),
        "iban": checked(lambda text: f"DE{text[-2:]}{text[:-2]}", is_iban, 18),
        "email": f"{rng.choice(_HANDLES)}{rng.randrange(1_000)}@{rng.choice(_DOMAINS)}",
    })  # fmt: skip
