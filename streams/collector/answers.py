"""What a sender is told: of a request as a whole, or of each of its events."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from starlette.responses import Response

from streams.events.decode import Refusal

Outcome: TypeAlias = Literal["accepted", "refused", "unconfirmed"]
Verdict: TypeAlias = Literal[
    "accepted", "partly", "refused", "malformed", "denied", "limited", "unavailable", "aborted"
]
RETRY_AFTER_S: Final = 5.0


class EventAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event, by its place in the request."""

    index: int
    id: str | None
    outcome: Outcome
    reason: str | None = None
    path: str | None = None
    got: str | None = None
    expected: str | None = None
    message: str | None = None
    warning: str | None = None
    """What will become of an event that was taken, where that is not what its sender wants."""


class RejectedError(Exception):
    """
    The request as a whole is turned away; nothing of it was taken.

    Args:
        status: HTTP status code.
        reason: a short code, as of dead letters where there is one.
        message: what is wrong and what is expected, in a sentence.
        retry_after_s: when to try again; None: as it is, it will never pass.
        verdict: how it is counted.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        verdict: Verdict = "malformed",
    ) -> None:
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.verdict: Verdict = verdict
        super().__init__(message)

    def response(self) -> Response:
        """Return the answer."""
        headers = {} if self.retry_after_s is None else _retry_after(self.retry_after_s)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return _json({"error": self.reason, "message": str(self)}, self.status, headers)


def answer(
    ids: Sequence[str | None],
    refusals: Mapping[int, Refusal],
    unconfirmed: frozenset[int],
    warnings: Mapping[int, str],
) -> tuple[Verdict, Response]:
    """
    Tell of each event what became of it, in the order of the request.

    202: all are in Kafka. 207: some are, the others were refused. 400: all were refused.
    503: some are not confirmed; they, and only they, should come again, under the same ids.
    """
    answers = [
        _answer(index, event_id, refusals.get(index), unconfirmed, warnings.get(index))
        for index, event_id in enumerate(ids)
    ]
    accepted = len(ids) - len(refusals) - len(unconfirmed)
    content = {"accepted": accepted, "refused": len(refusals), "unconfirmed": len(unconfirmed), "events": answers}
    if unconfirmed:
        return "unavailable", _json(content, 503, _retry_after(RETRY_AFTER_S))
    if not refusals:
        return "accepted", _json(content, 202)
    return ("partly", _json(content, 207)) if accepted else ("refused", _json(content, 400))


def _answer(
    index: int, event_id: str | None, refusal: Refusal | None, unconfirmed: frozenset[int], warning: str | None
) -> EventAnswer:
    if refusal is None:
        return EventAnswer(index, event_id, "unconfirmed" if index in unconfirmed else "accepted", warning=warning)
    return EventAnswer(
        index, event_id, "refused", refusal.reason, refusal.path, refusal.got, refusal.expected, refusal.message
    )


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


def _json(content: Any, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(content),
        status,
        {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})},
        "application/json",
    )
