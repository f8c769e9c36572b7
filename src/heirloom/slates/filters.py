"""Filters: what this person may be shown. Pure functions of arrays."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray


def permitted(
    allowed: NDArray[np.bool_],
    sellers: NDArray[np.int32],
    *,
    own: int = 0,
    blocked: Collection[int] = (),
    hidden: Collection[int] = (),
    excluded: Collection[int] = (),
) -> NDArray[np.bool_]:
    """[slots] bool: what was allowed before, less what is not for this person.

    Args:
        allowed: [slots] bool, live and as the query's filters ask; not changed.
        sellers: [slots] int32.
        own: the person's own seller code; 0 for none.
        blocked: codes of sellers whom the person blocked.
        hidden: slots that the person hid.
        excluded: slots shown before on this visit, and the anchor. Those of -1, or past the end,
            are no listing and are left out.

    >>> sellers = np.array([1, 2, 3, 3], np.int32)
    >>> permitted(np.ones(4, bool), sellers, own=1, blocked=[2], excluded=[3]).tolist()
    [False, False, True, False]
    """
    result = allowed.copy()
    refused = [code for code in (own, *blocked) if code > 0]
    if refused:
        result &= ~np.isin(sellers[: len(result)], refused, kind="table")
    out = np.fromiter((*hidden, *excluded), np.int64, len(hidden) + len(excluded))
    result[out[(out >= 0) & (out < len(result))]] = False
    return result
