"""
The parameters of each detection method, as rules write them below `params:`.

Values that stand for the KPI (targets, normal values, margins) are in the KPI's own unit, e.g. 85 for 85 %. On which
side trouble lies, the KPI's direction says; a KPI without one is watched on both sides by the methods that can.
Windows are the names of kept windows (`1h`). A *baseline* window ends with the same minute as the rule's window and
leaves it out: it is the longer window minus the shorter, so the two never overlap.

The descriptions below are what `docs/RULES.md` says of each key.
"""

from statistics import NormalDist
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta

METHODS: Final = ("floor", "ztest", "cusum", "ewma", "seasonal", "burn_rate", "absence", "mix_shift")

WINDOWS_IN: Final = ("baseline", "long", "short")
"""Keys that name a kept window."""


class ParamError(ValueError):
    """
    A parameter that cannot be right.

    Attributes:
        key: The key it stands under.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    What all methods share.

    Raises:
        ParamError: A value is of the wrong kind or out of range, or two of them do not go together.
    """

    aggregators: ClassVar[tuple[str, ...]] = ()
    """Kinds of KPI that the method can judge."""
    sided: ClassVar[bool] = True
    """Whether the method needs a KPI with a better and a worse side."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise ParamError(field.encode_name, f"{field.encode_name} = {value!r}: {error}") from None
        self.check()

    def check(self) -> None:
        """
        Check what several values have to agree on.

        Raises:
            ParamError: They do not.
        """


Window: TypeAlias = Annotated[str, Meta(pattern="^[1-9][0-9]{0,3}[mhd]$")]
Positive: TypeAlias = Annotated[float, Meta(gt=0, le=1e9)]
Z: TypeAlias = Annotated[float, Meta(gt=0, le=38)]


class Floor(Params, frozen=True, kw_only=True):
    """The value is on the wrong side of a target, and so is its whole interval: for collapse, and for promises."""

    aggregators: ClassVar = ("ratio", "mean", "nps", "quantile")

    target: Annotated[float, Meta(description="What the value must not fall below (or rise above).")]
    confidence: Annotated[
        Annotated[float, Meta(gt=0.5, lt=1)] | None,
        Meta(description="Two-sided confidence of the interval; or give `z`."),
    ] = None
    z: Annotated[Z | None, Meta(description="Half-width of the interval in standard errors; 3.29 is 99.9 %.")] = None

    def check(self) -> None:
        """Refuse two widths of one interval."""
        if self.confidence is not None and self.z is not None:
            raise ParamError("z", "'confidence' and 'z' say the same: give one of them")

    @property
    def critical(self) -> float:
        """The half-width of the interval in standard errors; 3.29 (99.9 %) unless told otherwise."""
        if self.z is not None:
            return self.z
        return NormalDist().inv_cdf((1 + (self.confidence or 0.999)) / 2)


class ZTest(Params, frozen=True, kw_only=True):
    """The window is worse than the time before it: two proportions, two means (Welch), two NPS, two rates."""

    aggregators: ClassVar = ("ratio", "mean", "nps", "count", "quantile")
    sided: ClassVar = False

    baseline: Annotated[Window, Meta(description="Window it is compared with; longer than the rule's.")]
    z: Annotated[Z, Meta(description="How many standard errors apart is a change.")] = 3.7
    min_expected: Annotated[
        Positive, Meta(description="Successes and failures that both sides need before a ratio is tested.")
    ] = 5.0
    min_change: Annotated[
        float, Meta(ge=0, description="Smallest change worth an alert, however sure it is; in the KPI's unit.")
    ] = 0.0


class Cusum(Params, frozen=True, kw_only=True):
    """
    Evidence of a lasting worse level, added up minute by minute: for erosion.

    Each answer adds the log-likelihood of `p1` against `p0`, whatever the KPI, and `h` counts natural-log units; of a
    mean score that is the classical sum with slack k = δ/2, and where δ is one deviation, `h` counts deviations.
    `h` is meant for one answer a minute; with more, the threshold rises by the logarithm of their number.
    A learnt normal value that is not better than `p1` cannot be judged: no verdict.
    """

    aggregators: ClassVar = ("ratio", "mean", "nps")

    p0: Annotated[float | None, Meta(description="The normal value; or give `baseline`.")] = None
    baseline: Annotated[
        Window | None, Meta(description="Window from which the normal value is learnt; or give `p0`.")
    ] = None
    p1: Annotated[float | None, Meta(description="The value that is worth an alert; or give `delta`.")] = None
    delta: Annotated[
        Positive | None, Meta(description="How far from normal is worth an alert, in the KPI's unit; or give `p1`.")
    ] = None
    h: Annotated[Positive, Meta(description="Evidence at which it fires; 7 to 9; docs/DETECTION.md.")] = 8.0
    min_failures: Annotated[
        int, Meta(ge=1, le=10**6, description="Bad answers that the run must hold, so that one person cannot page.")
    ] = 10
    head_start: Annotated[
        float,
        Meta(ge=0, lt=1, description="Part of `h` that a fresh series begins with: sees soon what is bad already."),
    ] = 0.0
    sd: Annotated[
        Positive | None, Meta(description="Standard deviation of one answer; learnt from `baseline` if left out.")
    ] = None

    def check(self) -> None:
        """Demand one normal value and one worse value."""
        if (self.p0 is None) == (self.baseline is None):
            raise ParamError("p0", "give either 'p0', the normal value, or 'baseline', the window to learn it from")
        if (self.p1 is None) == (self.delta is None):
            raise ParamError("p1", "give either 'p1', the value worth an alert, or 'delta', how far from normal it is")
        if self.p0 is not None and self.p0 == self.p1:
            raise ParamError("p1", "'p1' equals 'p0': nothing would ever be worse")


class Ewma(Params, frozen=True, kw_only=True):
    """
    A smoothed value leaves the band around normal: for drifts smaller than one window shows.

    Each closed block of the rule's `window` that has answers is one observation; blocks do not overlap.
    """

    aggregators: ClassVar = ("ratio", "mean", "nps")
    sided: ClassVar = False

    lambda_: Annotated[float, Meta(gt=0, le=1, description="Weight of the newest block; 0.2 to 0.3 is usual.")] = (
        msgspec.field(default=0.2, name="lambda")
    )
    limit: Annotated[Z, Meta(description="Half-width of the band in standard errors of the smoothed value (L).")] = 3.0
    baseline: Annotated[Window, Meta(description="Window from which level and spread are learnt.")]


class Seasonal(Params, frozen=True, kw_only=True):
    """The value is far from what this hour of the week usually has, by median and MAD over some weeks."""

    aggregators: ClassVar = ("count", "sum", "ratio", "mean", "nps", "quantile")
    sided: ClassVar = False

    weeks: Annotated[int, Meta(ge=2, le=26, description="Weeks of history to learn from.")] = 6
    min_weeks: Annotated[
        int, Meta(ge=2, le=26, description="Weeks an hour must have been seen in; until then nothing is judged.")
    ] = 3
    z: Annotated[Z, Meta(description="How many (robust) standard deviations away is unusual.")] = 4.0
    margin: Annotated[float, Meta(ge=0, description="Further distance that is still usual, in the KPI's unit.")] = 0.0
    calendar: Annotated[
        str, Meta(description="Calendar whose zone, weekend and holidays tell hours of the week apart; UTC if none.")
    ] = ""

    def check(self) -> None:
        """Refuse more weeks than are read."""
        if self.min_weeks > self.weeks:
            raise ParamError("min_weeks", f"min_weeks = {self.min_weeks} is more than weeks = {self.weeks}")


class BurnRate(Params, frozen=True, kw_only=True):
    """
    The error budget of a promise burns too fast, over a long and over a short window alike.

    Burn is the share of misses over the share that the target allows. It cannot exceed 1/(1 - target): a promise of
    80 % burns at most 5 times, so factors made for 99.9 % would never fire.
    """

    aggregators: ClassVar = ("ratio",)

    target: Annotated[float, Meta(description="The promise, in the KPI's unit.")]
    factor: Annotated[Positive, Meta(description="Burn at which it fires; below 1/(1 - target).")]
    long: Annotated[Window, Meta(description="Window that shows it matters.")]
    short: Annotated[Window, Meta(description="Window that shows it still goes on; shorter.")]


class Absence(Params, frozen=True, kw_only=True):
    """Next to nothing comes though much was expected: a dead collector, not a quiet moment."""

    aggregators: ClassVar = ("count",)
    sided: ClassVar = False

    baseline: Annotated[Window, Meta(description="Window whose rate is expected to go on.")] = "1h"
    p_value: Annotated[
        float, Meta(gt=0, lt=0.5, description="Chance of so few events by luck (Poisson) below which it fires.")
    ] = 1e-6
    min_expected: Annotated[Positive, Meta(description="Events to be expected before silence means anything.")] = 20.0
    at_most: Annotated[
        float, Meta(ge=0, lt=1, description="Share of the expected volume that still counts as absent; 0 is silence.")
    ] = 0.2


class MixShift(Params, frozen=True, kw_only=True):
    """
    A total moves because other customers come, not because any of them is served worse.

    The change against the baseline is split by a label into Σ share·Δrate and Σ Δshare·rate; the second is judged.
    """

    aggregators: ClassVar = ("ratio", "mean", "nps")

    label: Annotated[str, Meta(min_length=1, description="Label by which the total is split; the KPI must keep it.")]
    baseline: Annotated[Window, Meta(description="Window it is compared with; longer than the rule's.")]
    min_effect: Annotated[Positive, Meta(description="Change by mix alone that is worth an alert, in the KPI's unit.")]
    p_value: Annotated[
        float, Meta(gt=0, lt=0.5, description="Chance of such other shares by luck (χ²) below which it fires.")
    ] = 1e-4
    min_expected: Annotated[
        Positive, Meta(description="Answers a label value must be expected to have to enter the test.")
    ] = 5.0


PARAMS: Final[dict[str, type[Params]]] = {
    "floor": Floor, "ztest": ZTest, "cusum": Cusum, "ewma": Ewma, "seasonal": Seasonal, "burn_rate": BurnRate,
    "absence": Absence, "mix_shift": MixShift,
}  # fmt: skip
