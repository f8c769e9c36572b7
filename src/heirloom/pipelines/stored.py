"""Stored: features looked up in a store of rows that another process keeps up to date."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import StoreError
from heirloom.core.query import Request
from heirloom.core.row_store import RowStore
from heirloom.core.slate import FeatureBatch
from heirloom.features.rows import Unpacking
from heirloom.features.view import FeatureView

_READS = 4


class StoredFeatures:
    """Looks up as features.state.FeatureState does. For one thread at a time.

    Attributes:
        columns: names of the values, as `view@version.feature`.
        store: where the rows stand.
    """

    def __init__(self, view: FeatureView, store: RowStore) -> None:
        self.columns = view.columns
        self.store = store
        self._unpacking = Unpacking(view)

    def lookup(
        self,
        request: Request,
        slots: NDArray[np.int32],
        given: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> FeatureBatch:
        """Values [candidates, features] float32 as of the request's t and the store's n.

        One read of the store; two where a listing is seen here for the first time, or was edited
        since. What is not in the store reads as nothing known.

        Args:
            request: who asks, as of when.
            slots: [candidates] int32.
            given: as FeatureState.lookup.

        Raises:
            StoreError: the store cannot be reached, or a row is damaged or of another version.
            ShapeError: as FeatureState.lookup.
        """
        slots = np.ascontiguousarray(slots, np.int32)
        for _ in range(_READS):
            keys = self._unpacking.wanted(request, slots)
            read = self.store.get(keys)
            state = self._unpacking.unpacked(slots, keys, read.rows, read.n)
            if state is not None:
                return state.lookup(request, np.arange(len(slots), dtype=np.int32), given)
        raise StoreError(
            f"StoredFeatures.lookup: the attributes of {len(slots)} listings changed during "
            f"{_READS} reads; two writers may write to {self.store}: let one"
        )
