"""Floor: how far candidates meet what was asked for by name. Who meets more comes first."""

import numpy as np
from numpy.typing import NDArray


def met(has: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[candidates] int64: as binary digits, the first thing the highest; 0 for who meets nothing.

    So the first thing asked for counts more than all that follow, the second more than all after
    it: whoever has both comes first, then those with the first, then those with the second.

    Args:
        has: [things, candidates] bool, at most 62 things, the one that counts most first.

    >>> met(np.array([[True, True, False, False], [True, False, True, False]])).tolist()
    [3, 2, 1, 0]
    """
    digits = np.left_shift(1, np.arange(len(has), dtype=np.int64))[::-1]
    found: NDArray[np.int64] = digits @ has.astype(np.int64)
    return found
