"""One run of a path: what was sent, what is known of it by now, and in the end what did not come."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from streams.events.families.synthetic import Leg
from streams.synthetic.definition import SyntheticPath

_REPEATS_S: Final = 1.0
"""After the last repeat of an event it is looked once more how often it is stored."""


class StoredRow(NamedTuple):
    """What the store has of an event: in how many rows, whether it came too late to be counted, and whose it is."""

    copies: int
    late: bool
    subject: str


class RunCheck(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Something that had to come of a step (from 1 on; of a path as a whole: None), and whether it did.

    Attributes:
        reason: A word for what went wrong.
        text: The same for people.
    """

    leg: Leg
    ok: bool
    step: int | None = None
    event: str = ""
    latency_s: float | None = None
    reason: str = ""
    text: str = ""


class RunReport(msgspec.Struct, frozen=True):
    """What came of a run; `failed` names the first check that did not hold."""

    path: str
    channel: str
    run: str
    ok: bool
    duration_s: float
    failed: str
    checks: list[RunCheck]


class PathRun:
    """
    One run. Moments are seconds of a clock that nobody sets.

    Attributes:
        subject: Under which the store has it, once that is known.
    """

    def __init__(self, path: SyntheticPath, run: str, began: float, running: frozenset[str] = frozenset()) -> None:
        """Begin; of what relations must say, those types are expected that are `running`."""
        self.path, self.run, self._began = path, run, began
        self.deadline = began + path.within_s
        self.subject = ""
        self._derives = [one for one in path.derives if one.type in running]
        self._sent: dict[int, float] = {}
        self._checks: dict[tuple[str, int], RunCheck] = {}
        self._looked = self._last = began

    def answered(self, number: int, sent: float, now: float, reason: str = "", text: str = "") -> bool:
        """Take the door's answer to a step (from 0 on), a reason if it was not accepted; tell whether to go on."""
        step = self.path.steps[number]
        ok, leg = reason == step.refused, "refused" if step.refused else "accepted"
        if ok and not step.refused:
            self._sent.setdefault(number, now)
            self._last = now
        if not ok and not reason:
            reason, text = "accepted", f"was to be refused as {step.refused!r}"
        elif ok:
            reason = text = ""
        self._note(leg, number, ok=ok, latency_s=now - sent, reason=reason, text=text)
        return ok

    def id_of(self, number: int) -> str:
        """Return the id of the event of a step."""
        return f"{self.run}/{number + 1}"

    def awaited(self) -> dict[str, int]:
        """Return the steps that must be in the store, by id."""
        return {self.id_of(number): number for number in self._sent}

    def stored(self, rows: Mapping[str, StoredRow], now: float) -> None:
        """Take what the store has by now."""
        self._looked = now
        for name, number in self.awaited().items():
            if (row := rows.get(name)) is None:
                continue
            self.subject = row.subject
            known = self._checks.get(("stored", number))
            latency_s = now - self._sent[number] if known is None else known.latency_s
            if row.copies > 1:
                self._note("stored", number, ok=False, latency_s=latency_s, reason="stored_twice",
                           text=f"is stored in {row.copies} rows")  # fmt: skip
            elif row.late:
                self._note(
                    "stored", number, ok=False, latency_s=latency_s, reason="late", text="came too late to be counted"
                )
            elif known is None:
                self._note("stored", number, ok=True, latency_s=latency_s)

    def derived(self, events: Mapping[str, list[Mapping[str, Any]]], now: float) -> None:
        """Take the data of derived events that hold by now, by type."""
        for number, one in enumerate(self._derives):
            holding = events.get(one.type, [])
            if any(all(data.get(name) == value for name, value in one.says.items()) for data in holding):
                self._checks.setdefault(
                    ("derived", number),
                    RunCheck("derived", ok=True, event=one.type, latency_s=round(now - self._last, 3)),
                )

    def missing(self) -> list[int]:
        """Return the steps that are not in the store yet."""
        return [number for number in self._sent if ("stored", number) not in self._checks]

    @property
    def awaits_derived(self) -> frozenset[str]:
        """The types of derived events that are still to come."""
        return frozenset(
            one.type for number, one in enumerate(self._derives) if ("derived", number) not in self._checks
        )

    def is_done(self, now: float) -> bool:
        """Return whether nothing more is waited for, of steps that were all answered."""
        repeats = any(step.times > 1 for step in self.path.steps)
        looked = self._looked if repeats else now
        last = self._last + (_REPEATS_S if repeats else 0.0)
        return now >= self.deadline or (not self.missing() and not self.awaits_derived and looked >= last)

    def report(self, now: float, why: Mapping[int, str]) -> RunReport:
        """End the run; `why` says of steps that are not stored what the store or the dead letters know of them."""
        checks = [*self._all(why)]
        failed = next((one for one in checks if not one.ok), None)
        named = (
            "" if failed is None else f"step {failed.step} {failed.leg}" if failed.step else f"{failed.event} derived"
        )
        return RunReport(
            self.path.id, self.path.channel, self.run, failed is None, round(now - self._began, 3), named, checks
        )

    def _all(self, why: Mapping[int, str]) -> Iterator[RunCheck]:
        waited = f"did not come within {self.path.within_s:g} s"
        for number, step in enumerate(self.path.steps):
            first = "refused" if step.refused else "accepted"
            yield self._checks.get((first, number)) or self._failed(first, number, "not_reached", "was not reached")
            if not step.refused and number in self._sent:
                yield self._checks.get(("stored", number)) or self._failed(
                    "stored", number, "not_stored", why.get(number) or waited
                )
        for number, one in enumerate(self._derives):
            yield self._checks.get(("derived", number)) or RunCheck(
                "derived", ok=False, event=one.type, reason="not_derived", text=waited
            )

    def _note(
        self, leg: str, number: int, *, ok: bool, latency_s: float | None, reason: str = "", text: str = ""
    ) -> None:
        latency_s = None if latency_s is None else round(latency_s, 3)
        self._checks[leg, number] = RunCheck(leg, ok, number + 1, self.path.steps[number].type, latency_s, reason, text)  # type: ignore[arg-type]

    def _failed(self, leg: str, number: int, reason: str, text: str) -> RunCheck:
        return RunCheck(leg, False, number + 1, self.path.steps[number].type, None, reason, text)  # type: ignore[arg-type]


def results_of(report: RunReport, at: str) -> list[dict[str, Any]]:
    """Return the events that tell of a run that ended at a moment: each check, and the run as a whole."""
    about = {"time": at, "source": "/cx/synthetic", "subject": "synthetic", "channel": report.channel}
    found = [
        {
            **about,
            "id": f"{report.run}/check/{number}",
            "type": "cx.synthetic.checked",
            "data": {
                "path": report.path, "leg": one.leg, "ok": one.ok,
                **({"step_number": one.step} if one.step is not None else {}),
                **({"latency_s": one.latency_s} if one.latency_s is not None else {}),
                **({"reason": one.reason} if one.reason else {}),
            },
        }
        for number, one in enumerate(report.checks)
    ]  # fmt: skip
    data = {
        "path": report.path, "run": report.run, "ok": report.ok, "duration_s": report.duration_s,
        **({"failed": report.failed} if report.failed else {}),
    }  # fmt: skip
    return [*found, {**about, "id": f"{report.run}/finished", "type": "cx.synthetic.finished", "data": data}]
