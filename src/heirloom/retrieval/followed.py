"""Followed: what is new from sellers whom the person follows or has bought from."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.facts import Facts
from heirloom.core.kept import Arrays, Given, alike, joined, object_of, of_object, within
from heirloom.core.listing import Listing
from heirloom.core.query import Request
from heirloom.core.slate import Candidates
from heirloom.retrieval.in_order import InOrder
from heirloom.retrieval.recent import newest
from heirloom.retrieval.retriever import Passes
from heirloom.retrieval.shelf import Shelf

_FOLLOW = KIND_CODE[Kind.FOLLOW]
_UNFOLLOW = KIND_CODE[Kind.UNFOLLOW]
_PURCHASE = KIND_CODE[Kind.PURCHASE]
_TIES = 1 << _FOLLOW | 1 << _UNFOLLOW | 1 << _PURCHASE


class Followed:
    """The newest listings of sellers followed or bought from; nothing for others.

    An unfollow takes back an earlier follow and an earlier purchase alike.
    """

    def __init__(self, name: str = "followed") -> None:
        self.name = name
        self._shelf = Shelf()
        self._by_seller = InOrder()
        self._sellers: dict[int, dict[int, None]] = {}

    def apply(self, facts: Facts, listings: Mapping[int, Listing]) -> None:  # noqa: ARG002
        """Fold stock events, follows and purchases."""
        changed = self._shelf.apply(facts)
        self._by_seller.put(changed, self._shelf.column("seller")[changed])
        if not facts.kinds & _TIES:
            return
        kinds = facts.events["kind"]
        # What follows no seller follows a search: saved_search.py.
        named = ((kinds == _FOLLOW) | (kinds == _UNFOLLOW)) & (facts.events["seller"] > 0)
        ties = named | (kinds == _PURCHASE)
        for i in np.flatnonzero(ties & (facts.events["person"] > 0)).tolist():
            event = facts.events[i]
            sellers = self._sellers.setdefault(int(event["person"]), {})
            if event["kind"] == _UNFOLLOW:
                sellers.pop(int(event["seller"]), None)
            elif event["kind"] == _FOLLOW:
                sellers[int(event["seller"])] = None
            else:
                bought = facts.listings[facts.starts[i] : facts.starts[i + 1]]["seller"]
                sellers.update(dict.fromkeys(bought.tolist()))

    def arrays(self) -> Arrays:
        """As `core.kept.Kept`."""
        sellers = {person: list(of) for person, of in self._sellers.items()}
        parts = {"shelf": self._shelf.arrays(), "by_seller": self._by_seller.arrays()}
        return {"sellers": of_object(sellers), **joined(parts)}

    def restore(self, arrays: Given) -> None:
        """As `core.kept.Kept`."""
        self._shelf.restore(within(arrays, "shelf"))
        self._by_seller.restore(within(arrays, "by_seller"))
        own = alike("Followed", arrays, {"sellers": of_object({})})
        sellers = object_of(own["sellers"], dict[int, list[int]])
        self._sellers = {person: dict.fromkeys(of) for person, of in sellers.items()}

    def retrieve(self, request: Request, allowed: NDArray[np.bool_], k: int) -> Candidates:
        """At most k listings of those sellers, newest first."""
        size = min(self._shelf.size, len(allowed))
        return self.sift(
            request, lambda slots: (slots < size) & allowed[np.minimum(slots, size - 1)], k
        )

    def sift(self, request: Request, passes: Passes, k: int) -> Candidates:
        """As `retrieve`; it looks at those sellers' listings alone."""
        sellers = self._sellers.get(request.person) if request.person else None
        if not sellers:
            return Candidates.none(self.name)
        theirs = self._by_seller.of(sellers, self._shelf.column("seller"))
        return newest(self.name, self._shelf, request, theirs[passes(theirs)], k)
