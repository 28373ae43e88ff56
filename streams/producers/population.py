"""The customers: who they are, what they are worth, how patient and how lenient; made on demand, the same each time."""

from random import Random
from typing import Final

import msgspec

REGIONS: Final = (
    ("tehran", 0.26), ("khorasan-razavi", 0.09), ("isfahan", 0.08), ("fars", 0.07), ("khuzestan", 0.07),
    ("east-azerbaijan", 0.06), ("mazandaran", 0.06), ("alborz", 0.06), ("west-azerbaijan", 0.04), ("gilan", 0.05),
    ("kerman", 0.04), ("qom", 0.03), ("hamadan", 0.03), ("kermanshah", 0.03), ("yazd", 0.03),
)  # fmt: skip
"""Provinces with roughly their share of the customers."""

SEGMENTS: Final = (("new", 0.22), ("occasional", 0.38), ("regular", 0.28), ("vip", 0.12))
VALUE: Final = {"new": 0.7, "occasional": 0.8, "regular": 1.2, "vip": 2.6}
"""Basket size of a segment, relative to the mean."""

DEVICES: Final = {
    "web": (("mobile", 0.62), ("desktop", 0.33), ("tablet", 0.05)),
    "app": (("android", 0.78), ("ios", 0.22)),
}


class Customer(msgspec.Struct, frozen=True, gc=False):
    """
    One customer.

    `patience` and `value` are factors around 1; `leniency` is added to satisfaction on a scale from 0 to 1.
    """

    key: str
    anonymous_key: str
    segment: str
    region: str
    lang: str
    digital: str
    device: str
    patience: float
    leniency: float
    value: float
    writes: float
    arabic_letters: bool
    variant: str
    home_store: float


class Population:
    """
    Customers by number, drawn so that a few are much more active than most.

    Args:
        seed: the same seed gives the same people.
        size: how many there are.
    """

    def __init__(self, seed: int, size: int) -> None:
        if size < 1:
            raise ValueError(f"population is {size}; expected at least 1 customer")
        self._seed = seed
        self.size = size
        self._known: dict[int, Customer] = {}

    def draw(self, rng: Random) -> Customer:
        """Pick a customer; the most active tenth makes about a third of the visits."""
        return self.customer(int(self.size * rng.random() ** 2))

    def customer(self, number: int) -> Customer:
        """Return customer `number`, 0 to size - 1."""
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._make(number)
        return found

    def _make(self, number: int) -> Customer:
        rng = Random(f"{self._seed}:customer:{number}")  # noqa: S311 - a simulation wants to be repeatable
        segment = _pick(rng, SEGMENTS)
        digital = (
            "app" if rng.random() < {"new": 0.3, "occasional": 0.4, "regular": 0.55, "vip": 0.6}[segment] else "web"
        )
        return Customer(
            key=f"c-{rng.getrandbits(48):012x}",
            anonymous_key=f"a-{rng.getrandbits(48):012x}",
            segment=segment,
            region=_pick(rng, REGIONS),
            lang="fa" if rng.random() < 0.88 else "en",
            digital=digital,
            device=_pick(rng, DEVICES[digital]),
            patience=rng.lognormvariate(0.0, 0.45) * (0.8 if segment == "vip" else 1.0),
            leniency=rng.gauss(0.0, 0.08) - (0.02 if segment == "vip" else 0.0),
            value=VALUE[segment] * rng.lognormvariate(-0.08, 0.4),
            writes=rng.betavariate(1.5, 4.0),
            arabic_letters=rng.random() < 0.12,
            variant=rng.choice(("control", "one-page")),
            home_store=rng.random(),
        )


def _pick(rng: Random, shares: tuple[tuple[str, float], ...]) -> str:
    left = rng.random() * sum(share for _, share in shares)
    for name, share in shares:
        left -= share
        if left < 0:
            return name
    return shares[-1][0]
