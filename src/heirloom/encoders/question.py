"""Question: what is asked, beside what was done: the surface, a text, a wish, an anchor.

Each is a vector in the space of the listings. A text is read as a title. A wish is what a person
stated of brands, sizes, departments and prices, written as listings that have just that; so a
wish means what the same words mean on a listing, and nothing has to be learned twice.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError, ShapeError
from heirloom.core.event import SURFACE_CODE, Scalar
from heirloom.core.listing import Listing
from heirloom.encoders.encoder import Encoder

ASKED = ("text", "wish", "anchor")
"""What a question is made of, in the order of its vectors."""
MOST_WISHED = 8
"""Listings that a wish is written as, at most."""
_LOWEST, _HIGHEST = "price_min_minor", "price_max_minor"


@dataclass(frozen=True, slots=True)
class Questions:
    """What each of several people asks; zeros where there is nothing.

    Attributes:
        surfaces: [people] int8, code of the surface asked; 0 where it is not known.
        vectors: [people, ASKED, dim] float32, of text, wish and anchor.
    """

    surfaces: NDArray[np.int8]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        wanted = (len(self.surfaces), len(ASKED))
        if self.vectors.ndim != 3 or self.vectors.shape[:2] != wanted:
            raise ShapeError(f"Questions: vectors {self.vectors.shape}; wanted {wanted} and dim")
        strange = (self.surfaces < 0) | (self.surfaces > len(SURFACE_CODE))
        if strange.any():
            came = self.surfaces[strange][0]
            raise InputError(f"Questions: surface {came}; wanted a code 0 … {len(SURFACE_CODE)}")
        if not np.isfinite(self.vectors).all():
            raise InputError("Questions: a vector is no number; encode text, wish and anchor again")

    def __len__(self) -> int:
        return len(self.surfaces)

    @classmethod
    def none(cls, people: int, dim: int) -> Self:
        """Nobody asks for anything, and the surface is not known."""
        return cls(np.zeros(people, np.int8), np.zeros((people, len(ASKED), dim), np.float32))


@dataclass(frozen=True, slots=True)
class QuestionRows:
    """Questions of which text, wish and anchor are rows of a tower, to be learned from.

    Attributes:
        surfaces: [questions] int8, code of the surface asked.
        texts, anchors: [questions] int64, row of the tower; 0 for none.
        wishes: [questions] int64, row of `wished`; 0 for none.
        wished: [wishes, MOST_WISHED] int64, rows of the tower; 0 for none, as all of row 0 are.
        items: rows of the tower from here on are asked about, and never an answer.
    """

    surfaces: NDArray[np.int8]
    texts: NDArray[np.int64]
    anchors: NDArray[np.int64]
    wishes: NDArray[np.int64]
    wished: NDArray[np.int64]
    items: int

    def __post_init__(self) -> None:
        lengths = {len(self.surfaces), len(self.texts), len(self.anchors), len(self.wishes)}
        if len(lengths) > 1 or self.wished.shape[1:] != (MOST_WISHED,):
            raise ShapeError(f"QuestionRows: columns of {sorted(lengths)}, {self.wished.shape}")

    def __len__(self) -> int:
        return len(self.surfaces)

    def taken(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> "QuestionRows":
        """These questions, in this order."""
        return QuestionRows(
            self.surfaces[which], self.texts[which], self.anchors[which], self.wishes[which],
            self.wished, self.items,
        )  # fmt: skip

    def with_items(self, items: int) -> "QuestionRows":
        """The same in a tower that leaves the last of the items out."""

        def moved(rows: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(rows >= self.items, rows - self.items + items, rows)

        return QuestionRows(
            self.surfaces, moved(self.texts), moved(self.anchors), self.wishes,
            moved(self.wished), items,
        )  # fmt: skip

    def questions(self, vectors: NDArray[np.float32]) -> Questions:
        """What is asked, by the vectors [rows, dim] of a tower."""
        read = self.wished[self.wishes]
        there = (read > 0).astype(np.float32)
        shares = there / np.maximum(there.sum(1, keepdims=True), 1)
        wishes = np.einsum("nw,nwd->nd", shares, vectors[read])
        texts = vectors[self.texts] * (self.texts > 0)[:, None]
        anchors = vectors[self.anchors] * (self.anchors > 0)[:, None]
        asked = np.stack([texts, wishes, anchors], axis=1).astype(np.float32)
        return Questions(self.surfaces, asked)


def wished(stated: Mapping[str, Scalar | list[str]]) -> tuple[Listing, ...]:
    """What a person stated, as listings that have it; none for nothing stated.

    Read are `brands`, `sizes` and each attribute named `…size`, `department` or `departments`
    (paths of categories), `price_min_minor` and `price_max_minor`. There are as many listings as
    the longest of these has values, MOST_WISHED at most; each value stands in at least one.

    >>> made = wished({"brands": ["cos", "arket"], "shoe_size": 38.0, "price_max_minor": 5_000})
    >>> [(one.brand, one.size, one.price_minor) for one in made]
    [('cos', '38', 2500), ('arket', '38', 2500)]
    >>> wished({"locale": "fr"})
    ()
    """
    brands, departments = _said(stated, "brands"), _said(stated, "department", "departments")
    sizes = _said(stated, "sizes", *(name for name in stated if name.endswith("size")))
    price = _price(stated.get(_LOWEST), stated.get(_HIGHEST))
    most = max(len(brands), len(sizes), len(departments), int(price > 0))
    return tuple(
        Listing(
            listing_id="",
            seller="",
            title="",
            brand=brands[i % len(brands)] if brands else "",
            size=sizes[i % len(sizes)] if sizes else "",
            category=departments[i % len(departments)] if departments else "",
            price_minor=price,
        )
        for i in range(min(most, MOST_WISHED))
    )


def asked_text(text: str) -> Listing:
    """A query's text as a listing of that title: `Encoder.text` reads the same words."""
    return Listing(listing_id="", seller="", title=text)


def wish_vector(encoder: Encoder, wish: Sequence[Listing]) -> NDArray[np.float32]:
    """[dim] float32, the mean of what a wish is written as; zeros for none."""
    if not wish:
        return np.zeros(encoder.dim, np.float32)
    mean: NDArray[np.float32] = encoder.listings(wish).mean(axis=0, dtype=np.float32)
    return mean


def _said(stated: Mapping[str, Scalar | list[str]], *names: str) -> list[str]:
    """All values under these names, each once, as texts."""
    found: list[str] = []
    for name in names:
        value = stated.get(name, [])
        for one in value if isinstance(value, list) else [value]:
            whole = isinstance(one, float) and one.is_integer()
            found.append(str(int(one) if whole else one).strip())
    return list(dict.fromkeys(text for text in found if text))


def _price(lowest: object, highest: object) -> int:
    """The middle of a range; half of an upper bound alone; a lower bound alone as it is."""
    low, high = (
        float(bound)
        if isinstance(bound, int | float) and math.isfinite(bound) and 0 < bound <= 10**15
        else 0.0
        for bound in (lowest, highest)
    )
    return round((low + high) / 2 if high > 0 else low)
