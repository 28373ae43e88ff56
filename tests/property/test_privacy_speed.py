"""What is skipped to be fast holds nothing: hostile records come out as if every string of them were searched."""

from __future__ import annotations

import json
from collections import Counter
from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st

from streams.privacy.finding import NO_NAMES, Names
from streams.privacy.folding import fold, folded
from streams.privacy.pseudonyms import Pseudonyms, SecretKey
from streams.privacy.records import Protection
from streams.privacy.screening import screened
from streams.privacy.suspicion import is_json
from tests.property.test_privacy import card, national_id, sheba

KEYS = Pseudonyms([SecretKey(b"k" * 32)])
NAMES = Names(["Sara", "سارا محمدی"])
SCRIPTS = ["۰۱۲۳۴۵۶۷۸۹", "٠١٢٣٤٥٦٧٨٩", "０１２３４５６７８９", "०१२३४५६७८९", "߀߁߂߃߄߅߆߇߈߉", "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗"]
UNSEEN_SIGNS = ["\u200c", "\u200e", "\u061c", "\u0640", "\u065c", "\ufe0f", "\ufeff", "\u3164", "\U000e0041", "\0"]
JOINERS = "\u200c" * 20
BETWEEN = [" ", "-", "\t", "/", ".", "\u00a0", "–", "﹘", "\u2800", "  - ", "\n", "(", "+", "٬", ":", "~", "،", "؛", ";", "=", "\v", "\u0301", "۔", "%20", "&nbsp;", "<b>",
           "</b>", '<i class="x">', "&#8206;", "\\u200c", "\\n", "%", "&", "<", *UNSEEN_SIGNS]  # fmt: skip
WHOLE = [
    "09120000012",
    "+989120000012",
    "9120000012",
    "989120000012",
    "%2B989120000012",
    "02122223333",
    "4420123456789",
    national_id("001234567"),
    card("603799112233445"),
    sheba("0170000000100324200001"),
    sheba("0170000000100324200001")[2:],
    "DE89370400440532013000",
    "GB82WEST12345698765432",
    "RO49AAAA1B31007593840000",
    "a@b.co",
    "Sara%40example.com",
    "سارا محمدی",
    "Sara",
    "&#48;9120000012",
    "a%2540b.co",
    "1234567890",
    "100458771234",
    "3b4c5d6e-1234-4123-8123-123456789012",
    "c-b2299655403",
    "2026-03-01T08:00:00.123456Z",
]
PIECES = [
    *WHOLE,
    *BETWEEN,
    "سفارش ",
    "tel",
    "nid:",
    "x",
    "f",
    "IR",
    "de",
    '"',
    "\\",
    "😀",
    "❤️",
    "“",
    "\r",
    "\b",
    "\f",
    "=",
    ",",
]
FIELDS = ["subject", "id", "orderid", "text", "phone", "tel", "national_id", "alias", "x", "09120000012"]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw a text of pieces, some written in another script, some with signs between their characters."""
    text = ""
    for piece in draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5)):
        written = piece.translate(str.maketrans("0123456789", draw(st.sampled_from(["0123456789", *SCRIPTS]))))
        between = draw(st.sampled_from(["", "", "", *BETWEEN]))
        step = draw(st.sampled_from([1, 3, 4]))
        text += between.join(written[at : at + step] for at in range(0, len(written), step)) if between else written
    return text


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """Draw a record: mostly JSON, with escapes or without, with numbers that are no text, or cut and torn."""
    values = st.one_of(
        texts(), st.sampled_from([9120000012, 6037991122334454, 4420123456789, 12.5, 1234567890, 9120000012.0])
    )
    leaf = st.one_of(values, st.lists(values, max_size=2), st.dictionaries(st.sampled_from(FIELDS), values, max_size=2))
    event = draw(st.dictionaries(st.sampled_from(FIELDS), leaf, max_size=4))
    separators: tuple[str, str] = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t:")]))
    sent = json.dumps(event, ensure_ascii=draw(st.booleans()), separators=separators).encode("utf-8", "surrogatepass")
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "torn", "text"])):
        case "cut":
            return sent[: draw(st.integers(0, len(sent)))]
        case "torn":
            at = draw(st.integers(0, len(sent)))
            return sent[:at] + draw(st.sampled_from([b"\xff", b"\xff\xf5\xf5\xf5", b"\\", b'"', b"\xd9"])) + sent[at:]
        case "text":
            return draw(texts()).encode()
    return sent


class Slow(Protection):
    """Searches every string of every record."""

    def __init__(self, names: Names = NO_NAMES, subjects: Literal["recognised", "all"] = "recognised") -> None:
        super().__init__(KEYS, names=names, subjects=subjects)
        self._looks_at_all = True

    def one(self, value: bytes) -> tuple[bytes, Counter[str]]:
        masked = Counter[str]()
        better = self._by_parts(value, masked)
        return (better if is_json(better) else self._plain(better, masked)), masked


@given(
    st.lists(records(), min_size=1, max_size=4),
    st.sampled_from([NO_NAMES, NAMES]),
    st.sampled_from(["recognised", "all"]),
)
@example([rb'{"text":"\n' + national_id("001234567").encode() + b'"}'], NO_NAMES, "recognised")
@example([rb'{"text":"\nDE89370400440532013000"}'], NO_NAMES, "recognised")
@example([rb'{"text":"x\f09120000012"}'], NO_NAMES, "recognised")
@example([b'{"phone":4420123456789}'], NO_NAMES, "recognised")
@example(['{"text":"0912\U000e00410000012"}'.encode()], NO_NAMES, "recognised")
@example(['{"text":"߀߉߁߂߀߀߀߀߀߁߂"}'.encode()], NO_NAMES, "recognised")
@example(['{"text":"0912 \ufe0f0000012"}'.encode()], NO_NAMES, "recognised")
@example(['{"subject":"Sara%۴۰example.com"}'.encode()], NO_NAMES, "recognised")
@example([rb'{"subject":"+\n09120000012"}'], NO_NAMES, "recognised")
@example([b'{"subject":"+98912000001209120000012"}'], NO_NAMES, "recognised")
@example([b'{"text":"\xff\xf5\xf5\xf6 09120000012"}', b"{}"], NO_NAMES, "recognised")
@example([('{"text":"+' + JOINERS + "44201234567" + JOINERS + '89"}').encode()], NO_NAMES, "recognised")
@example([rb'{"subject":"09120000012","subject":"c-\u0031"}'], NO_NAMES, "recognised")
@example([b'{"id":"c-de89370400440532013000"}'], NO_NAMES, "recognised")
@example([rb'{"text":"\\u06f09120000012"}', rb'{"text":"0912<i class=\"x\">0000012"}'], NO_NAMES, "recognised")
@example([b'{"text":"0912:000:0012"}', '{"text":"۰۹۱۲:۰۰۰~۰۰۱۲"}'.encode()], NO_NAMES, "recognised")
@example([b'{"id":"x_09120000012","phone":1234567890}', b"0912-000", b"-0012"], NO_NAMES, "recognised")
@example([b'{"text":"2026-03-04 0912|000|0012"}', b'{"text":"0009123458"}'], NO_NAMES, "recognised")
@example([rb'{"text":"0912\u003ci class=\"x\"\u003e0000012"}'], NO_NAMES, "recognised")
@example([rb'{"text":"0912<i class=\u0022x\u0022>0000012"}'], NO_NAMES, "recognised")
@example([rb'{"text":"a\u005cu0040b.co"}', rb'{"text":"a\u005c%750040b.co"}'], NO_NAMES, "recognised")
@example([rb'{"text":"a\\&#117;0040b.co"}', rb'{"text":"a\\%750040b.co"}'], NO_NAMES, "recognised")
@example([rb'{"text":"0912\\<b>u200c0000012"}', b'{"text":"a\\\\&#8206;u0040b.co"}'], NO_NAMES, "recognised")
def test_what_is_fast_is_what_is_slow(
    values: list[bytes], names: Names, subjects: Literal["recognised", "all"]
) -> None:
    """Whatever is skipped, because a test says that it holds nothing, would have stayed as it is."""
    protected = Protection(KEYS, names=names, subjects=subjects).protect(values)
    slow = Slow(names, subjects)
    together = set(range(len(values)) if names or subjects == "all" else screened(values))
    for index, (value, better) in enumerate(zip(values, protected.values, strict=True)):
        expected, masked = slow.one(value)
        assert better == expected
        assert expected == value or index in together
        if expected != value:
            assert protected.kinds[index] == masked


def test_every_sign_that_folding_knows_is_seen() -> None:
    """No character that is a digit, or separates none, hides an identifier from the quick test."""
    protection, number = Protection(KEYS), "09120000012"
    for code in [*range(0xD800), *range(0xE000, 0x110000)]:
        seen = folded(chr(code))
        if seen in {"", " ", "-"} and chr(code).isprintable():
            text = f'{{"text":"0912{chr(code)}000{chr(code)}0012"}}'.encode()
            assert protection.protect([text]).values != [text], hex(code)
        elif seen.isdigit() and code > 0x7F:
            text = f'{{"text":"{number.replace(seen, chr(code))}"}}'.encode()
            assert protection.protect([text]).values != [text], hex(code)
    for text in ("a\u200c۰", "a\0\t0", "ab\t0"):
        assert folded(text) == fold(text).text
