"""Stock: sellers and their one-of-a-kind listings, as columns by listing number.

A listing's number is its row; it is never reused. `Goods` is what the truth's kernels read.
"""

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError
from heirloom.core.listing import Listing, Status
from heirloom.simulator import fitted
from heirloom.simulator.fitted import shares, zipf

DIM = 8
"""Dimensions of the space in which taste and style meet."""
DAY_MS = 86_400_000
GROUPS = ("", "clothing", "shoes")
"""Size groups by code; 0 is that of things without a size."""
ONE_SIZE = "one size"


class Goods(NamedTuple):
    """Columns [listings] that decide what a listing is worth to a person."""

    live: NDArray[np.bool_]
    department: NDArray[np.int32]
    family: NDArray[np.int32]
    sub: NDArray[np.int32]
    brand: NDArray[np.int32]
    colour: NDArray[np.int32]
    size: NDArray[np.int32]
    seller: NDArray[np.int32]
    group: NDArray[np.int32]
    fit: NDArray[np.float64]
    """Body index of the size in its group (0 = xs, or shoe 35); NaN: fits anyone."""
    style: NDArray[np.float64]
    """[listings, DIM] of unit length."""
    quality: NDArray[np.float64]
    """How well photographed, described and kept: liked by all."""
    reliability: NDArray[np.float64]
    """The seller's and the condition's part, that matters once one means to buy."""
    log_price: NDArray[np.float64]
    usual_log_price: NDArray[np.float64]
    """ln price usual for the brand, category and condition, in EUR."""
    base_log_price: NDArray[np.float64]
    """ln price usual for the category alone, in EUR."""
    listed_at: NDArray[np.int64]


class Sellers(NamedTuple):
    """Columns [sellers]."""

    share: NDArray[np.float64]
    themes: NDArray[np.int32]
    """[sellers, 2] their styles."""
    quality: NDArray[np.float64]
    drops_per_day: NDArray[np.float64]
    country: NDArray[np.int32]
    carelessness: NDArray[np.float64]
    """Chance that a word is misspelt."""
    stuffing: NDArray[np.float64]
    """Chance that a listing names brands that it is not of."""


class Codes:
    """Strings as codes for one field, in the order first seen."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts: list[str] = []
        self._codes: dict[str, int] = {}
        for text in texts:
            self.code(text)

    def code(self, text: str) -> int:
        """The code of a string, given now if it has none."""
        code = self._codes.setdefault(text, len(self.texts))
        if code == len(self.texts):
            self.texts.append(text)
        return code

    def find(self, text: str) -> int:
        """The code of a string, -1 if it has none."""
        return self._codes.get(text, -1)

    def __len__(self) -> int:
        return len(self.texts)


class Space:
    """Where styles, brands, colours and words have their places: unit vectors [DIM]."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.themes = np.stack([self.place("theme", name) for name in fitted.THEMES])

    def place(self, kind: str, name: str) -> NDArray[np.float64]:
        """The vector of a name, the same in every world of this seed."""
        key = zlib.crc32(f"{kind}:{name}".encode())
        return unit(np.random.default_rng([self.seed, key]).normal(size=DIM))

    def brand(self, name: str) -> NDArray[np.float64]:
        """A brand's vector: the middle of its themes, and something of its own."""
        themes = list(fitted.THEMES)
        known = fitted.BRANDS.get(name)
        own = self.place("brand", name)
        if known is None:
            return own
        middle = self.themes[[themes.index(theme) for theme in known.themes]].sum(axis=0)
        return unit(unit(middle) + 0.5 * own)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [..., dim] made of length one.

    >>> unit(np.array([3.0, 4.0])).tolist()
    [0.6, 0.8]
    """
    normed: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normed


def fit_of(size: str, department: str, group: str) -> float:
    """Body index of a size: 0 = xs or EU shoe 35, one more per letter or shoe size; NaN for none.

    >>> fit_of("m", "women", "clothing"), fit_of("38", "women", "clothing")
    (2.0, 2.0)
    >>> fit_of("37.5", "women", "shoes"), fit_of("no size", "women", "bags")
    (2.5, nan)
    """
    if group == "clothing":
        if size.lower() in fitted.LETTER_SIZES:
            return float(fitted.LETTER_SIZES.index(size.lower()))
        first = fitted.FIRST_EU_SIZE.get(department, 34)
        number = _number(size)
        return (number - first) / 2 if 0 <= (number - first) / 2 <= 8 else float("nan")
    if group == "shoes":
        number = _number(size)
        return number - 35 if 33 <= number <= 50 else float("nan")
    return float("nan")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


_DTYPES: dict[str, Any] = {
    "status": np.uint8, "sub": np.int32, "brand": np.int32, "colour": np.int32,
    "size": np.int32, "condition": np.int32, "material": np.int32, "seller": np.int32,
    "theme": np.int32, "photos": np.int16, "likes": np.int32, "price_minor": np.int64,
    "first_price_minor": np.int64, "drops": np.int16, "listed_at": np.int64,
    "ended_at": np.int64, "fit": np.float64, "quality": np.float64,
    "reliability": np.float64, "usual_log_price": np.float64, "noise": np.float64,
}  # fmt: skip


class Stock:
    """All listings, ever: columns of length `len(stock)`, with the strings that codes stand for."""

    def __init__(self, space: Space, sellers: Sellers) -> None:
        self.space, self.sellers = space, sellers
        self.subs, self.paths = Codes(), Codes()
        self.brands, self.colours = Codes(), Codes()
        self.sizes, self.conditions, self.materials = Codes([""]), Codes(), Codes()
        self.countries = Codes(list(fitted.COUNTRIES))
        self.seller_names: list[str] = [f"s{i:05d}" for i in range(len(sellers.share))]
        self.given: list[Listing] = []
        """Listings taken from a file; they come first."""
        self.numbers: dict[str, int] = {}
        self.under: NDArray[np.bool_] = np.zeros((0, 0), np.bool_)
        """[paths, subs] True where a category lies at or below a path."""
        self.of_sub: dict[str, NDArray[Any]] = {}
        self.brand_style = np.zeros((0, DIM))
        self.colour_style = np.zeros((0, DIM))
        self._size = 0
        self._goods: Goods | None = None
        self._columns: dict[str, NDArray[Any]] = {
            **{name: np.zeros(0, dtype) for name, dtype in _DTYPES.items()},
            "style": np.zeros((0, DIM)),
        }

    def __len__(self) -> int:
        return self._size

    def column(self, name: str) -> NDArray[Any]:
        """A view [listings] of a column."""
        return self._columns[name][: self._size]

    @property
    def live(self) -> NDArray[np.bool_]:
        """[listings] True where a listing may be shown now."""
        live: NDArray[np.bool_] = self.column("status") == Status.LIVE
        return live

    def listing_id(self, number: int) -> str:
        """The id by which policies and events know a listing."""
        return self.given[number].listing_id if number < len(self.given) else f"l{number:07d}"

    def number_of(self, listing_id: str) -> int:
        """The number of a listing.

        Raises:
            InputError: if the world has no such listing.
        """
        number = self.numbers.get(listing_id, -1)
        if number < 0 and listing_id.startswith("l") and listing_id[1:].isdigit():
            number = int(listing_id[1:])
        if not 0 <= number < self._size or self.listing_id(number) != listing_id:
            raise InputError(
                f"simulator: a policy showed listing {listing_id!r}, which this world never had; "
                "wanted ids from its `listed` events"
            )
        return number

    def append(self, columns: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Add listings; their numbers [new]."""
        self._goods = None
        n = len(columns["sub"])
        first, self._size = self._size, self._size + n
        capacity = len(self._columns["sub"])
        if self._size > capacity:
            for name, column in self._columns.items():
                grown = np.zeros((max(1024, 2 * self._size), *column.shape[1:]), column.dtype)
                grown[:first] = column[:first]
                self._columns[name] = grown
        for name, column in self._columns.items():
            column[first : self._size] = columns.get(name, 0)
        return np.arange(first, self._size)

    def settle(self) -> None:
        """Place what the codes stand for: after new strings came in."""
        self._goods = None
        for sub in self.subs.texts:
            steps = sub.split("/")
            for depth in range(1, len(steps) + 1):
                self.paths.code("/".join(steps[:depth]))
        self.under = np.array(
            [
                [sub == path or sub.startswith(path + "/") for sub in self.subs.texts]
                for path in self.paths.texts
            ],
            np.bool_,
        ).reshape(len(self.paths), len(self.subs))
        steps_of = [sub.split("/") for sub in self.subs.texts]
        group = [GROUPS.index(s[1]) if len(s) > 1 and s[1] in GROUPS else 0 for s in steps_of]
        self.of_sub = {
            "department": np.array([self.paths.find(s[0]) for s in steps_of], np.int32),
            "family": np.array([self.paths.find("/".join(s[:2])) for s in steps_of], np.int32),
            "path": np.array([self.paths.find("/".join(s)) for s in steps_of], np.int32),
            "group": np.array(group, np.int32),
            "base": np.array([_base_log_price(sub) for sub in self.subs.texts]),
        }
        self.brand_style = np.stack([self.space.brand(b) for b in self.brands.texts])
        self.colour_style = np.stack([self.space.place("colour", c) for c in self.colours.texts])

    def goods(self) -> Goods:
        """What the truth reads, as of now: views of the columns; made anew when stock moves."""
        if self._goods is None:
            self._goods = self._make_goods()
        return self._goods

    def end(self, numbers: NDArray[Any], status: Status, t: NDArray[np.int64]) -> None:
        """Write that live listings were sold or removed at times t [numbers]."""
        self.column("status")[numbers] = status
        self.column("ended_at")[numbers] = t
        if self._goods is not None:
            self._goods.live[numbers] = False

    def reprice(self, numbers: NDArray[Any], price_minor: NDArray[np.int64]) -> None:
        """Write price drops."""
        self.column("price_minor")[numbers] = price_minor
        self.column("drops")[numbers] += 1
        self._goods = None

    def _make_goods(self) -> Goods:
        sub = self.column("sub")
        return Goods(
            live=self.live,
            department=self.of_sub["department"][sub],
            family=self.of_sub["family"][sub],
            sub=sub,
            brand=self.column("brand"),
            colour=self.column("colour"),
            size=self.column("size"),
            seller=self.column("seller"),
            group=self.of_sub["group"][sub],
            fit=self.column("fit"),
            style=self.column("style"),
            quality=self.column("quality"),
            reliability=self.column("reliability"),
            log_price=np.log(np.maximum(self.column("price_minor"), 100) / 100.0),
            usual_log_price=self.column("usual_log_price"),
            base_log_price=self.of_sub["base"][sub],
            listed_at=self.column("listed_at"),
        )


def _base_log_price(sub: str) -> float:
    moments = fitted.SUBS.get("/".join(sub.split("/")[:2]), {}).get(sub.rsplit("/", 1)[-1])
    mean = float(np.mean([brand.log_price for brand in fitted.BRANDS.values()]))
    return mean + (moments.log_price if moments else 0.0)


def draw_sellers(rng: np.random.Generator, n: int) -> Sellers:
    """Sellers of different size and style; the first have most listings."""
    return Sellers(
        share=zipf(n, fitted.SELLER_ZIPF),
        themes=rng.integers(0, len(fitted.THEMES), (n, 2)).astype(np.int32),
        quality=rng.normal(0.0, 1.0, n),
        drops_per_day=rng.gamma(fitted.DROP_SHAPE, fitted.DROP_MEAN / fitted.DROP_SHAPE, n),
        country=rng.choice(
            len(fitted.COUNTRIES), n, p=shares(np.array([*fitted.COUNTRIES.values()]))
        ).astype(np.int32),
        carelessness=rng.beta(0.6, 14.0, n),
        stuffing=np.where(rng.random(n) < 0.25, rng.beta(2.0, 3.0, n), 0.02),
    )
