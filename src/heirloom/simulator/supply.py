"""Supply: drawing new listings, taking listings from a file, price drops and ends by themselves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heirloom.core.listing import Listing
from heirloom.simulator import fitted
from heirloom.simulator.fitted import shares, zipf
from heirloom.simulator.stock import DAY_MS, DIM, ONE_SIZE, Stock, fit_of, unit

_LIFE_DAYS = np.concatenate([np.arange(0.0, 2.0, 0.02), np.arange(2.0, fitted.EXPIRY_DAYS, 0.5)])


def vocabulary_of(stock: Stock) -> None:
    """Give the fitted world's categories, brands, colours and the like their codes."""
    for family, subs in fitted.SUBS.items():
        for sub in subs:
            stock.subs.code(f"{family}/{sub}")
    for brand in fitted.BRANDS:
        stock.brands.code(brand)
    for codes, texts in (
        (stock.colours, list(fitted.COLOURS)),
        (stock.conditions, list(fitted.CONDITIONS)),
        (stock.materials, sorted({m for by in fitted.MATERIALS.values() for m in by})),
    ):
        for text in texts:
            codes.code(text)
    stock.settle()


def draw_listings(
    stock: Stock, rng: np.random.Generator, listed_at: NDArray[np.int64], now: int
) -> NDArray[np.int64]:
    """Draw a listing for each time of `listed_at` [new] (ms); their numbers [new].

    Those listed before `now` have had their price drops and likes in the meantime.
    """
    n = len(listed_at)
    seller = rng.choice(len(stock.sellers.share), n, p=stock.sellers.share).astype(np.int32)
    own = rng.random(n) < 0.7
    theme = np.where(
        own, stock.sellers.themes[seller, rng.integers(0, 2, n)],
        rng.integers(0, len(fitted.THEMES), n),
    ).astype(np.int32)  # fmt: skip
    sub = rng.choice(len(stock.subs), n, p=_sub_shares(stock)).astype(np.int32)
    brand = _draw_brands(stock, rng, theme)
    colour = rng.choice(len(fitted.COLOURS), n, p=shares(np.array([*fitted.COLOURS.values()])))
    condition = rng.choice(len(fitted.CONDITIONS), n, p=shares(_conditions(0)))
    spread = rng.normal(fitted.PHOTOS_LOG_MEAN, fitted.PHOTOS_LOG_SD, n)
    photos = np.clip(np.rint(np.exp(spread)), 1, fitted.PHOTOS_MAX)
    brand_price = np.array([b.log_price for b in fitted.BRANDS.values()])
    usual = brand_price[brand] + _sub_prices(stock)[sub] + _conditions(1)[condition]
    usual = usual + fitted.PRICE_CENTRE
    first = _rounded_price(usual + rng.normal(0.0, fitted.PRICE_NOISE, n))
    age_days = np.maximum(now - listed_at, 0) / DAY_MS
    drops = rng.poisson(stock.sellers.drops_per_day[seller] * _slowed(age_days))
    price = _rounded_price(np.log(first / 100) + fitted.DROP_LOG_FACTOR * drops)
    columns: dict[str, NDArray[Any]] = {
        "sub": sub, "brand": brand, "colour": colour, "condition": condition,
        "material": _draw_materials(stock, rng, sub), "seller": seller, "theme": theme,
        "photos": photos, "usual_log_price": usual, "drops": drops, "price_minor": price,
        "first_price_minor": first, "listed_at": listed_at,
    }  # fmt: skip
    columns["size"], columns["fit"] = _draw_sizes(stock, rng, sub)
    columns |= _worth(stock, rng, columns)
    themes = stock.space.themes[theme]
    columns["style"] = _mixed_style(stock, rng, brand, colour, themes)
    columns["likes"] = _draw_likes(rng, columns, age_days)
    return stock.append(columns)


def take_listings(
    stock: Stock, rng: np.random.Generator, listings: Sequence[Listing], now: int
) -> NDArray[np.int64]:
    """Take listings from elsewhere as the stock; their style is read from their words."""
    for listing in listings:
        stock.subs.code(listing.category or "other")
    sellers = {listing.seller: None for listing in listings}
    seller_code = {name: i for i, name in enumerate(sellers)}
    stock.seller_names[:] = list(sellers)
    columns: dict[str, NDArray[Any]] = {}
    for name, codes in (
        ("brand", stock.brands), ("colour", stock.colours), ("size", stock.sizes),
        ("condition", stock.conditions), ("material", stock.materials),
    ):  # fmt: skip
        texts = [getattr(listing, name) for listing in listings]
        columns[name] = np.array([codes.code(text) for text in texts], np.int32)
    columns["sub"] = np.array([stock.subs.code(x.category or "other") for x in listings], np.int32)
    columns["seller"] = np.array([seller_code[x.seller] for x in listings], np.int32)
    stock.settle()
    columns["photos"] = np.array([x.photos or 4 for x in listings])
    columns["price_minor"] = np.array([x.price_minor for x in listings], np.int64)
    columns["first_price_minor"] = columns["price_minor"]
    columns["listed_at"] = np.array([min(x.listed_at or now, now) for x in listings], np.int64)
    log_price = np.log(np.maximum(columns["price_minor"], 100) / 100)
    columns["usual_log_price"] = _group_means(log_price, columns["brand"], columns["sub"])
    columns["fit"] = np.array([_fit_in(listing) for listing in listings])
    columns |= _worth(stock, rng, columns)
    words = np.stack([_word_style(stock, listing.title) for listing in listings])
    columns["style"] = _mixed_style(stock, rng, columns["brand"], columns["colour"], words)
    numbers = stock.append(columns)
    stock.of_sub["base"] = _sub_means(log_price, columns["sub"], len(stock.subs))
    stock.given.extend(listings)
    stock.numbers.update({listing.listing_id: i for i, listing in enumerate(listings)})
    return numbers


def stationary_ages(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Ages in days [n] of the stock of a marketplace that has long been open.

    In a stationary stock an age is as frequent as the chance to live that long.
    """
    alive = _survival(_LIFE_DAYS)
    mass = np.concatenate([[0.0], np.cumsum((alive[1:] + alive[:-1]) / 2 * np.diff(_LIFE_DAYS))])
    ages: NDArray[np.float64] = np.interp(rng.random(n) * mass[-1], mass, _LIFE_DAYS)
    return ages


def arrivals_per_day(n: int) -> float:
    """New listings a day that keep a stock of n at its size."""
    alive = _survival(_LIFE_DAYS)
    return float(n / np.sum((alive[1:] + alive[:-1]) / 2 * np.diff(_LIFE_DAYS)))


def sale_hazard(age_days: NDArray[np.float64], days: float) -> NDArray[np.float64]:
    """Chance [listings] to sell within the next `days`, given unsold at an age."""
    before = _survival(age_days)
    gone: NDArray[np.float64] = 1.0 - _survival(age_days + days) / np.maximum(before, 1e-12)
    return gone


def draw_drops(
    stock: Stock, rng: np.random.Generator, now: int, days: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Live listings [drops] whose price falls within the next `days`, and their new prices."""
    live = np.flatnonzero(stock.live)
    age = np.maximum(now - stock.column("listed_at")[live], 0) / DAY_MS
    seller = stock.column("seller")[live] % len(stock.sellers.share)
    chance = stock.sellers.drops_per_day[seller] * days / (1.0 + age / fitted.DROP_KNEE_DAYS)
    numbers = live[rng.random(len(live)) < chance]
    factor = fitted.DROP_LOG_FACTOR * rng.gamma(2.0, 0.5, len(numbers))
    old = stock.column("price_minor")[numbers]
    new = np.minimum(_rounded_price(np.log(old / 100) + factor), old - 100)
    keep = new >= 500
    return numbers[keep], new[keep]


def _survival(age_days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chance to be unsold at an age: lognormal lives (fitted.LIFE_…)."""
    z = (np.log(np.maximum(age_days, 1e-6)) - fitted.LIFE_LOG_MEAN) / fitted.LIFE_LOG_SD
    return _normal_tail(z)


def _normal_tail(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - Phi(z), to 1.5e-7 (Abramowitz and Stegun 7.1.26 for erf)."""
    x = np.abs(z) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    series = 1.421413741 + t * (-1.453152027 + t * 1.061405429)
    poly = t * (0.254829592 + t * (-0.284496736 + t * series))
    half = 0.5 * poly * np.exp(-x * x)
    tail: NDArray[np.float64] = np.where(z >= 0, half, 1.0 - half)
    return tail


def _slowed(age_days: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral of 1 / (1 + a / knee) from 0 to the age, in days."""
    slowed: NDArray[np.float64] = fitted.DROP_KNEE_DAYS * np.log1p(age_days / fitted.DROP_KNEE_DAYS)
    return slowed


def _rounded_price(log_price: NDArray[np.float64]) -> NDArray[np.int64]:
    """Prices as people write them: whole euros, above 60 in fives, above 300 in tens."""
    price = np.exp(log_price)
    step = np.where(price > 300, 10.0, np.where(price > 60, 5.0, 1.0))
    rounded: NDArray[np.int64] = (np.maximum(np.rint(price / step) * step, 5) * 100).astype(
        np.int64
    )
    return rounded


def _sub_shares(stock: Stock) -> NDArray[np.float64]:
    weights = []
    for sub in stock.subs.texts:
        family, _, leaf = sub.rpartition("/")
        weights.append(fitted.FAMILY_SHARE[family] * fitted.SUBS[family][leaf].share)
    return shares(np.array(weights))


def _sub_prices(stock: Stock) -> NDArray[np.float64]:
    leaves = [sub.rpartition("/") for sub in stock.subs.texts]
    return np.array([fitted.SUBS[family][leaf].log_price for family, _, leaf in leaves])


def _conditions(field: int) -> NDArray[np.float64]:
    return np.array([moments[field] for moments in fitted.CONDITIONS.values()])


def _draw_brands(
    stock: Stock, rng: np.random.Generator, theme: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Brands popular at large, more often those of the listing's theme."""
    likes = np.array([brand.likes for brand in fitted.BRANDS.values()])
    base = np.log(zipf(len(likes), fitted.BRAND_ZIPF))[np.argsort(np.argsort(-likes))]
    near = stock.space.themes @ stock.brand_style[: len(likes)].T
    noise = rng.gumbel(size=(len(theme), len(likes)))
    drawn: NDArray[np.int32] = np.argmax(base + 2.5 * near[theme] + noise, axis=1).astype(np.int32)
    return drawn


def _draw_materials(
    stock: Stock, rng: np.random.Generator, sub: NDArray[np.int32]
) -> NDArray[np.int32]:
    material = np.zeros(len(sub), np.int32)
    families = np.array([text.split("/")[1] for text in stock.subs.texts])[sub]
    for family, by in fitted.MATERIALS.items():
        rows = np.flatnonzero(families == family)
        codes = np.array([stock.materials.find(text) for text in by], np.int32)
        material[rows] = rng.choice(codes, len(rows), p=shares(np.array([*by.values()])))
    return material


def _draw_sizes(
    stock: Stock, rng: np.random.Generator, sub: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Size codes and body indices [new]; a fifth of clothing carries the EU number."""
    n = len(sub)
    body = rng.choice(6, n, p=shares(np.array(fitted.CLOTHING_SHARE)))
    as_number = rng.random(n) < 0.4
    z = rng.normal(0.0, fitted.SHOE_SPREAD, n)
    size, fit = np.zeros(n, np.int32), np.full(n, np.nan)
    for i, code in enumerate(sub):
        department, family, _ = stock.subs.texts[code].split("/")
        text = ONE_SIZE
        if family == "clothing":
            text = fitted.LETTER_SIZES[body[i]]
            if as_number[i]:
                text = str(fitted.FIRST_EU_SIZE[department] + 2 * int(body[i]))
        elif family == "shoes":
            half = round(2 * min(max(fitted.SHOE_MEAN[department] + z[i], 34), 47)) / 2
            text = f"{half:g}"
        size[i] = stock.sizes.code(text)
        fit[i] = fit_of(text, department, family)
    return size, fit


def _worth(
    stock: Stock, rng: np.random.Generator, columns: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Quality and reliability [new]: the seller, the photos, the condition, and luck."""
    seller = stock.sellers.quality[columns["seller"] % len(stock.sellers.share)]
    photos = np.clip(np.log(columns["photos"] / 7.0), -1.5, 1.0)
    liking = [fitted.CONDITIONS.get(text, (0.0, 0.0, 0.0))[2] for text in stock.conditions.texts]
    condition = np.array(liking)[columns["condition"]]
    hype = np.array([fitted.BRANDS[b].likes if b in fitted.BRANDS else 9.67
                     for b in stock.brands.texts])  # fmt: skip
    wanted = 0.45 * np.log(hype / fitted.MEAN_LIKES)[columns["brand"]]
    luck = rng.normal(0.0, 0.15, len(condition))
    return {
        "quality": 0.3 * seller + 0.5 * photos + 0.8 * condition + wanted + luck,
        "reliability": 0.35 * seller + 0.8 * condition,
    }


def _mixed_style(
    stock: Stock,
    rng: np.random.Generator,
    brand: NDArray[Any],
    colour: NDArray[Any],
    own: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Style [new, DIM] of what the words say, the brand, the colour, and what only eyes see."""
    unseen = unit(rng.normal(size=(len(brand), DIM)))
    mixed = 0.75 * own + 0.45 * stock.brand_style[brand] + 0.3 * stock.colour_style[colour]
    return unit(mixed + 0.25 * unseen)


def _draw_likes(
    rng: np.random.Generator,
    columns: dict[str, NDArray[Any]],
    age_days: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Likes [new] from before the log began; a marginal to fit, no input to any policy."""
    hype = np.array([brand.likes for brand in fitted.BRANDS.values()])[columns["brand"]]
    grown = 1.0 - np.exp(-(age_days + 0.5) / 6.0)
    mean = hype * grown * np.exp(columns["quality"] * 0.6 + rng.normal(0.0, 0.75, len(hype)) - 0.45)
    likes: NDArray[np.int64] = rng.poisson(mean)
    return likes


def _fit_in(listing: Listing) -> float:
    steps = listing.category.split("/")
    return fit_of(listing.size, steps[0], steps[1]) if len(steps) > 1 else float("nan")


def _word_style(stock: Stock, title: str) -> NDArray[np.float64]:
    words = title.lower().split() or [""]
    return unit(np.sum([stock.space.place("word", word) for word in words], axis=0))


def _sub_means(values: NDArray[np.float64], sub: NDArray[Any], n: int) -> NDArray[np.float64]:
    count = np.bincount(sub, minlength=n)
    total = np.bincount(sub, values, minlength=n)
    means: NDArray[np.float64] = (total + 5 * values.mean()) / (count + 5)
    return means


def _group_means(
    values: NDArray[np.float64], brand: NDArray[Any], sub: NDArray[Any]
) -> NDArray[np.float64]:
    """What brand and category lead one to expect, two shrunken main effects."""
    by_sub = _sub_means(values, sub, int(sub.max()) + 1)[sub]
    by_brand = _sub_means(values - by_sub, brand, int(brand.max()) + 1)[brand]
    expected: NDArray[np.float64] = by_sub + by_brand
    return expected
