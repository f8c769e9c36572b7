"""Rules: what a slate policy asks of a slate beyond the order of scores. Off but for the floor."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

GROUPS = ("new_sellers", "low_exposure")
"""Whose share of what is shown can be held: listings of sellers who began a short while ago, and
listings that were shown few times so far."""

NAMED = ("brand", "category", "colour", "size", "material", "price")
"""What a search may ask for by name."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The share of what is shown that groups of listings are held to.

    A target is a multiple of the group's share of the live stock: 1 asks that it is shown as much
    as it is there. 0 leaves the group alone.

    Attributes:
        new_sellers: target of listings whose seller's first listing is at most
            `new_seller_days` old, or who sold fewer than `new_seller_sales` so far.
        low_exposure: target of listings shown fewer than `low_exposure_below` times since listed.
        new_seller_days: as above.
        new_seller_sales: as above.
        low_exposure_below: as above.
        every: listings shown between two steps of the controller.
        gain: of the controller, `slates.control.step`.
    """

    new_sellers: float = 0.0
    low_exposure: float = 0.0
    new_seller_days: float = 30.0
    new_seller_sales: int = 5
    low_exposure_below: int = 20
    every: int = 240
    gain: float = 0.4

    @property
    def targets(self) -> tuple[float, ...]:
        """In the order of GROUPS."""
        return (self.new_sellers, self.low_exposure)

    def __bool__(self) -> bool:
        return any(self.targets)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a slate is held to. Weights are in units of the candidates' spread of scores.

    The spread runs from the best to the `reach`-th candidate, so a weight of 1 lifts the last of
    these beside the first.

    Attributes:
        floor: of NAMED, the one that counts most first: a search that asks for it by name shows who
            has it before who has not, whatever the scores. From the third on they count where the
            first two are asked for: who names these wants that very thing. Empty: off.
        page: rules of a page hold for each so many listings of a slate.
        reach: a page is composed from the so many best candidates not shown yet.
        diversity: weight of being unlike what the page shows already, 0 to 1; 0 is off.
        by: mmr | dpp, how it is reached.
        category_cap: at most so many listings of one category on a page; 0 is off.
        category_steps: so many first steps of its path make a listing's category.
        price_cap: at most so many listings of one price band on a page; 0 is off.
        price_bands: the candidates within reach are cut into so many bands of equal numbers.
        freshness: weight of a listing listed just now; 0 is off.
        fresh_days: after so many days half of that weight is left.
        seen_cap: a listing shown so often to a person without an action is put back; 0 is off.
        explore: share of the places that are drawn; 0 is off.
        temperature: of the draws. 0.1: ten times less likely a quarter of the spread below.
        log_scale: the score is so many times the log of what is expected to be gained, as the
            ranker `expected` gives twice that log; 0: the score is the expected gain itself.
        shares: of new sellers and of listings seldom shown.
    """

    floor: tuple[str, ...] = ("category", "brand", "colour", "size")
    page: int = 24
    reach: int = 200
    diversity: float = 0.0
    by: Literal["mmr", "dpp"] = "mmr"
    category_cap: int = 0
    category_steps: int = 2
    price_cap: int = 0
    price_bands: int = 4
    freshness: float = 0.0
    fresh_days: float = 3.0
    seen_cap: int = 0
    explore: float = 0.0
    temperature: float = 0.1
    log_scale: float = 0.0
    shares: Shares = field(default_factory=Shares)

    def __bool__(self) -> bool:
        """Whether any rule is on that does not wait for a search to ask for something by name."""
        weights = (self.diversity, self.category_cap, self.price_cap, self.freshness,
                   self.seen_cap, self.explore)  # fmt: skip
        return any(weights) or bool(self.shares)

    def problems(self) -> list[str]:
        """What is wrong, as sentences.

        >>> Rules(diversity=2).problems()
        ['diversity is 2; wanted 0 to 1']
        """
        shares = self.shares
        within = [
            ("page", self.page, 1, 1_000), ("reach", self.reach, 1, 100_000),
            ("diversity", self.diversity, 0, 1), ("category_cap", self.category_cap, 0, 1_000),
            ("category_steps", self.category_steps, 1, 10), ("price_cap", self.price_cap, 0, 1_000),
            ("price_bands", self.price_bands, 2, 100), ("freshness", self.freshness, 0, 10),
            ("fresh_days", self.fresh_days, 0.01, 10_000), ("seen_cap", self.seen_cap, 0, 1_000),
            ("explore", self.explore, 0, 0.5), ("temperature", self.temperature, 0.001, 100),
            ("log_scale", self.log_scale, 0, 100), ("new_sellers", shares.new_sellers, 0, 100),
            ("low_exposure", shares.low_exposure, 0, 100),
            ("new_seller_days", shares.new_seller_days, 0.01, 10_000),
            ("new_seller_sales", shares.new_seller_sales, 0, 10**9),
            ("low_exposure_below", shares.low_exposure_below, 1, 10**9),
            ("every", shares.every, 1, 10**9), ("gain", shares.gain, 0.0001, 10),
        ]  # fmt: skip
        found = [
            f"{name} is {value:g}; wanted {low:g} to {high:g}"
            for name, value, low, high in within
            if not (isfinite(value) and low <= value <= high)
        ]
        found += [
            f"floor names {name!r}; wanted some of {', '.join(NAMED)}, each once"
            for i, name in enumerate(self.floor)
            if name not in NAMED or name in self.floor[:i]
        ]
        if self.by not in ("mmr", "dpp"):
            found.append(f"by is {self.by!r}; wanted mmr or dpp")
        if self.reach < self.page:
            found.append(
                f"reach is {self.reach}, less than a page of {self.page}; a page is chosen from a "
                "pool larger than it"
            )
        return found
