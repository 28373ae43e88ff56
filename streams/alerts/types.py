"""
What the judge of alerts reads and says: closed minutes in, transitions with their evidence out.

Times are event time in whole minutes, unix seconds // 60; nothing here knows what the clock on the wall says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from streams.kpis.arithmetic.accumulators import Acc

State: TypeAlias = Literal["inactive", "pending", "firing", "resolved"]
"""States of one rule on one series."""

Severity: TypeAlias = Literal["page", "ticket", "info"]
"""How much an alert is worth: wake somebody, look at it today, know of it."""


class SourceHealth(msgspec.Struct, frozen=True):
    """How a source, one partition of a channel's topic, has done lately."""

    channel: str
    silent_minutes: int
    """Minutes up to the judged one in which nothing was read; 0 when something was read in the judged one."""
    read: int
    """Records read in the last five minutes."""
    bad: int
    """Those of them that broke the contract."""


class ClosedView(Protocol):
    """
    Everything as of one closed minute of one merge partition.

    What it returns is to be looked at only. Windows end with `minute`, which is the last minute inside.
    """

    @property
    def minute(self) -> int:
        """The minute, unix seconds // 60."""
        ...

    def series(self, kpi: str) -> Sequence[str]:
        """Return the series keys (`kpis.language.series`) known of a KPI, all groupings; what is known stays known."""
        ...

    def in_minute(self, key: str) -> Acc | None:
        """Return what exactly this minute holds of a series; None when it holds nothing."""
        ...

    def window(self, key: str, name: str) -> Acc | None:
        """
        Return the sum of a series over a kept window (`1m` … `7d`, `total`); None when it holds nothing.

        Raises KeyError for a window that is not kept.
        """
        ...

    def sources(self) -> Mapping[str, SourceHealth]:
        """Return the health of every source, by name: `web/0`."""
        ...


class OpenView(ClosedView, Protocol):
    """
    The newest closed minute with what has come of later ones, of which the last is still open.

    Its windows end with the newest minute that has begun.
    """

    @property
    def ahead(self) -> int:
        """How many minutes after the closed one have begun."""
        ...

    def latest(self, key: str, minutes: int) -> Acc | None:
        """Return what has come of a series for the newest minutes, the open one among them; None when nothing has."""
        ...


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What a detector makes of a series as of one minute."""

    breach: bool | None
    """True: trouble. False: none. None: cannot be judged, because there is too little or nothing at all."""
    recovered: bool | None = None
    """Whether trouble is surely over; None to let `breach` decide. Between breach and recovery a state stays."""
    value: float | None = None
    """In the unit of the KPI, as is whatever else is not said to be otherwise."""
    n: int = 0
    lo: float | None = None
    hi: float | None = None
    baseline: float | None = None
    baseline_n: int = 0
    statistic: float | None = None
    """What is held against the threshold of the method: z, the sum of a CUSUM, a burn rate."""
    reason: str = ""
    """Why, with numbers: goes into the log and onto the pager."""
    threshold: float | None = None
    """What the statistic, or the value, was held against."""
    window: str = ""
    """What was judged, where that is not the rule's own window: a longer one, as that one held too little."""
    is_sure: bool = False
    """Whether trouble is so far beyond the threshold that to wait would tell nothing more."""
    ahead: int = 0
    """Minutes after the closed one that were judged as well, the last of them still open."""


class Contribution(msgspec.Struct, kw_only=True):
    """How much of a change one label set explains: its own rate, and its share of the whole."""

    labels: dict[str, str]
    value: float | None
    baseline: float | None
    """Its value in the window and in the reference."""
    n: int
    baseline_n: int
    rate_effect: float
    """Share · Δvalue: the part of the whole's change that comes from this label set having changed."""
    share_effect: float
    """Δshare · (value − whole): the part that comes from there being more or less of it."""
    explained: float
    """Rate and share effect as part of the whole's change; 1 explains all of it."""
    statistic: float | None = None
    """How sure its own change is, as a z value; None where it cannot be tested."""
    kpi: str = ""
    """The KPI whose change it explains, where that is another one of the same events; empty: the alert's own."""


class Movement(msgspec.Struct, kw_only=True):
    """Something else that moved at the same time."""

    kpi: str
    labels: dict[str, str]
    value: float | None
    baseline: float | None
    statistic: float | None
    unit: str
    note: str = ""
    name: str = ""
    """What people call the KPI."""
    name_fa: str = ""
    """The same in Persian; empty: as in English."""


class Evidence(msgspec.Struct, kw_only=True):
    """All that is known of why a transition happened, as of its minute."""

    method: str = ""
    value: float | None = None
    n: int = 0
    lo: float | None = None
    hi: float | None = None
    unit: str = ""
    window: str = ""
    baseline: float | None = None
    baseline_n: int = 0
    statistic: float | None = None
    threshold: float | None = None
    target: float | None = None
    definition: str = ""
    """Id of the KPI's definition: name and hash."""
    maturity: str = ""
    contributors: list[Contribution] = []
    """Label sets that explain the change, the best explanation first."""
    movements: list[Movement] = []
    verbatims: list[str] = []
    """What customers wrote lately."""
    links: dict[str, str] = {}
    """By what they lead to: dashboard, events, runbook."""
    ahead: int = 0
    """Minutes after the transition's at the end of the window, the last of them still open: what could not wait."""


class Transition(msgspec.Struct, kw_only=True):
    """A rule on a series went from one state to another."""

    seq: int
    """Counts the transitions of a judge from 1; none is left out, none given twice."""
    rule: str
    kpi: str
    labels: dict[str, str]
    """Of the series."""
    old: State
    new: State
    minute: int
    """The closed minute that was judged."""
    why: str
    """`OLD => NEW: reason with numbers`; OLD and NEW may be the same when only the inhibition changed."""
    severity: Severity
    owner: str
    alert_labels: dict[str, str] = {}
    """What the rule adds to the labels of the series, filled in."""
    annotations: dict[str, str] = {}
    inhibited_by: str | None = None
    """What keeps it from being delivered, e.g. `parent Low{}`, `pipeline web`, `mute night`; None: nothing."""
    evidence: Evidence = msgspec.field(default_factory=Evidence)
    episode: str = ""
    """Names what happens from leaving `inactive` until coming back: the same for all its transitions."""
