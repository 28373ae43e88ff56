"""
Keys of one person: which of them remains, and how the history of the others comes to it, wherever they lie.

A key is a customer of a partition. All that partitions say to each other of keys is facts of these types, which travel
like those of events and are addressed to a key:

| type | to | means |
|---|---|---|
| `cx.identity.linked` | the person | another key, `alias`, is the same person |
| `cx.identity.merged` | the key that goes | it is said to the one that remains, `merged_into`, as a link |
| `relate.link` | the person | as `cx.identity.linked` |
| `relate.claim` | the alias | the key `by`, which has so many `joined` and was `claimed` for then, is the same person |
| `relate.state` | the person | all that is known of `alias`, as of the fact's time, and how many keys it has `joined` |

Of two keys that one is claimed for the other, that one moves to which fewer keys were joined, or of equal ones that
which was claimed for longer ago, or never. It has a forwarding in the place of its state: what comes for it is sent on.
So no key has two of them, each leads to a key of higher rank, and there are few between a key and the one that remains.
If two keys ever led to each other after all, because one of them has forgotten its rank, the state of one would come
back to it, and it would take it again.
"""

from base64 import b85decode, b85encode
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import cramjam
import msgspec

from streams.relations import customer
from streams.relations.catalogue import Relations
from streams.relations.customer import CustomerStep
from streams.relations.facts import LINKED, MERGED, Fact, Values, is_made_up, subject_of

LINK: Final = "relate.link"
CLAIM: Final = "relate.claim"
STATE: Final = "relate.state"
FORWARDS_MS: Final = customer.CLAIMED_MS
"""For so long after it was used last, a forwarding is kept."""
_RENEWED_MS: Final = 86_400_000
_SOURCE: Final = "/cx/relate"
_LEVEL: Final = 1
_ORDER: Final = {STATE: 0, LINKED: 1, MERGED: 1, LINK: 1, CLAIM: 2}
_MARK: Final = b"\xc1"
"""Begins what stands in the place of a state: no state begins so."""


class Forwarding(msgspec.Struct, array_like=True, frozen=True):
    """Where a key has moved to, and when that was used last, in milliseconds."""

    to: str
    used: int


@dataclass
class IdentityStep(CustomerStep):
    """
    What one step of one key comes to.

    Attributes:
        letters: Messages to other keys, and to which.
        keys: What became of keys: joined, moved, refused since there was no room, parted again, or forgotten.
    """

    letters: list[tuple[str, Fact]] = field(default_factory=list)
    keys: Counter[str] = field(default_factory=Counter)

    @property
    def moved(self) -> bool:
        """Whether a forwarding stands in the place of the state."""
        return is_forwarding(self.state)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Forwarding).decode


def is_forwarding(state: bytes) -> bool:
    """Return whether it stands in the place of a state, for a key that has moved."""
    return state.startswith(_MARK)


def forwards_to(state: bytes) -> str | None:
    """Return where a key has moved to; None: it has not."""
    return _decode(state[1:]).to if is_forwarding(state) else None


def take(  # noqa: D417 - two are explained together
    relations: Relations, key: str, state: bytes, facts: Sequence[Fact], since: int, until: int, *, room: bool = True
) -> CustomerStep:
    """
    Take one step of one key.

    Args:
        relations: The definitions.
        key: As `customer_of` gives it.
        state: As the last step of this key gave it, or empty.
        facts: What came since, of whatever type.
        since, until: The watermarks before and after the step.
        room: Whether another key may move.

    Returns:
        What it comes to, the same whenever it is worked out again; an `IdentityStep` if it is about keys.
    """
    subject = subject_of(key)
    moving = [fact for fact in facts if fact.type in _ORDER]
    if not state.startswith(_MARK) and (not moving or is_made_up(key)):
        return customer.advance(relations, subject, state, facts, since, until)
    step = IdentityStep(state)
    if is_forwarding(state):
        back = next((fact for fact in facts if fact.type == STATE and fact.values["alias"] == key), None)
        if back is None:
            _send_on(key, step, facts, until)
            return step
        # It has been all the way round: there is no key to which it could have moved.
        step.keys["parted"] += 1
        step.follow(customer.advance(relations, subject, _unpacked(back), (), back.time, since))
        facts = [fact for fact in facts if fact is not back]
    said = [fact for fact in facts if fact.type in _ORDER]
    said.sort(key=lambda fact: (_ORDER[fact.type], fact.time, fact.source, fact.id))
    plain = [fact for fact in facts if fact.type not in {LINK, CLAIM, STATE}]
    step.follow(customer.advance(relations, subject, step.state, plain, since, until))
    _join(relations, key, step, [fact for fact in said if fact.type == STATE], until)
    _claim(relations, key, step, [fact for fact in said if _ORDER[fact.type] == _ORDER[LINK]], until)
    _decide(key, step, [fact for fact in said if fact.type == CLAIM], until, room=room)
    return step


def _send_on(key: str, step: IdentityStep, facts: Iterable[Fact], until: int) -> None:
    """Send what comes for a key that has moved to where it is."""
    forwarding = _decode(step.state[1:])
    for fact in facts:
        if fact.type != CLAIM or fact.values["by"] not in {key, forwarding.to}:
            step.letters.append((forwarding.to, fact))
            step.keys["forwarded"] += 1
    if step.letters and until >= forwarding.used + _RENEWED_MS:
        forwarding = Forwarding(forwarding.to, until)
    _set(step, forwarding)
    if until >= forwarding.used + FORWARDS_MS:
        step.state, step.wakes_at = b"", None
        step.keys["forgotten"] += 1


def _set(step: IdentityStep, forwarding: Forwarding) -> None:
    step.state = _MARK + _encode(forwarding)
    step.wakes_at = forwarding.used + FORWARDS_MS


def _join(relations: Relations, key: str, step: IdentityStep, states: Sequence[Fact], until: int) -> None:
    """Join what is known of other keys, all at once: that costs as much as joining one of them."""
    others, joined = [], 0
    for fact in states:
        joined += int(fact.values["joined"]) + 1
        step.keys["joined"] += 1
        # What is said of them from here on is said where this key lies, so it is said of this key.
        theirs = customer.advance(relations, subject_of(key), _unpacked(fact), (), fact.time, until)
        step.add(theirs)
        others += [theirs.state] if theirs.state else []
    if others:
        step.follow(customer.join(relations, key, step.state, others, until))
    if joined:
        step.follow(customer.claim(relations, step.state, until, until, joined))


def _claim(relations: Relations, key: str, step: IdentityStep, links: Iterable[Fact], until: int) -> None:
    """Claim other keys for this one."""
    for fact in links:
        other = str(fact.values["merged_into" if fact.type == MERGED else "alias"])
        if other == key:
            continue
        if fact.type == MERGED:
            step.letters.append((other, Fact(fact.time, fact.source, fact.id, LINK, {"alias": key})))
            continue
        step.follow(customer.claim(relations, step.state, until, fact.time))
        joined, claimed = customer.rank_of(step.state)
        step.letters.append((other, _claim_of(fact, key, joined, max(fact.time, claimed))))


def _decide(key: str, step: IdentityStep, claims: Iterable[Fact], until: int, *, room: bool) -> None:
    """Move to the key that this one is claimed for, or claim that one."""
    for fact in claims:
        by, rank = str(fact.values["by"]), (int(fact.values["joined"]), int(fact.values["claimed"]))
        if step.moved:
            _send_on(key, step, [fact], until)
            continue
        mine = customer.rank_of(step.state)
        if by == key:
            continue
        if (rank, by) < (mine, key):
            step.letters.append((by, _claim_of(fact, key, *mine)))
        elif not room:
            step.keys["refused"] += 1
        else:
            packed = b85encode(bytes(cramjam.zstd.compress(step.state, _LEVEL))).decode()
            values: Values = {"alias": key, "joined": mine[0], "state": packed}
            step.letters.append((by, Fact(until, _SOURCE, key, STATE, values)))
            step.keys["moved"] += 1
            _set(step, Forwarding(by, until))


def _claim_of(fact: Fact, by: str, joined: int, claimed: int) -> Fact:
    return Fact(fact.time, fact.source, fact.id, CLAIM, {"by": by, "joined": joined, "claimed": claimed})


def _unpacked(fact: Fact) -> bytes:
    return bytes(cramjam.zstd.decompress(b85decode(str(fact.values["state"]))))
