"""Rows to replay, and what live lookups gave for them."""

import numpy as np
from numpy.typing import NDArray

from heirloom.core.facts import MAX_DECLARED, Facts
from heirloom.core.query import Query, Request
from heirloom.features.replay import Rows
from heirloom.features.view import FeatureView
from heirloom.testing.features import HOUR_MS


def random_rows(seed: int, log: Facts, rows: int, view: FeatureView) -> Rows:
    """Requests for one to four listings, anywhere in the log, in no order.

    Some are as of a time before the newest event applied, as no live request is.
    """
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, max(rows // 2, 1), rows))
    n = rng.integers(0, len(log) + 1, rows)[group]
    newest = np.maximum.accumulate(log.events["t"])[np.maximum(n - 1, 0)]
    later = [0, 1, 5 * HOUR_MS, 40 * 24 * HOUR_MS, -20 * HOUR_MS, -30 * 24 * HOUR_MS]
    return Rows(
        n=n.astype(np.int64),
        t=newest + rng.choice(later, rows)[group],
        person=rng.integers(0, 3, rows)[group].astype(np.int32),
        surface=rng.integers(0, 4, rows)[group].astype(np.int8),
        text=rng.integers(0, 3, rows)[group].astype(np.int32),
        declared=rng.integers(0, 3, (rows, MAX_DECLARED))[group].astype(np.int32),
        slot=rng.choice([-1, 0, 1, 2, 3, 4, 99], rows).astype(np.int32),
        given={name: rng.random(rows).astype(np.float32) for name in view.given[1:3]},
    )


def _request(rows: Rows, i: int) -> Request:
    nothing = np.zeros(0, np.int32)
    return Request(
        query=Query(t=int(rows.t[i])),
        person=int(rows.person[i]),
        surface=int(rows.surface[i]),
        declared=rows.declared[i],
        anchor=-1,
        recent=nothing,
        recent_kinds=nothing.astype(np.int8),
        recent_t=nothing.astype(np.int64),
        text_vector=np.zeros(0, np.float32),
        text=int(rows.text[i]),
    )


def served(view: FeatureView, log: Facts, rows: Rows) -> NDArray[np.float32]:
    """The twin of replay: apply up to each row's position, then look that row up alone."""
    state = view.state()
    values = np.empty((len(rows), len(view.columns)), np.float32)
    done = 0
    for i in np.argsort(rows.n, kind="stable").tolist():
        end = int(np.searchsorted(log.events["seq"], rows.n[i]))
        state.apply(log[done:end])
        done = max(done, end)
        of_row = {name: column[i : i + 1] for name, column in rows.given.items()}
        values[i] = state.lookup(_request(rows, i), rows.slot[i : i + 1], of_row).values[0]
    return values
