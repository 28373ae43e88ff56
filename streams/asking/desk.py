"""
The surveys of one partition: what customers do comes in, whether they may be asked goes out.

Pure: facts and the watermark come in, records and events go out. Occasions wait until the watermark has passed them,
so that those of one customer are decided on in the order in which they happened; one that comes later than that is
decided on when it comes, and keeps its distance to what was shown after it as well. Who runs it may die at any moment:

1. `take` facts, in order;
2. `begin` a step, write its `records`, and wait: from now on it is fixed what was decided;
3. send `decisions`, and wait;
4. `end` it: write the record that says so.

What was decided and not known to be sent is sent again, the same bytes; what is taken again is known already.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import ceil
from typing import Final, NamedTuple, TypeAlias

import msgspec

from streams.asking.deciding import CustomerAsking, Invitation, invitation_of, turn_of
from streams.asking.definition import SurveyRules, SurveyTrigger
from streams.asking.sending import event_of
from streams.relations.facts import Fact, with_fields
from streams.value.valuations import CUSTOMER_FIELDS, Valuations

Record: TypeAlias = tuple[bytes, bytes | None]

MOST_CUSTOMERS: Final = 100_000
"""Customers of a partition; of more, those are forgotten who were asked longest ago."""
MOST_SHOWN: Final = 200
MOST_WAITING: Final = 500
"""What is kept of one customer; of more, the oldest invitations are forgotten, and what comes is passed over."""
_DAY_MS: Final = 86_400_000
_SWEEPS_MS: Final = 30 * _DAY_MS
LATE_MS: Final = _DAY_MS
"""How much later than others an occasion may come, and find what was shown before it."""
_PREFIX: Final = b"q/"
_SENT_KEY: Final = b"q"


class SurveyDecision(NamedTuple):
    """An event that says whether somebody may be asked, and over which channel it goes."""

    subject: str
    channel: str
    time: int
    payload: bytes


class _AskingFile(msgspec.Struct, array_like=True):
    """
    What is kept of one customer; times in milliseconds since 1970.

    Attributes:
        shown: Survey, time and matter of what they were shown, by time.
        waiting: What the watermark has not passed.
        position: Up to where in the log everything about them is known.
        step: The last step that has changed it.
        decided: Channel, time and event of what was decided in it.
    """

    shown: list[tuple[str, int, str]] = []
    waiting: list[Fact] = []
    position: int = -1
    step: int = 0
    decided: list[tuple[str, int, bytes]] = []


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_AskingFile).decode


def is_of_surveys(key: bytes) -> bool:
    """Return whether a record of a changelog is one of these."""
    return key == _SENT_KEY or key.startswith(_PREFIX)


class SurveyDesk:
    """
    The surveys of one partition.

    Attributes:
        counts: What has happened since it was asked last, by survey: eligible, or the reason against it; and customers
            who had no room: forgotten.
    """

    def __init__(self, rules: SurveyRules, worths: Valuations, most: int = MOST_CUSTOMERS) -> None:
        """Start with nothing; `worths` says what customers are worth, for rules that ask."""
        self._rules, self._worths, self._most = rules, worths, most
        self._opens = frozenset().union(*(survey.opens.events for survey in rules.surveys.values()))
        self._asks = any(survey.asks_customer for survey in rules.surveys.values())
        self._reach = rules.longest_gap() + LATE_MS
        self._files: dict[str, bytes] = {}
        self._wakes: list[tuple[int, str]] = []
        self._dirty: set[str] = set()
        self._unsent: dict[str, list[tuple[str, int, bytes]]] = {}
        self._gone: set[str] = set()
        self._step = 0
        self._swept: int | None = None
        self.counts: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        return len(self._files)

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take over the records of a changelog, those of others too; only on a new desk."""
        sent = 0
        for key, value in records:
            if key == _SENT_KEY:
                sent = msgspec.msgpack.decode(value, type=int)
            elif key.startswith(_PREFIX):
                self._files[key.removeprefix(_PREFIX).decode()] = value
        self._step = sent
        for subject, packed in self._files.items():
            file = _decode(packed)
            self._step = max(self._step, file.step)
            if file.step > sent and file.decided:
                self._unsent[subject] = file.decided
            for fact in file.waiting:
                heapq.heappush(self._wakes, (fact.time, subject))

    def take(self, subject: str, fact: Fact, position: int) -> None:
        """Take in what may be an occasion, or was shown; what was taken in before changes nothing."""
        invited = invitation_of(self._rules, fact)
        if invited is None and fact.type not in self._opens:
            return
        file = self._file(subject)
        if position <= file.position:
            return
        if len(file.waiting) >= MOST_WAITING + (MOST_SHOWN if invited else 0):  # what was shown must hold back
            self.counts["forgotten", ""] += 1
            return
        # By the time the watermark has passed it, so much may be said of the customer that this is known no more.
        file.waiting.append(self._of_customer(subject, fact))
        heapq.heappush(self._wakes, (fact.time, subject))
        self._put(subject, file)

    def begin(self, watermark: float | None) -> bool:
        """Decide on what the watermark (Unix s) has passed; None: there is none. False: nothing has changed."""
        # What happens at the watermark itself may still come.
        until = None if watermark is None else ceil(watermark * 1000) - 1
        woken: set[str] = set()
        while until is not None and self._wakes and self._wakes[0][0] <= until:
            woken.add(heapq.heappop(self._wakes)[1])
        for subject in sorted(woken & self._files.keys()):
            self._decide(subject, until or 0)
        if until is not None:
            self._sweep(until)
        if not self._dirty and not self._unsent and not self._gone:
            return False
        self._step += 1
        return True

    def _decide(self, subject: str, until: int) -> None:
        file = self._file(subject)
        due = [fact for fact in file.waiting if fact.time <= until]
        file.waiting = [fact for fact in file.waiting if fact.time > until]
        asking = CustomerAsking(self._rules)
        for one in file.shown:
            asking.shown(Invitation(*one))
        for turn in self._in_turn(subject, due):
            if isinstance(turn, Invitation):
                self._show(file, asking, turn)
                continue
            decision = asking.decide(turn)
            if decision.eligible:
                file.shown.append((turn.survey, turn.time, turn.matter))
            self.counts[decision.reason or "eligible", turn.survey] += 1
            decided = turn.channel, turn.time, event_of(self._rules, decision)
            self._unsent.setdefault(subject, []).append(decided)
        kept = sorted((one for one in file.shown if one[1] >= until - self._reach), key=lambda one: one[1])
        file.shown = kept[-MOST_SHOWN:]
        self._put(subject, file)

    def _in_turn(self, subject: str, facts: Iterable[Fact]) -> list[Invitation | SurveyTrigger]:
        """Return what was shown and what is an occasion, in the order in which it counts; what was shown first."""
        shown, triggers = list[Invitation](), list[SurveyTrigger]()
        for fact in facts:
            if (invited := invitation_of(self._rules, fact)) is not None:
                shown.append(invited)
            triggers += self._rules.triggers_of(subject, self._of_customer(subject, fact))
        triggers.sort(key=lambda one: turn_of(self._rules, one))
        return sorted([*shown, *triggers], key=lambda one: one.time)

    def _of_customer(self, subject: str, fact: Fact) -> Fact:
        """Return a fact with what its customer was worth when it happened, as is known now, or was."""
        worth = self._worths.as_of(subject, fact.time) if self._asks else None
        if worth is None:
            return fact
        return with_fields(_without_worth(fact), worth.fields())

    @staticmethod
    def _show(file: _AskingFile, asking: CustomerAsking, invited: Invitation) -> None:
        """Note what was shown, unless it is what was decided here, which comes back."""
        if all(one[:2] != (invited.survey, invited.time) for one in file.shown):
            file.shown.append((invited.survey, invited.time, invited.matter))
            asking.shown(invited)

    def records(self, position: int) -> Iterator[Record]:
        """Yield what has to be saved of the step that is begun, with everything up to a position taken in."""
        for subject in sorted(self._dirty | self._unsent.keys()):
            file = self._file(subject)
            file.step, file.decided = self._step, self._unsent.get(subject, [])
            file.position = max(file.position, position)
            self._files[subject] = packed = _encode(file)
            yield _PREFIX + subject.encode(), packed
        for subject in sorted(self._gone):
            yield _PREFIX + subject.encode(), None
        self._dirty, self._gone = set(), set()

    def decisions(self) -> Iterator[SurveyDecision]:
        """Yield what the step that is begun has decided."""
        for subject, decided in self._unsent.items():
            for channel, time, payload in decided:
                yield SurveyDecision(subject, channel, time, payload)

    def end(self) -> Record:
        """End the step, of which everything is sent; return the record that says so."""
        for subject in self._unsent.keys() & self._files.keys():
            file = self._file(subject)
            file.decided = []  # once it is sent, only its time counts
            self._files[subject] = _encode(file)
        self._unsent = {}
        return _SENT_KEY, _encode(self._step)

    def erase(self, is_erased: Callable[[str, int], bool]) -> None:
        """Forget what happened to customers, by their name and its time."""
        for subject in list(self._files):
            if not is_erased(subject, 0):
                continue
            # What was decided stands in the changelog until the customer is written again, whatever is left of them.
            file = _decode(self._files[subject])
            file.shown = [one for one in file.shown if not is_erased(subject, one[1])]
            file.waiting = [_without_worth(one) for one in file.waiting if not is_erased(subject, one.time)]
            unsent = [one for one in self._unsent.pop(subject, ()) if not is_erased(subject, one[1])]
            if unsent:
                self._unsent[subject] = unsent
            self._put(subject, file) if file.shown or file.waiting or unsent else self._drop(subject)

    def take_counts(self) -> Counter[tuple[str, str]]:
        """Return what has happened since the last call."""
        counts, self.counts = self.counts, Counter()
        return counts

    def _file(self, subject: str) -> _AskingFile:
        packed = self._files.get(subject)
        return _decode(packed) if packed is not None else _AskingFile()

    def _put(self, subject: str, file: _AskingFile) -> None:
        self._files[subject] = _encode(file)
        self._dirty.add(subject)
        self._gone.discard(subject)
        if len(self._files) > self._most:
            self._make_room()

    def _drop(self, subject: str) -> None:
        del self._files[subject]
        self._dirty.discard(subject)
        self._gone.add(subject)

    def _sweep(self, until: int) -> None:
        """Forget, now and then, who was asked so long ago that it says nothing any more."""
        if self._swept is not None and until - self._swept < _SWEEPS_MS:
            return
        self._swept = until
        for subject in [one for one, packed in self._files.items() if _newest(packed) < until - self._reach]:
            if subject not in self._unsent:
                self._drop(subject)

    def _make_room(self) -> None:
        """Forget the tenth of all customers who were asked longest ago."""
        known = sorted((_newest(packed), subject) for subject, packed in self._files.items())
        for _, subject in known[: max(1, len(known) // 10)]:
            if subject not in self._unsent:
                self._drop(subject)
                self.counts["forgotten", ""] += 1


def _without_worth(fact: Fact) -> Fact:
    values = {name: value for name, value in fact.values.items() if name not in CUSTOMER_FIELDS}
    return msgspec.structs.replace(fact, values=values)


def _newest(packed: bytes) -> int:
    file = _decode(packed)
    return max((one[1] for one in file.shown), default=0) if not file.waiting else file.waiting[-1].time
