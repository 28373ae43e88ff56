"""What a relation is: frozen records from which machines, checks and derived event types take their orders."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Final

from streams.events.text import normalise
from streams.kpis.language.expressions import TRUE, Expression
from streams.kpis.language.fields import Kind
from streams.kpis.language.tree import Name
from streams.kpis.language.writing import PYTHON_NAMES
from streams.relations.facts import ORIGIN, Fact, Value, Values, moment_of
from streams.relations.takes import TAKING, TakeName

KEPT: Final = "kept_"
"""What the name of something kept has in front, in conditions."""
Kept = Mapping[str, Any]
NOTHING_KEPT: Final[Kept] = {}


@dataclass(frozen=True)
class Matcher:
    """
    Which events.

    Attributes:
        written: The types as the definition writes them: names and patterns.
        asks_kept: Whether the condition asks for what is kept so far.
        test: The condition alone, to be asked of events of its types.
    """

    events: frozenset[str]
    written: tuple[str, ...]
    where: Expression = TRUE

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", compiled(self.where))
        object.__setattr__(self, "asks_kept", any(name.startswith(KEPT) for name in self.where.fields))

    asks_kept: bool = field(init=False, compare=False)
    test: Callable[[Fact, Kept], bool] = field(init=False, compare=False, repr=False)

    def meets(self, fact: Fact, kept: Kept = NOTHING_KEPT) -> bool:
        """Whether an event is one of those meant."""
        return fact.type in self.events and self.test(fact, kept)

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the event types and fields that it reads."""
        for name in self.events:
            for wanted in self.where.fields:
                if not wanted.startswith(KEPT):
                    yield name, wanted

    def __str__(self) -> str:
        condition = "" if self.where is TRUE else f" where {self.where.text}"
        return f"{', '.join(self.written)}{condition}"


def compiled(expression: Expression) -> Callable[[Fact, Kept], Any]:
    """Compile an expression over an event and what is kept."""
    source = expression.to_python(_reference)
    names = {**PYTHON_NAMES, "moment_of": moment_of}
    return eval(f"lambda f, k: {source}", names)  # type: ignore[no-any-return]  # noqa: S307 - from a checked tree


def _reference(name: str) -> str:
    if name == "type":
        return "f.type"
    if name == "time":
        return "moment_of(f.time)"
    if name.startswith(KEPT):
        return f"k.get({name.removeprefix(KEPT)!r})"
    return f"f.values.get({name!r})"


@dataclass(frozen=True)
class Take:
    """
    What is kept under a name.

    Attributes:
        value: What is taken of each event: an expression, or the name of a field that is a time.
        kind: Of what it comes to.
        before_ms: It is of what came before, at most so long ago; 0: of what comes between opening and end.
        itself: Whether the event that looks back counts too.
        goes_on: Whether what comes between opening and end counts with what came before.
        reads: The field that holds the value; None: it is worked out, or none is taken.
        read: Works the value out; None: it is a field, or none is taken.
    """

    name: str
    take: TakeName
    of: Matcher
    value: Expression | str | None
    kind: Kind
    before_ms: int = 0
    itself: bool = False
    goes_on: bool = False

    def __post_init__(self) -> None:
        value, name, read = self.value, None, None
        if isinstance(value, str):
            name = value
        elif isinstance(value, Expression) and isinstance(value.tree, Name) and value.tree.field.name != "type":
            # Not compiled: as a condition, a field that is missing would be false.
            name = value.tree.field.name
        elif value is not None:
            read = compiled(value)
        object.__setattr__(self, "reads", name)
        object.__setattr__(self, "read", read)

    reads: str | None = field(init=False, compare=False, repr=False)
    read: Callable[[Fact, Kept], Any] | None = field(init=False, compare=False, repr=False)

    @property
    def is_inside(self) -> bool:
        """Whether it takes what comes between opening and end."""
        return self.goes_on or not self.before_ms

    def meets(self, fact: Fact) -> bool:
        """Whether it takes something of an event."""
        return self.of.meets(fact) and (self.value is None or self.value_of(fact) is not None)

    def value_of(self, fact: Fact) -> Value | None:
        """Return what it takes of an event, None if that is missing."""
        if self.read is not None:
            found: Value | None = self.read(fact, NOTHING_KEPT)
            return found
        return None if self.reads is None else fact.values.get(self.reads)

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield the event types and fields that it reads."""
        yield from self.of.fields()
        wanted = self.value.fields if isinstance(self.value, Expression) else {self.value} if self.value else ()
        for name in self.of.events:
            for one in wanted:
                yield name, one


@dataclass(frozen=True)
class Output:
    """One field of a derived event's data; `values` are the only ones it takes, where they are listed."""

    name: str
    kind: Kind
    description: str
    values: tuple[str, ...] = ()
    optional: bool = False


COMMON: Final = (
    Output("span", Kind.TEXT, "names the matter; the same in all revisions"),
    Output("revision", Kind.NUMBER, "counts from 0; a higher one takes the place of a lower one"),
    Output("withdrawn", Kind.BOOL, "whether the event takes back what the same revision said"),
)
"""What every derived event has."""


@dataclass(frozen=True, kw_only=True)
class Relation(ABC):
    """
    What all kinds have.

    Attributes:
        by: Fields whose values tell matters of one customer apart.
        keeps: What is kept, in the order of the definition.
        emits: The type of its derived events.
        revises_ms: How late an event may come and still change results.
    """

    kind: ClassVar[str]
    id: str
    name: Mapping[str, str]
    question: str
    owner: str
    by: tuple[str, ...]
    keeps: tuple[Take, ...]
    emits: str
    revises_ms: int
    text: str
    """The block as it is written; of another text, states are not read."""

    @cached_property
    def version(self) -> str:
        """Eight characters that change with the definition."""
        return hashlib.blake2b(self.text.encode(), digest_size=4).hexdigest()

    @abstractmethod
    def matchers(self) -> Iterator[tuple[str, Matcher]]:
        """Yield the keys of the definition that name events, but those of what is kept."""

    @abstractmethod
    def origins(self) -> frozenset[str]:
        """Return the event types of which derived events are made."""

    @property
    @abstractmethod
    def begins(self) -> frozenset[str]:
        """The event types of which something is kept though nothing is yet: of all others nothing is."""

    @abstractmethod
    def rank(self, event_type: str) -> int:
        """Tell what comes first within one moment: openings 0, touches 1, closings 2."""

    @abstractmethod
    def outputs(self) -> tuple[Output, ...]:
        """Return the fields of its derived events."""

    @cached_property
    def ranks(self) -> Mapping[str, int]:
        """The event types that it reads, and what comes first within one moment."""
        return {name: self.rank(name) for name in self.events}

    def order(self, fact: Fact) -> tuple[int, int, str, str]:
        """Return what puts an event that it reads in its place among the others."""
        return fact.time, self.ranks[fact.type], fact.source, fact.id

    @cached_property
    def events(self) -> frozenset[str]:
        """All event types that it reads."""
        return frozenset().union(
            *(matcher.events for _, matcher in self.matchers()), *(t.of.events for t in self.keeps)
        )

    @cached_property
    def times(self) -> frozenset[str]:
        """The fields of its derived events that hold times."""
        return frozenset(output.name for output in self.outputs() if output.kind is Kind.TIME)

    def fields(self) -> Iterator[tuple[str, str]]:
        """Yield all event types with the fields that it reads of them."""
        for name in self.events:
            for key in self.by:
                yield name, key
        for _, matcher in self.matchers():
            yield from matcher.fields()
        for take in self.keeps:
            yield from take.fields()
        for name in self.origins():
            for attribute in (*ORIGIN, "labels"):
                yield name, attribute

    def key_of(self, values: Values) -> tuple[Value, ...] | None:
        """Return which matter of the customer an event belongs to, None if it does not say."""
        by = self.by
        if not by:
            return ()
        found = []
        for name in by:
            value = values.get(name)
            if isinstance(value, str):
                value = normalise(value)
            if value is None or value == "":
                return None
            found.append(value)
        return tuple(found)

    def key_data(self, key: Iterable[Value]) -> Values:
        """Return what of a key is said in the data: attributes stand in the envelope already."""
        return {name: value for name, value in zip(self.by, key, strict=True) if name not in ORIGIN}

    def kept_outputs(self) -> tuple[Output, ...]:
        """Return the fields of derived events that hold what is kept, and what tells matters apart."""
        own = [Output(name, Kind.TEXT, "tells matters apart") for name in self.by if name not in ORIGIN]
        return (
            *own,
            *(
                Output(take.name, take.kind, f"{take.take} of {take.of}", optional=_may_lack(take))
                for take in self.keeps
            ),
        )


def folded_key(key: Iterable[Value]) -> tuple[Value, ...]:
    """Return what tells matters apart as it is compared: two keyboards name one matter."""
    return tuple(normalise(one) if isinstance(one, str) else one for one in key)


def _may_lack(take: Take) -> bool:
    return TAKING[take.take].result(None, 0) is None
