import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from heirloom.slates.filters import permitted

codes = st.lists(st.integers(-1, 8), max_size=4)


@given(st.lists(st.booleans(), max_size=8), st.integers(0, 3), codes, codes, codes)
def test_each_rule_holds_for_each_slot(allowed, own, blocked, hidden, excluded) -> None:
    sellers = np.arange(len(allowed) + 2, dtype=np.int32) % 4
    mask = np.array(allowed, np.bool_)
    before = mask.copy()
    result = permitted(mask, sellers, own=own, blocked=blocked, hidden=hidden, excluded=excluded)
    assert (mask == before).all()
    for slot, kept in enumerate(result.tolist()):
        seller = int(sellers[slot])
        refused = (seller == own and own > 0) or (seller in blocked and seller > 0)
        assert kept == (allowed[slot] and not refused and slot not in (*hidden, *excluded))
