"""Stored: features looked up in a store of rows that another process keeps up to date."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import StoreError
from heirloom.core.query import Request
from heirloom.core.row_store import UNFINISHED, RowStore
from heirloom.core.slate import FeatureBatch
from heirloom.features.rows import Unpacking
from heirloom.features.view import FeatureView

_READS = 8


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
        since, or where a shared row changed. What is not in the store reads as nothing known. All
        is as of one n, which the batch names.

        Args:
            request: who asks, as of when.
            slots: [candidates] int32.
            given: as FeatureState.lookup.

        Raises:
            StoreError: the store cannot be reached or is being filled, or a row is damaged or of
                another version.
            ShapeError: as FeatureState.lookup.
        """
        unpacking = self._unpacking
        unpacking.ask(request, np.ascontiguousarray(slots, np.int32))
        keys = unpacking.lacking()
        for _ in range(_READS):
            read = self.store.get(keys, unpacking.mark)
            if read.mark.n == UNFINISHED:
                raise StoreError(
                    f"{self.store}: its writer is filling it; ask again in a moment, or answer "
                    "from embedded state meanwhile"
                )
            unpacking.take(keys, read)
            keys = unpacking.lacking()
            if not len(keys):
                return unpacking.state.lookup(request, np.arange(len(slots), dtype=np.int32), given)
        raise StoreError(
            f"StoredFeatures.lookup: what {len(slots)} listings need changed during {_READS} "
            f"reads; two writers may write to {self.store}: let one"
        )
