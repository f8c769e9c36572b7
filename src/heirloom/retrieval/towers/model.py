"""Model: the two towers and their product, in numpy alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError
from heirloom.core.facts import MAX_DECLARED
from heirloom.retrieval.towers.takers import NUMBERS, PROFILE_DAYS, Alphabet, Floats, Listings

if TYPE_CHECKING:
    from scipy import sparse

Thin = Callable[[Floats], Floats]
_FURTHEST = 8.0
"""Standard deviations from the mean at which a number is cut off."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What some requests say.

    Attributes:
        declared: [questions, MAX_DECLARED] rows in the alphabet, -1 where not stated.
        lately: [questions, categories + 1] float32, shares of what the person took before; zeros
            for a newcomer.
        count: [questions] how many listings the person took before.
        own: [questions, listings] float32, weights of what the person took before, of those
            listings that are scored; a row's sum is 1, or 0 where there is none.
    """

    declared: NDArray[np.intp]
    lately: Floats
    count: NDArray[np.int64]
    own: "sparse.csr_matrix"


@dataclass(frozen=True, slots=True)
class Weights:
    """One member. Widths: x of a listing, q of a request, h hidden units, d of the vectors.

    first [x, h], second [h, h], vector [h, d], appeal [h], numbers [NUMBERS], asked [q, h],
    wish [h, d], own [d, d], lift [PROFILE_DAYS, MAX_DECLARED], crossed [values, values]; each
    `_bias` is as wide as what it is added to.
    """

    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    vector: Floats
    appeal: Floats
    numbers: Floats
    asked: Floats
    asked_bias: Floats
    wish: Floats
    wish_bias: Floats
    own: Floats
    lift: Floats
    crossed: Floats

    def arrays(self) -> list[Floats]:
        """All of them, in their order."""
        return [getattr(self, name) for name in self.__slots__]


@dataclass(frozen=True, slots=True)
class Towers:
    """log P(listing | request) + a constant = appeal(l) + Σ w · lift(l, stated) + u(r) · v(l).

    The listing's tower, two layers of rectified units, reads who took it, how much it is asked for
    and its category, and gives a vector v and an appeal; the request's reads what is stated and
    the categories of what the person took before, and gives u, to which `own` adds what it makes
    of the mean v of these. No id enters: a listing is placed by its first takers. The lifts are
    those of naive Bayes, with a weight learned for each declared attribute; `crossed` weighs the
    lift of every other value beside that stated, for who wears 8 takes what those in 10 take, and
    where a value was stated seldom its neighbours tell more than its own few takers. Source of
    the two towers: Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", RecSys 2019, section 3; here the softmax is over all listings on offer, and
    nothing is sampled. Scores are the mean over members fitted from several seeds.

    Attributes:
        alphabet: the values and categories that have weights.
        centre, scale: [NUMBERS] float32, of `Listings.numbers` in training.
        members: at least one.
    """

    alphabet: Alphabet
    centre: Floats
    scale: Floats
    members: tuple[Weights, ...]

    def encoded(self, listings: Listings) -> "Encoded":
        """The listings' side, to be met by any number of requests."""
        x, numbers = self.inputs(listings)
        sides = [listing_tower(weights, x, numbers) for weights in self.members]
        return Encoded(listings.lifts, tuple((side.v, side.appeal) for side in sides))

    def scores(self, encoded: "Encoded", asked: Asked) -> Floats:
        """[questions, listings] float32, log of chances up to a constant of each request."""
        onehot, q = self.questions(asked)
        total = np.zeros((len(q), len(encoded.lifts[0])), np.float32)
        for weights, (v, appeal) in zip(self.members, encoded.sides, strict=True):
            u = request_tower(weights, q)[0] + (asked.own @ v) @ weights.own
            total += u @ v.T + appeal
        # What lifts weigh is summed over members first: products with all listings are the cost.
        asked_of = [lifted(weights, self.alphabet, onehot) for weights in self.members]
        for each, lift in zip(zip(*asked_of, strict=True), encoded.lifts, strict=True):
            total += np.sum(each, axis=0) @ lift.T
        return total / np.float32(len(self.members))

    def inputs(self, listings: Listings) -> tuple[Floats, Floats]:
        """What the listing's tower reads [listings, x], and its standardised numbers."""
        numbers = np.clip((listings.numbers - self.centre) / self.scale, -_FURTHEST, _FURTHEST)
        categories = np.zeros((len(numbers), len(self.alphabet.categories) + 1), np.float32)
        categories[np.arange(len(numbers)), listings.categories] = 1
        return np.concatenate([*listings.lifts, numbers, categories], axis=1), numbers

    def questions(self, asked: Asked) -> tuple[Floats, Floats]:
        """[questions, values] 1 where stated, and what the request's tower reads [questions, q]."""
        onehot = np.zeros((len(asked.declared), len(self.alphabet.values)), np.float32)
        rows, fields = np.nonzero(asked.declared >= 0)
        onehot[rows, asked.declared[rows, fields]] = 1
        unstated = (asked.declared < 0).astype(np.float32)
        count = np.log1p(asked.count).astype(np.float32)[:, None]
        return onehot, np.concatenate([onehot, unstated, asked.lately, count], axis=1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `from_arrays` needs, by name."""
        return {
            "values": self.alphabet.values,
            "categories": self.alphabet.categories,
            "centre": self.centre,
            "scale": self.scale,
            **{
                f"{i}.{name}": getattr(member, name)
                for i, member in enumerate(self.members)
                for name in Weights.__slots__
            },
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The model that gave these arrays; its scores are the same bytes.

        Raises:
            BundleError: if some are missing, or do not fit each other.
        """
        try:
            alphabet = Alphabet(arrays["values"], arrays["categories"])
            count = len({name.split(".")[0] for name in arrays if "." in name})
            members = tuple(
                Weights(**{name: arrays[f"{i}.{name}"] for name in Weights.__slots__})
                for i in range(count)
            )
            made = cls(alphabet, arrays["centre"], arrays["scale"], members)
        except KeyError as error:
            raise BundleError(f"towers: array {error} is missing") from error
        for member in members:
            hidden, dim = member.vector.shape
            wanted = shapes(alphabet, hidden, dim)
            came = [each.shape for each in member.arrays()]
            if came != list(wanted.values()):
                raise BundleError(f"towers: arrays of {came}; wanted {list(wanted.values())}")
        if not members or made.centre.shape != (NUMBERS,) or made.scale.shape != (NUMBERS,):
            raise BundleError(
                f"towers: {count} members, wanted at least one with {NUMBERS} numbers"
            )
        return made


@dataclass(frozen=True, slots=True)
class Encoded:
    """Listings' lifts, and (v [listings, d], appeal [listings]) of each member."""

    lifts: tuple[Floats, ...]
    sides: tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True, slots=True)
class ListingSide:
    """What a member makes of listings, with its hidden layers [listings, h]."""

    one: Floats
    two: Floats
    v: Floats
    appeal: Floats


def shapes(alphabet: Alphabet, hidden: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Of each array of Weights, in their order."""
    values, categories = len(alphabet.values), len(alphabet.categories) + 1
    x = values * len(PROFILE_DAYS) + NUMBERS + categories
    q = values + MAX_DECLARED + categories + 1
    return {
        "first": (x, hidden), "first_bias": (hidden,), "second": (hidden, hidden),
        "second_bias": (hidden,), "vector": (hidden, dim), "appeal": (hidden,),
        "numbers": (NUMBERS,), "asked": (q, hidden), "asked_bias": (hidden,),
        "wish": (hidden, dim), "wish_bias": (dim,), "own": (dim, dim),
        "lift": (len(PROFILE_DAYS), MAX_DECLARED), "crossed": (values, values),
    }  # fmt: skip


def whole(units: Floats) -> Floats:
    """Nothing left out."""
    return units


def listing_tower(weights: Weights, x: Floats, numbers: Floats, thin: Thin = whole) -> ListingSide:
    """The vectors v and the appeal of listings; in training hidden units are left out by `thin`."""
    one = thin(np.maximum(x @ weights.first + weights.first_bias, 0))
    two = thin(np.maximum(one @ weights.second + weights.second_bias, 0))
    appeal = two @ weights.appeal + numbers @ weights.numbers
    return ListingSide(one, two, two @ weights.vector, appeal)


def request_tower(weights: Weights, q: Floats, thin: Thin = whole) -> tuple[Floats, Floats]:
    """The vectors u [questions, d], and their hidden layer [questions, h]."""
    hidden = thin(np.maximum(q @ weights.asked + weights.asked_bias, 0))
    return hidden @ weights.wish + weights.wish_bias, hidden


def lifted(weights: Weights, alphabet: Alphabet, onehot: Floats) -> list[Floats]:
    """For each of PROFILE_DAYS [questions, values], what the lift of each value weighs."""
    asked = [onehot * weight for weight in weights.lift[:, alphabet.values[:, 0]]]
    asked[-1] = asked[-1] + onehot @ weights.crossed  # the longest memory has the most to tell
    return asked
