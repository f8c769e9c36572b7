"""People: buyers with taste, sizes, budgets and needs, as columns by person number."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import Scalar
from heirloom.simulator import fitted
from heirloom.simulator.fitted import shares
from heirloom.simulator.stock import DIM, GROUPS, Stock, unit

FAVOURITES = 5
NEEDS = 2
NEED_DAYS = 6.0
"""Mean life of a need for a category of thing, in days."""


class Taste(NamedTuple):
    """Columns [people] that decide what a listing is worth to a person."""

    department: NDArray[np.float64]
    """[people, paths] liking of departments; 0 for one's own, negative for others."""
    category: NDArray[np.float64]
    """[people, subs] lasting liking of categories."""
    need: NDArray[np.int32]
    """[people, NEEDS] categories wanted now; -1 for none."""
    favourite: NDArray[np.int32]
    """[people, FAVOURITES] brands."""
    fondness: NDArray[np.float64]
    """[people, FAVOURITES] for them."""
    taste: NDArray[np.float64]
    """[people, DIM] in the space of styles, of unit length."""
    fit: NDArray[np.float64]
    """[people, groups] body index by size group."""
    price_level: NDArray[np.float64]
    """ln of what one is used to pay over what the category usually costs."""
    price_sense: NDArray[np.float64]
    """How much a price off that level puts off."""
    bot: NDArray[np.bool_]


class People(NamedTuple):
    """Everyone; `taste` is the truth, the rest is what the marketplace can know or see."""

    taste: Taste
    own_department: NDArray[np.int32]
    """[people] path code of the main department."""
    sessions_per_day: NDArray[np.float64]
    patience: NDArray[np.float64]
    """Chance to ask for another slate."""
    declared: NDArray[np.bool_]
    """[people] whether they stated department, sizes and brands at sign-up."""
    size_code: NDArray[np.int32]
    """[people, groups] the size that they ask for by size group; -1 for none."""
    carelessness: NDArray[np.float64]
    """Chance that a searched word is misspelt."""

    def user(self, person: int) -> str:
        """The token by which events know a person."""
        return f"u{person:06d}"

    def attributes(self, person: int, stock: Stock) -> dict[str, Scalar | list[str]]:
        """What a person stated at sign-up: department and sizes; nothing for those who did not."""
        if not self.declared[person]:
            return {}
        department = stock.paths.texts[self.own_department[person]]
        clothing, shoe = declared_sizes(self.taste.fit[person])
        return {"department": department, "clothing_size": clothing, "shoe_size": shoe}


def declared_sizes(fit: NDArray[np.float64]) -> tuple[str, str]:
    """Clothing and shoe size as people state them, from body indices [groups].

    >>> declared_sizes(np.array([np.nan, 2.0, 3.5]))
    ('m', '38.5')
    """
    return fitted.LETTER_SIZES[int(np.clip(fit[1], 0, 5))], f"{35 + fit[2]:g}"


def draw_people(rng: np.random.Generator, stock: Stock, n: int, sessions_per_day: float) -> People:
    """Draw n people for the categories and brands of a stock."""
    own, department = _draw_departments(rng, stock, n)
    themes = rng.integers(0, len(fitted.THEMES), (n, 2))
    places = stock.space.themes
    taste = unit(
        places[themes[:, 0]] + 0.6 * places[themes[:, 1]] + 0.25 * rng.normal(size=(n, DIM))
    )
    bot = rng.random(n) < 0.005
    activity = rng.lognormal(-0.5, 1.0, n) * sessions_per_day
    sub_liking = _draw_category_liking(rng, stock, n)
    fit = _draw_fit(rng, stock, own)
    sizes = [declared_sizes(row) for row in fit]
    size_code = [(-1, stock.sizes.code(cloth), stock.sizes.code(shoe)) for cloth, shoe in sizes]
    return People(
        taste=Taste(
            department=department,
            category=sub_liking,
            need=draw_needs(rng, stock, own, sub_liking),
            favourite=_draw_favourites(rng, stock, taste),
            fondness=rng.uniform(0.4, 1.0, (n, FAVOURITES)),
            taste=taste,
            fit=fit,
            price_level=rng.normal(0.0, 0.6, n),
            price_sense=rng.gamma(4.0, 0.25, n),
            bot=bot,
        ),
        own_department=own,
        sessions_per_day=np.where(bot, 6.0 * sessions_per_day, np.minimum(activity, 12.0)),
        patience=np.clip(rng.beta(20 * fitted.CONTINUE, 20 * (1 - fitted.CONTINUE), n), 0.2, 0.95),
        declared=(rng.random(n) < 0.4) & ~bot,
        size_code=np.array(size_code, np.int32),
        carelessness=rng.beta(0.8, 9.0, n),
    )


def draw_needs(
    rng: np.random.Generator,
    stock: Stock,
    department: NDArray[np.int32],
    liking: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Categories wanted now [people, NEEDS]: of one's department, common and liked ones first."""
    supply = np.bincount(stock.column("sub"), minlength=len(stock.subs)) + 1.0
    mine = stock.of_sub["department"][None, :] == department[:, None]
    weight = 0.7 * np.log(supply)[None, :] + liking + np.where(mine, 0.0, -6.0)
    noise = rng.gumbel(size=(len(department), len(stock.subs)))
    order = np.argsort(-(weight + noise), axis=1)[:, :NEEDS].astype(np.int32)
    needs = np.full((len(department), NEEDS), -1, np.int32)
    needs[:, : order.shape[1]] = order
    return needs


def renew_needs(rng: np.random.Generator, people: People, stock: Stock, days: float) -> None:
    """Let needs come and go over some days: writes into `people.taste.need`."""
    gone = rng.random(people.taste.need.shape) < -np.expm1(-days / NEED_DAYS)
    rows = np.flatnonzero(gone.any(axis=1))
    if len(rows):
        fresh = draw_needs(rng, stock, people.own_department[rows], people.taste.category[rows])
        kept = people.taste.need[rows]
        people.taste.need[rows] = np.where(gone[rows], fresh, kept)


def _draw_departments(
    rng: np.random.Generator, stock: Stock, n: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Main department [people] and liking of all [people, paths]."""
    departments = np.unique(stock.of_sub["department"])
    weight = np.array(
        [
            {"women": fitted.WOMEN_SHARE, "men": 1 - fitted.WOMEN_SHARE}.get(
                stock.paths.texts[code], 0.02
            )
            for code in departments
        ]
    )
    own = rng.choice(departments, n, p=shares(weight)).astype(np.int32)
    liking = np.full((n, len(stock.paths)), -3.5)
    liking[rng.random(n) < 0.15] = -1.2
    liking[np.arange(n), own] = 0.0
    return own, liking


def _draw_category_liking(rng: np.random.Generator, stock: Stock, n: int) -> NDArray[np.float64]:
    """Lasting liking of categories [people, subs]: by family, and within it."""
    family = rng.normal(0.0, 0.35, (n, len(stock.paths)))[:, stock.of_sub["family"]]
    liking: NDArray[np.float64] = family + rng.normal(0.0, 0.2, (n, len(stock.subs)))
    return liking


def _draw_favourites(
    rng: np.random.Generator, stock: Stock, taste: NDArray[np.float64]
) -> NDArray[np.int32]:
    """Favourite brands [people, FAVOURITES]: frequent ones, and near to one's taste."""
    supply = np.bincount(stock.column("brand"), minlength=len(stock.brands)) + 1.0
    weight = 0.6 * np.log(supply)[None, :] + 2.5 * taste @ stock.brand_style.T
    order = np.argsort(-(weight + rng.gumbel(size=weight.shape)), axis=1)
    favourites = np.full((len(taste), FAVOURITES), -1, np.int32)
    favourites[:, : min(FAVOURITES, order.shape[1])] = order[:, :FAVOURITES]
    return favourites


def _draw_fit(
    rng: np.random.Generator, stock: Stock, department: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Body indices [people, groups], clothing and shoes tied loosely."""
    n = len(department)
    fit = np.full((n, len(GROUPS)), np.nan)
    fit[:, 1] = rng.choice(6, n, p=shares(np.array(fitted.CLOTHING_SHARE)))
    mean = np.array([fitted.SHOE_MEAN.get(path, 39.0) for path in stock.paths.texts])[department]
    tied = mean + 0.5 * (fit[:, 1] - 2.0) + rng.normal(0.0, 0.85 * fitted.SHOE_SPREAD, n)
    fit[:, 2] = np.clip(np.rint(2 * tied) / 2, 34.0, 47.0) - 35.0
    return fit
