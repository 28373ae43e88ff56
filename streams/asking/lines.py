"""Occasions as files list them: a JSON object a line, either an event or an occasion of a survey that it names."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

import msgspec

from streams.asking.deciding import Invitation
from streams.asking.definition import SurveyRules, SurveyTrigger
from streams.events.decode import decode_stored
from streams.events.refusal import Refusal
from streams.events.scalars import Channel
from streams.relations.facts import Fact, Reader, milliseconds

_MOST_PROBLEMS: Final = 20
_Name = Annotated[str, msgspec.Meta(min_length=1)]


class OccasionError(ValueError):
    """Lines of a file that are no occasions: each with its number and what is wrong."""


@dataclass
class CustomerLines:
    """What the lines of a file say of one customer."""

    facts: list[Fact] = field(default_factory=list)
    triggers: list[SurveyTrigger] = field(default_factory=list)
    shown: list[Invitation] = field(default_factory=list)


class _WrittenOccasion(msgspec.Struct, forbid_unknown_fields=True):
    survey: _Name
    subject: _Name
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    id: _Name
    source: str = ""
    matter: str = ""
    stratum: str = ""
    channel: Channel | None = None
    shown: bool = False


_decode: Final = msgspec.json.Decoder(_WrittenOccasion).decode
_keys: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_occasions(rules: SurveyRules, lines: Iterable[bytes], name: str) -> dict[str, CustomerLines]:
    """
    Read the lines of a file, by customer; empty ones are passed over, and so are those that are the same once more.

    Args:
        rules: What the surveys are.
        lines: An event, or `survey`, `subject`, `time` and `id`, and `source`, `matter`, `stratum` and
            `channel` if they are known; with `shown` it is no occasion, but what the customer was shown.
        name: What errors call the file.

    Raises:
        OccasionError: Lines are neither, or name a survey that no rule defines, or say two things under one id.
    """
    reading = _Lines(rules)
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                reading.take(line, number)
            except (ValueError, RecursionError) as error:
                reading.problems.append(f"{name}:{number}: {str(error) or 'nested too deeply'}")
        if len(reading.problems) >= _MOST_PROBLEMS:
            break
    if reading.problems:
        raise OccasionError("\n".join(reading.problems))
    return reading.customers


class _Lines:
    def __init__(self, rules: SurveyRules) -> None:
        self._rules = rules
        self._reader: Reader = rules.reader()
        self._seen: dict[tuple[str, str, str], tuple[object, int]] = {}
        self.customers: dict[str, CustomerLines] = {}
        self.problems: list[str] = []

    def take(self, line: bytes, number: int) -> None:
        """
        Read one line.

        Raises:
            ValueError: It cannot be right.
        """
        if "survey" in _keys(line):
            self._take_occasion(_decode(line), number)
            return
        event = decode_stored(line)
        if isinstance(event, Refusal):
            raise ValueError(event.message)  # noqa: TRY004 - what came is wrong, not our types
        fact = None if event.synthetic else self._reader.fact(event)
        if fact is not None and self._is_new(("", fact.source, fact.id), fact, number):
            self.customers.setdefault(event.subject, CustomerLines()).facts.append(fact)

    def _take_occasion(self, written: _WrittenOccasion, number: int) -> None:
        time = milliseconds(written.time)
        if not written.shown:
            self._rules.survey(written.survey)
        if not self._is_new((written.survey, written.source, written.id), written, number):
            return
        customer = self.customers.setdefault(written.subject, CustomerLines())
        if written.shown:
            customer.shown.append(Invitation(written.survey, time, written.matter))
        else:
            customer.triggers.append(
                SurveyTrigger(
                    survey=written.survey, subject=written.subject, time=time, id=written.id, source=written.source,
                    matter=written.matter, stratum=written.stratum, channel=written.channel or "",
                )
            )  # fmt: skip

    def _is_new(self, name: tuple[str, str, str], said: object, number: int) -> bool:
        former, line = self._seen.setdefault(name, (said, number))
        if former != said:
            raise ValueError(f"id {name[2]!r} came before in line {line}, and says something else here")
        return line == number
