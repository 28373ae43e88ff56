"""
The kinds of values that event fields are made of, each with its unit and its limits.

Limits keep nonsense out of the sums: every one is far beyond what a real touchpoint reports.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final, Literal, get_args

from msgspec import Meta

Attribute = Annotated[str, Meta(min_length=1, max_length=128, description="identifier or dimension value")]
Reference = Annotated[str, Meta(min_length=1, max_length=256, description="URI or path")]
Label = Annotated[str, Meta(min_length=1, max_length=128, description="short name, usable as a dimension")]
Text = Annotated[str, Meta(max_length=20_000, description="what the customer or agent wrote, as written")]
Language = Annotated[str, Meta(min_length=2, max_length=35, description="BCP 47 language tag, such as fa")]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code, such as IRR")]
Time = Annotated[datetime, Meta(tz=True, description="RFC 3339 time with offset")]

Seconds = Annotated[float, Meta(ge=0, le=1e9, description="duration in seconds")]
Milliseconds = Annotated[float, Meta(ge=0, le=1e9, description="duration in milliseconds")]
Hours = Annotated[float, Meta(ge=-1e6, le=1e6, description="hours; negative is earlier than agreed")]
Days = Annotated[float, Meta(ge=0, le=1e6, description="duration in days")]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000, description="how many")]
Position = Annotated[int, Meta(ge=1, le=1_000_000, description="place in an order, first is 1")]
Money = Annotated[float, Meta(ge=0, le=1e13, description="amount in the currency's main unit")]
Points = Annotated[float, Meta(ge=-1e12, le=1e12, description="loyalty points")]
Number = Annotated[float, Meta(ge=-1e15, le=1e15, description="a number of any unit")]
Percent = Annotated[float, Meta(ge=0, le=100, description="percent, 0 to 100")]
Share = Annotated[float, Meta(ge=0, le=1, description="share or probability, 0 to 1")]
Polarity = Annotated[float, Meta(ge=-1, le=1, description="from -1 (negative) to 1 (positive)")]

Scale = Literal[3, 4, 5, 6, 7, 10]

if TYPE_CHECKING:
    Rating = int
else:
    # On the wire a rating may be a number or text in three digit alphabets; once decoded it is an int.
    Rating = int | float | Annotated[str, Meta(min_length=1, max_length=3)]

LABEL_NAME: Final = "^[a-z][a-z0-9_]{0,31}$"
LABEL_LENGTH: Final = 128
MOST_LABELS: Final = 8
LabelName = Annotated[str, Meta(pattern=LABEL_NAME)]
LabelText = Annotated[str, Meta(min_length=1, max_length=LABEL_LENGTH)]
OwnLabels = Annotated[
    dict[LabelName, LabelText],
    Meta(
        max_length=MOST_LABELS,
        description="dimensions of your own, such as plan; KPIs group and filter by it as own_plan",
    ),
]

Channel = Literal["web", "app", "store", "call_center"]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
DERIVED: Final = "derived"
"""Stands where a channel does, of the source of derived events."""
Subchannel = Literal["chat", "email", "sms", "social", "ivr", "kiosk", "courier"]
Stage = Literal["awareness", "discovery", "evaluation", "conversion", "experience", "support", "repurchase"]
