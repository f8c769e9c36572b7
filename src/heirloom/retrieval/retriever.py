"""Retriever: Request → Candidates, cheap over the whole catalogue."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from heirloom.core.facts import Facts
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.vectors.answer import OutOfTime
from heirloom.retrieval.vectors.where import Where


class Retriever(Protocol):
    """Proposes listings for a request. It folds the log itself, so that a replay rebuilds it."""

    name: str

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:
        """Fold events in log order; `listings` are those new or edited among them, by slot.

        Called with consecutive parts of the log, however cut: the result may not depend on
        the cuts.
        """

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k candidates, best first, all of them allowed.

        Args:
            request: who asks, as of when.
            allowed: [slots] bool, True where a listing is live and passes the filters. It may
                be longer than what was folded so far.
            k: how many are wanted.
        """


@runtime_checkable
class Selective(Protocol):
    """A Retriever that takes the filter itself, so that no mask of the whole stock is needed."""

    def select(
        self,
        request: Request,
        where: Where,
        k: int,
        *,
        without: NDArray[np.int32],
        out_of_time: OutOfTime | None,
    ) -> Candidates:
        """At most k candidates, best first, of those on offer that pass.

        Args:
            request: who asks, as of when.
            where: what they must be. Where it is a mask alone, that says who is on offer too.
            k: how many are wanted.
            without: [slots] int32, left out besides; few.
            out_of_time: asked now and then; True: give the best found so far, and say so by
                `Candidates.unfinished`.
        """


Passes = Callable[[NDArray[np.integer]], NDArray[np.bool_]]
"""From slots to whether each is on offer, passes the filters, and is for this person."""


@runtime_checkable
class Sifting(Protocol):
    """A Retriever that looks at a small part of the stock, and asks of that part what passes."""

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`, with what is allowed told of the slots that it is asked for."""


@runtime_checkable
class Learning(Protocol):
    """A Retriever with weights: learned from a log, kept in a bundle, given to one that serves.

    Before it was given any it proposes nothing. What it counts does not depend on them, so they
    can be changed while it serves.
    """

    def learn(self, facts: Facts, *, seed: int) -> Mapping[str, NDArray[Any]]:
        """Weights as arrays of numbers by name, from a log from its first entry on.

        Nothing changes here; the same log and seed give the same bytes.

        Raises:
            InputError: if the log holds nothing to learn from.
        """

    def use(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Answer by what `learn` gave from now on; none: forget, and propose nothing.

        Raises:
            BundleError: if these are not such arrays.
        """


@runtime_checkable
class Matcher(Protocol):
    """Says which listings a search's words mean. In a search all sources choose among these.

    A retriever that is one decides so for the surfaces that name it; else the ContentIndex does.
    """

    def matching(
        self, text: str, allowed: NDArray[np.bool_], least: int = 100
    ) -> NDArray[np.bool_]:
        """[slots] bool: the allowed listings that match the words well; none for no words.

        Args:
            text: a query's.
            allowed: [slots] bool.
            least: so many of the best that match at all are well enough matched.
        """


def is_selective(retriever: object) -> TypeGuard[Selective]:
    """Whether it is; asked once of each class, for to compare with a protocol takes long."""
    kind: Any = type(retriever)
    return _kinds(kind)[0]


def is_sifting(retriever: object) -> TypeGuard[Sifting]:
    """As `is_selective`."""
    kind: Any = type(retriever)
    return _kinds(kind)[1]


def is_matcher(retriever: object) -> TypeGuard[Matcher]:
    """As `is_selective`."""
    kind: Any = type(retriever)
    return _kinds(kind)[2]


@cache
def _kinds(kind: Any) -> tuple[bool, bool, bool]:
    return issubclass(kind, Selective), issubclass(kind, Sifting), issubclass(kind, Matcher)
