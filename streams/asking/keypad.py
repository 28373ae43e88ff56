"""
Surveys by telephone: which keys a caller pressed, and what that answers.

The first valid key of a question is its answer, any other asks the question again, `#` skips it. A key that bounces, so
that it is reported twice within 300 ms, is pressed once, even if the question has changed in between. Who hangs up has
not answered the rest, which is not the same as being dissatisfied.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    """
    A key as the switch reports it.

    Attributes:
        at_ms: When, in milliseconds of the call.
        question: The question that was being asked; empty: the switch does not say, so it is the first not over yet.
    """

    key: str
    at_ms: int
    question: str = ""


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

    Digits count in every script. Keys are read in the order of their times; those of a question that is over by then
    mean nothing, and one of a later question says that those before are over.

    Raises:
        ValueError: There is no question, or two have one id, or a key is of a question that is not asked.
    """
    places = {question.id: place for place, question in enumerate(questions)}
    if not questions or len(places) < len(questions):
        raise ValueError(f"expected questions with ids of their own, not {[one.id for one in questions]}")
    answers = [KeyAnswer(question.id, "unanswered") for question in questions]
    asked = 0
    for press in _without_bounces(presses):
        if press.question and press.question not in places:
            raise ValueError(f"no question {press.question!r} is asked; there are {', '.join(places)}")
        place = places.get(press.question, asked)
        if asked <= place < len(questions):
            answers[place] = _after(answers[place], questions[place], press.key)
            asked = place + (answers[place].outcome != "unanswered")
    return CallAnswers(tuple(answers))


def _without_bounces(presses: Iterable[KeyPress]) -> Iterator[KeyPress]:
    """Yield the keys that were pressed in the order of time, digits as ASCII ones; what bounces is one."""
    last: KeyPress | None = None
    for press in sorted(presses, key=lambda one: one.at_ms):
        digit = unicodedata.decimal(press.key, None) if len(press.key) == 1 else None
        plain = press if digit is None else replace(press, key=str(digit))
        if last is None or plain.key != last.key or plain.at_ms - last.at_ms > BOUNCE_MS:
            yield plain
        last = plain


def _after(answer: KeyAnswer, question: KeyQuestion, key: str) -> KeyAnswer:
    """Return what becomes of a question that is not over by one more key."""
    if key == SKIP:
        return replace(answer, outcome="skipped")
    if len(key) == 1 and key.isdecimal() and question.low <= int(key) <= question.high:
        return replace(answer, outcome="answered", score=int(key))
    return replace(answer, asked_again=answer.asked_again + 1)


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
