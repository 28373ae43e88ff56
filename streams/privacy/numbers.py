"""
Telephone numbers, national ids, cards and account numbers among the digits of a folded text.

A run is digits with at most four separators between two of them; its groups are its stretches of digits.
An identifier is one group, or groups as such identifiers are written, or a whole run with one sort of separator.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from streams.privacy.checksums import is_iban_of_iran, is_national_id, passes_luhn

Kind = Literal["email", "phone", "national_id", "card", "iban", "name"]


class Found(NamedTuple):
    """What was found in a folded text, and where."""

    start: int
    end: int
    kind: Kind


_SEPARATORS: Final = r" \-().\[\]/,_*|"
_PLUS: Final = r"\+ ?|(?<=98)\+[)\]] {0,2}|%2[Bb]"
"""Where people write from the right, the plus sign comes behind the code of the country: (98+)."""
_STRETCH: Final = re.compile(rf"[0-9][0-9{_SEPARATORS}]{{9,}}+")
"""Where candidates can be: a class of characters is searched several times as fast as what follows."""
_PLUS_BEFORE: Final = re.compile(rf"(?:{_PLUS})[(\[]?\Z")
_CODE_BEFORE: Final = re.compile(r"[(\[]?(?<![0-9])(?:00)?98\+[)\]]? {0,2}\Z")
_COUNTRY_BEHIND: Final = re.compile(r" ?(?:\+ ?98|98 ?\+)(?![0-9])")
_CANDIDATE: Final = re.compile(rf"[0-9](?:[{_SEPARATORS}]{{0,4}}[0-9]){{9,}}+")
LOOSE: Final = ":~+;=#'`^!"
"""Signs that part digits seldom; each by itself."""
_LOOSE_SIGN: Final = re.compile(f"[{LOOSE}]".replace("^", r"\^"))
_LOOSE_BEGINS: Final = re.compile(f"[0-9]{{3}}{_LOOSE_SIGN.pattern}[0-9]")
_LOOSE: Final = re.compile(f"(?<![0-9])[0-9]++(?:{_LOOSE_SIGN.pattern}[0-9]++)++")
_GROUP: Final = re.compile("[0-9]+")
_WORD: Final = re.compile("[A-Za-z0-9]*")
_HEX: Final = re.compile("[0-9a-fA-F]+")
_COUNTRY: Final = re.compile(r"[Ii][Rr][ :-]{0,2}\Z")
_CODE_GOES_ON: Final = re.compile("_|-[A-Za-z]")
_LONGEST_WORD: Final = 32
_LONGEST_PLUS: Final = 7
"""Characters before a number among which its plus sign is."""

_AREAS: Final = (
    "11|13|17|21|23|24|25|26|28|31|34|35|38|41|44|45|51|54|56|58|61|66|71|74|76|77|81|83|84|86|87"  # of Iran
)
_LOCAL: Final = rf"(?:9[0-9]{{9}}|(?:{_AREAS})[2-9][0-9]{{7}})"
_PHONE: Final = re.compile(rf"0{_LOCAL}|00980?{_LOCAL}|980?9[0-9]{{9}}")
_LANDLINE: Final = re.compile(rf"(?:0|(?:00)?980?)(?:{_AREAS})[2-9][0-9]{{7}}")
_PHONE_AFTER_PLUS: Final = re.compile(rf"980?{_LOCAL}|(?!98)[1-9][0-9]{{9,14}}")
_PHONE_BEGINS: Final = re.compile(rf"09[0-9]{{2}}|0(?:{_AREAS})|(?:00)?98[0-9]*|00")
BARE_MOBILE: Final = re.compile("9[0-9]{9}")
"""A mobile number without the zero: one where a person or a telephone is named, and nowhere else."""
_BARE_MOBILE_ALONE: Final = re.compile(r"(?<!\w)9[0-9]{9}(?!\w)")
"""Also one of a list."""
MOBILE_IN_GROUPS: Final = re.compile("9[0-9]{2}[ .-]?[0-9]{3}(?:[ .-]?[0-9]{2}){2}")
_MOBILE_BEGINS: Final = ("09", "989", "00989")
_CARDS: Final = {
    14: re.compile("30[0-5]|3[689]"),
    15: re.compile("3[47]"),
    16: re.compile("[3-6]|2[2-7]|9[07-9]"),
    19: re.compile("62|4"),
}
_SHAPES: Final[dict[Kind, set[tuple[int, ...]]]] = {
    "national_id": {(3, 6, 1), (3, 3, 4), (3, 3, 3, 1), (1,) * 10},
    "card": {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)},
    "iban": {(4,) * 6, (2, 4, 4, 4, 4, 4, 2)},
}
_ALL_SHAPES: Final = frozenset[tuple[int, ...]]().union(*_SHAPES.values())
_LISTS: Final = frozenset({"/", ",", "|"})
"""What is between numbers of a list."""
_NATIONAL_ID_LENGTH: Final = 10
_CARD_LENGTH: Final = 16
_LENGTHS: Final = range(10, 25)
_POSSIBLE: Final = frozenset({*range(10, 17), 19, 24})
"""How many digits `kind_of` knows identifiers to have."""
_MOST_GROUPS: Final = _LENGTHS[-1] + 2
"""Groups that an identifier and what follows it have at most."""
_HEAD: Final = re.compile(rf"[0-9]++(?:[{_SEPARATORS}]++[0-9]++){{0,{_MOST_GROUPS}}}+")
_BEFORE_NATIONAL_ID: Final = frozenset({"nid", "id", "nin", "ssn", "melli", "codemelli", "user", "customer", "cust"})
_NO_NATIONAL_ID_AFTER: Final = re.compile(
    r"(?:\b(?:orders?|ord|inv|invoice|track|tracking|trk|ticket|parcel|sku|item|zip|postal|postcode|ts|epoch|amount|ref)"
    r"|پستی|سفارش|فاکتور|پیگیری|رهگیری|مبلغ|مرسوله|بارکد|کالا)[\W_]{0,3}(?:(?:no|code|id|number)[\W_]{0,2})?\Z",
    re.IGNORECASE,
)
_NO_NATIONAL_ID_BEFORE: Final = re.compile(
    r" {0,2}(?:ریال|تومان|تومن|ثانیه|rials?\b|irr\b|tomans?\b|seconds?\b|usd\b|eur\b)", re.IGNORECASE
)


def _viable() -> re.Pattern[str]:
    """
    Return what finds the groups, behind the first of a run, that an identifier may begin with: nearly none of a list.

    Which groups follow each other tells whether it can be one; of a telephone also the digits.
    """
    between, gap, fours = rf"[{_SEPARATORS}]{{0,4}}+", rf"[{_SEPARATORS}]++", (4,) * 4
    one = f"[0-9]{{{_LENGTHS[0] - 4},{_LENGTHS[-1] - 4}}}+(?![0-9])"

    def groups(*lengths: int) -> str:
        return gap.join(f"[0-9]{{{length}}}+(?![0-9])" for length in lengths)

    def apart(*digits: str) -> str:
        return between.join(digits)

    mobile, home = apart("9", *["[0-9]"] * 9), apart("[2-9]", *["[0-9]"] * 7)
    areas = "|".join(map(apart, *zip(*_AREAS.split("|"), strict=True)))
    local = f"(?:{mobile}|(?:{areas}){between}{home})"
    zero = f"(?:0{between})?"
    far = f"{apart('0', '0', '9', '8', zero + local)}|{apart('9', '8', zero + mobile)}"
    phone = f"(?:{apart('0', local)}|{far})(?![0-9])"
    behind = apart("98[0-9]", *["[0-9]"] * 7) + r"(?![0-9])(?:\Z| ?98)"
    begins = rf"(?:09[0-9]{{2}}|0(?:{_AREAS})|(?:00)?98[0-9]*+|00)(?![0-9])"
    tails = {
        first: "|".join(groups(*shape[1:]) for shape in sorted(_ALL_SHAPES) if shape[0] == first and shape[:4] != fours)
        for first in (2, 3, 4)
    }
    long = f"{groups(4, 4, 4)}(?:{gap}(?:{groups(4, 4)}|{groups(3)}))?+"
    several = f"{gap}(?:{tails[2]})|[0-9](?:{gap}(?:{tails[3]})|[0-9](?:{gap}(?:{long}|{tails[4]})|{one}))"
    return re.compile(
        f"[{_SEPARATORS}](?=(?=[09])(?={begins})(?:{phone}|{behind})|(?P<digits>[0-9]{{2}}(?:{several})))"
    )


_VIABLE: Final = _viable()
_PARTED: Final = _SEPARATORS.replace("\\", "").encode()


def _is_viable(begun: re.Match[str]) -> bool:
    """Return whether the digits of groups that follow each other as an identifier's do pass as one."""
    written = begun["digits"]
    if written is None:
        return True
    digits = written if written.isdecimal() else written.encode().translate(None, _PARTED).decode()
    if kind_of(digits) is not None:
        return True
    if digits == written:
        return digits.startswith(("98", "0098")) or BARE_MOBILE.fullmatch(digits) is not None
    return len(digits) > _CARD_LENGTH and kind_of(digits[:_CARD_LENGTH]) is not None


def numbers(text: str, *, by_context: bool = True, breaks: AbstractSet[int] = frozenset()) -> Iterator[Found]:
    """
    Yield the identifiers among the digits of a folded text, in order and without overlap.

    With `by_context`, those are left out that the text before or behind says to be something else, such as an amount.
    Groups that span lines, which end at the `breaks`, count only in the groups that such identifiers are written in:
    else they are a list of numbers.
    """
    for candidate in candidates(text):
        start, end = candidate.span()
        yield from _Run(text, start, end, plus=_is_after_plus(text, start), by_context=by_context, breaks=breaks).all()


def _is_after_plus(text: str, start: int) -> bool:
    return _PLUS_BEFORE.search(text, max(0, start - _LONGEST_PLUS), start) is not None


def loosely(text: str) -> str:
    """
    Return a folded text with dashes for colons and other `LOOSE` signs between groups of digits; itself if it has none.

    Groups of two, as times have them, are not parted by these: one before the last is longer.
    """
    return _LOOSE.sub(_with_dashes, text) if _LOOSE_BEGINS.search(text) else text


def _with_dashes(found: re.Match[str]) -> str:
    return _LOOSE_SIGN.sub("-", found[0]) if _LOOSE_BEGINS.search(found[0]) else found[0]


def candidates(text: str) -> Iterator[re.Match[str]]:
    """Yield the stretches of a folded text that have digits enough for an identifier."""
    for stretch in _STRETCH.finditer(text):
        yield from _CANDIDATE.finditer(text, *stretch.span())


def may_be_number(text: str, candidate: re.Match[str]) -> bool:
    """Tell whether `numbers` may find something in a candidate, or something that is a telephone where one is named."""
    start, end = candidate.span()
    written = candidate[0]
    if MOBILE_IN_GROUPS.fullmatch(written) or _BARE_MOBILE_ALONE.search(text, start, end):
        return True
    plus = _is_after_plus(text, start)
    if written.isdigit() and not plus and kind_of(written) is None:
        return False
    return next(_Run(text, start, end, plus=plus, by_context=False).all(), None) is not None


def kind_of(digits: str, *, plus: bool = False) -> Kind | None:
    """Return what all of these digits are together, after a plus sign or not; None if they are no identifier."""
    if (plus or digits[0] in "09") and (_PHONE_AFTER_PLUS if plus else _PHONE).fullmatch(digits):
        return "phone"
    if len(digits) == _NATIONAL_ID_LENGTH:
        return "national_id" if is_national_id(digits) else None
    if len(digits) == 24:
        return "iban" if is_iban_of_iran(digits) else None
    card = _CARDS.get(len(digits))
    return "card" if card and card.match(digits) and passes_luhn(digits) else None


class _Run:
    """The groups of a run, and what is between them."""

    def __init__(
        self, text: str, start: int, end: int, *, plus: bool, by_context: bool, breaks: AbstractSet[int] = frozenset()
    ) -> None:
        self.text = text
        self.start = start
        self.end = end
        self.breaks = breaks
        self.by_context = by_context
        self.plus = plus

    @cached_property
    def groups(self) -> list[tuple[int, int]]:
        """Where its groups begin and end."""
        return [group.span() for group in _GROUP.finditer(self.text, self.start, self.end)]

    @cached_property
    def between(self) -> list[str]:
        """What is between its groups."""
        return [self.text[before[1] : after[0]] for before, after in pairwise(self.groups)]

    def all(self) -> Iterator[Found]:
        """Yield the identifiers in it, in order and without overlap."""
        head = self._head()
        last, kind = head.longest_from(0)
        done = head.groups[last][1]
        if kind is not None:
            yield Found(head.start_of(0, kind), done, kind)
        for begun in _VIABLE.finditer(self.text, done, self.end):
            if begun.end() < done or not _is_viable(begun):
                continue
            first = bisect_left(self.groups, (begun.end(),))
            last, kind = self.longest_from(first)
            if kind is not None:
                done = self.groups[last][1]
                yield Found(self.start_of(first, kind), done, kind)

    def _head(self) -> "_Run":
        """Return the beginning of it, with more groups than an identifier has: of a long run nothing more is parted."""
        end = _HEAD.match(self.text, self.start, self.end).end()  # type: ignore[union-attr]  # a run begins with a digit
        if end == self.end:
            return self
        return _Run(self.text, self.start, end, plus=self.plus, by_context=self.by_context, breaks=self.breaks)

    def longest_from(self, first: int) -> tuple[int, Kind | None]:
        """Return the last group of the longest identifier that begins with group `first`, and what it is."""
        digits, shape = "", tuple[int, ...]()
        found: tuple[int, Kind | None] = first, None
        if first and (self.groups[first][1] - self.groups[first][0] == 1 or self._goes_on(first)):
            return found  # digits one by one are an identifier only if there is nothing else in the run
        for last in range(first, len(self.groups)):
            start, end = self.groups[last]
            if len(digits) + end - start > _LENGTHS[-1]:
                break
            digits += self.text[start:end]
            shape = (*shape, end - start)
            if len(digits) in _POSSIBLE and self._may_be(digits, shape, first, last):
                kind = self._kind(digits, first, last)
                found = (last, kind) if kind else found
        return found

    def _may_be(self, digits: str, shape: tuple[int, ...], first: int, last: int) -> bool:
        """Return whether groups may be an identifier by how they follow each other: none else is looked at."""
        whole = first == 0 and last == len(self.groups) - 1
        return whole or first == last or self.plus or digits[0] in "09" or shape in _ALL_SHAPES

    def _goes_on(self, first: int) -> bool:
        """Return whether a short group is joined to the one before and far from the end: no identifier begins there."""
        start, end = self.groups[first]
        before = self.between[first - 1]
        is_short = end - start < _LENGTHS[0] and len(self.groups) - first > _MOST_GROUPS
        # What is between the numbers of a list is not in them, too.
        return is_short and " " not in before and (before not in _LISTS or self.between[first].strip() == before)

    def start_of(self, first: int, kind: Kind) -> int:
        """Return where an identifier begins, with what is written before its digits."""
        start = self.groups[first][0]
        if kind == "iban":
            letters = _COUNTRY.search(self.text, max(0, start - 3), start)
            return letters.start() if letters else start
        if kind == "phone" and first == 0 and (code := _CODE_BEFORE.search(self.text, max(0, start - 12), start)):
            return code.start()
        while start and self.text[start - 1] in "+(" and first == 0:
            start -= 1
        return start

    def _kind(self, digits: str, first: int, last: int) -> Kind | None:
        plus = self.plus and first == 0
        kind = kind_of(digits, plus=plus)
        if BARE_MOBILE.fullmatch(digits) and _COUNTRY_BEHIND.match(self.text, self.groups[last][1]):
            kind = "phone"
        if kind is None:
            return None
        shape = tuple(end - start for start, end in self.groups[first : last + 1])
        if len(digits) == _NATIONAL_ID_LENGTH and first < last and not plus and shape not in _SHAPES["national_id"]:
            return None
        if self._is_decimal(first, last) or not self._stands_alone(kind, first, last):
            return None
        if first == last:
            return kind
        spans_lines = bool(self.breaks) and self._spans_lines(first, last)
        if spans_lines and (shape == (1,) * 10 or (not plus and digits.startswith("98") and shape[0] != 2)):
            return None
        separators = {separator.strip() for separator in self.between[first:last]}
        whole = first == 0 and last == len(self.groups) - 1
        alone = whole or not self._is_joined(first, last, separators)
        uniform = whole and len(separators) == 1 and separators != {","}
        if kind == "phone":
            begins = plus or _PHONE_BEGINS.fullmatch(digits[: shape[0] if shape[0] > 1 else sum(shape[:2])])
            if begins and (alone or self._has_extension(digits, last)):
                return kind
            return kind if uniform and digits.startswith(_MOBILE_BEGINS) and not self._in_word(first, last) else None
        if uniform and kind != "national_id" and not spans_lines:
            return kind
        return kind if alone and shape in _SHAPES[kind] and "," not in separators else None

    def _spans_lines(self, first: int, last: int) -> bool:
        """Return whether a line ends among these groups."""
        return not self.breaks.isdisjoint(range(self.groups[first][1], self.groups[last][0]))

    def _digits(self, group: int) -> str:
        return self.text[slice(*self.groups[group])]

    def _is_decimal(self, first: int, last: int) -> bool:
        """Return whether a decimal point is before a long group, or between two: 0.0912…, 35.6892… are numbers."""
        if first > 0 and self.between[first - 1] == "." and len(self._digits(first)) > 4:
            return True
        whole = self._digits(first)
        return (
            last == first + 1
            and self.between[first] == "."
            and len(self._digits(last)) > 4
            and (whole == "0" or whole[0] != "0")
            and not self.plus
        )

    def _is_joined(self, first: int, last: int, inside: Collection[str] = ()) -> bool:
        """Return whether another group is joined to these by what stands inside of them, or by dots and dashes."""
        around = self.between[first - 1 : first] + self.between[last : last + 1]
        lists = _LISTS.difference(inside) if inside else ()
        return any(" " not in one and one not in lists for one in around)

    def _has_extension(self, digits: str, last: int) -> bool:
        """Return whether after these groups of a landline there is the short number of an extension, and no more."""
        short = last + 2 == len(self.groups) and len(self._digits(last + 1)) <= 2
        return short and self.between[last] in {"-", "/"} and _LANDLINE.fullmatch(digits) is not None

    def _in_word(self, first: int, last: int) -> bool:
        """Return whether letters are directly before or behind these groups: those of a code."""
        start, end = self.groups[first][0], self.groups[last][1]
        return bool(_word_before(self.text, start) or _WORD.match(self.text, end)[0])  # type: ignore[index]

    def _is_one_of_several(self, first: int, last: int) -> bool:
        """Return whether all groups that are joined to a national id are such ids."""
        joined = [] if first == 0 or " " in self.between[first - 1] else [first - 1]
        joined += [] if last == len(self.between) or " " in self.between[last] else [last + 1]
        return all(is_national_id(self._digits(group)) for group in joined)

    def _stands_alone(self, kind: Kind, first: int, last: int) -> bool:
        """Return whether these groups are no part of a code or hash, and not said to be something else."""
        start, end = self.groups[first][0], self.groups[last][1]
        before = _word_before(self.text, start)
        after = _WORD.match(self.text, end)[0]  # type: ignore[index]  # it matches no letters, too
        if (before or after) and _HEX.fullmatch(before + after):
            return before.lower() == "2b" and self.plus
        if kind != "national_id":
            code = (before and after and first < last) or any(map(str.isdigit, before + after))
            return not code or self.plus
        if before and before.lower() not in _BEFORE_NATIONAL_ID:
            return False
        if after or _CODE_GOES_ON.match(self.text, end):
            return False
        if self._is_joined(first, last) and not (first == last and self._is_one_of_several(first, last)):
            return False
        return not self.by_context or not (
            _NO_NATIONAL_ID_AFTER.search(self.text, max(0, start - 24), start)
            or _NO_NATIONAL_ID_BEFORE.match(self.text, end)
        )


def _word_before(text: str, end: int) -> str:
    start = end
    while start and end - start < _LONGEST_WORD and text[start - 1].isascii() and text[start - 1].isalnum():
        start -= 1
    return text[start:end]
