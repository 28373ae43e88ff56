"""
Surveys by telephone: which keys a caller pressed, and what that answers.

The first valid key of a question is its answer, any other asks the question again, `#` skips it. A key that bounces, so
that it is reported twice within 300 ms, is pressed once, even if the question has changed in between. Who hangs up has
not answered the rest, which is not the same as being dissatisfied.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

BOUNCE_MS: Final = 300
SKIP: Final = "#"
_MOST_POINTS: Final = 9

Outcome: TypeAlias = Literal["answered", "skipped", "unanswered"]


@dataclass(frozen=True, slots=True)
class KeyQuestion:
    """A question with its scale, from `low` to `high`, that one key answers."""

    id: str
    low: int
    high: int

    def __post_init__(self) -> None:
        """
        Check the scale.

        Raises:
            ValueError: It has no two points, or some that one key cannot say.
        """
        if not 0 <= self.low < self.high <= _MOST_POINTS:
            raise ValueError(f"{self.id}: one key answers a scale within 0 to 9, not {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class KeyPress:
    """A key as the switch reports it, and when, in milliseconds of the call."""

    key: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class KeyAnswer:
    """
    What became of a question.

    Attributes:
        score: The answer; None: there is none.
        asked_again: How often it was asked again, after keys that mean nothing.
    """

    question: str
    outcome: Outcome
    score: int | None = None
    asked_again: int = 0


@dataclass(frozen=True, slots=True)
class CallAnswers:
    """What a call came to, question by question."""

    answers: tuple[KeyAnswer, ...]

    @property
    def state(self) -> Literal["complete", "partial", "none"]:
        """Whether all questions were answered, some, or none."""
        answered = sum(one.outcome == "answered" for one in self.answers)
        return "complete" if answered == len(self.answers) else "partial" if answered else "none"

    def score(self, question: str) -> int | None:
        """Return the answer to a question; None: there is none."""
        return next((one.score for one in self.answers if one.question == question), None)


def read_call(presses: Iterable[KeyPress], questions: Sequence[KeyQuestion]) -> CallAnswers:
    """
    Read the keys of a call, until the caller hung up or the last question was over; later keys mean nothing.

    Digits count in every script. Keys are read in the order of their times.

    Raises:
        ValueError: There is no question, or two have one id.
    """
    if not questions or len({one.id for one in questions}) < len(questions):
        raise ValueError(f"expected questions with ids of their own, not {[one.id for one in questions]}")
    keys = _pressed(presses)
    return CallAnswers(tuple(_answer(question, keys) for question in questions))


def _pressed(presses: Iterable[KeyPress]) -> "list[str]":
    """Return the keys that were pressed, the last first; what bounces is one."""
    found: list[str] = []
    last: KeyPress | None = None
    for press in sorted(presses, key=lambda one: one.at_ms):
        key = _plain(press.key)
        if last is None or key != last.key or press.at_ms - last.at_ms > BOUNCE_MS:
            found.append(key)
        last = KeyPress(key, press.at_ms)
    return found[::-1]


def _plain(key: str) -> str:
    """Return a digit of any script as an ASCII one; what is none stays."""
    digit = unicodedata.decimal(key, None) if len(key) == 1 else None
    return key if digit is None else str(digit)


def _answer(question: KeyQuestion, keys: "list[str]") -> KeyAnswer:
    """Take the keys of one question off those that are left."""
    again = 0
    while keys:
        key = keys.pop()
        if key == SKIP:
            return KeyAnswer(question.id, "skipped", None, again)
        if len(key) == 1 and key.isdecimal() and question.low <= int(key) <= question.high:
            return KeyAnswer(question.id, "answered", int(key), again)
        again += 1
    return KeyAnswer(question.id, "unanswered", None, again)


@dataclass(frozen=True, slots=True)
class CallSummary:
    """
    Calls by how far they came.

    Attributes:
        started: Calls in which the survey began.
        complete, partial, silent: Calls with all questions answered, with some, with none.
        scores: The answers of each question, those of partial calls too: who is unhappy hangs up early.
    """

    started: int
    complete: int
    partial: int
    silent: int
    scores: dict[str, list[int]]

    @property
    def completion(self) -> float | None:
        """The share of the calls in which all questions were answered; None: there are none."""
        return self.complete / self.started if self.started else None


def summarise(calls: Iterable[CallAnswers]) -> CallSummary:
    """Count calls by how far they came, and gather the answers of each question."""
    states = {"complete": 0, "partial": 0, "none": 0}
    scores: dict[str, list[int]] = {}
    for call in calls:
        states[call.state] += 1
        for one in call.answers:
            scores.setdefault(one.question, []).extend([] if one.score is None else [one.score])
    return CallSummary(sum(states.values()), states["complete"], states["partial"], states["none"], scores)
