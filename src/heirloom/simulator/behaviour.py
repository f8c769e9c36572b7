"""Behaviour: what sessions ask next, and what people do with a slate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.simulator.people import People
from heirloom.simulator.queries import QueryColumns
from heirloom.simulator.stock import Stock
from heirloom.simulator.truth import SEARCH, SIMILAR, Asks, Examined, examination

MAX_EXCLUDED = 96
HOME = 0


@dataclass
class Sessions:
    """The visits under way in one tick, as columns [sessions]; one row keeps its place."""

    person: NDArray[np.int32]
    number: NDArray[np.int64]
    asks: Asks
    said: NDArray[np.int32]
    """[sessions, 3] path, brand and colour as spelt rightly; -1 for none."""
    size: NDArray[np.int32]
    slips: NDArray[np.bool_]
    exclude: NDArray[np.int32]
    excluded: NDArray[np.int64]
    """[sessions] how many of `exclude` are set."""
    active: NDArray[np.bool_]


def open_sessions(
    rng: np.random.Generator, people: People, stock: Stock, person: NDArray[np.int32], first: int
) -> Sessions:
    """Visits that begin now: three in five on the home page, the others with a search."""
    n = len(person)
    none = np.full(n, -1, np.int32)
    asks = Asks(
        person=person, t=np.zeros(n, np.int64), surface=np.zeros(n, np.int8), anchor=none.copy(),
        want_path=none.copy(), want_brand=none.copy(), want_colour=none.copy(),
        filter_path=none.copy(), filter_size=none.copy(),
    )  # fmt: skip
    sessions = Sessions(
        person=person,
        number=np.arange(first, first + n),
        asks=asks,
        said=np.full((n, 3), -1, np.int32),
        size=none.copy(),
        slips=np.zeros((n, 2), np.bool_),
        exclude=np.full((n, MAX_EXCLUDED), -1, np.int32),
        excluded=np.zeros(n, np.int64),
        active=np.ones(n, np.bool_),
    )
    _search(rng, people, stock, sessions, np.flatnonzero(rng.random(n) < 0.4))
    return sessions


def ask(
sessions: Sessions, rows: NDArray[np.intp], keys: NDArray[np.int64], k: int,
        stock: Stock, people: People) -> QueryColumns:  # fmt: skip
    """The queries of the active sessions [rows], as a policy sees them."""
    widest = int(sessions.excluded[rows].max(initial=0))
    return QueryColumns(
        asks=sessions.asks.take(rows),
        said_path=sessions.said[rows, 0],
        said_brand=sessions.said[rows, 1],
        said_colour=sessions.said[rows, 2],
        size=sessions.size[rows],
        slips=sessions.slips[rows],
        exclude=sessions.exclude[rows, :widest],
        session=sessions.number[rows],
        key=keys,
        k=k,
        stock=stock,
        people=people,
    )


def go_on(
    rng: np.random.Generator,
    people: People,
    stock: Stock,
    sessions: Sessions,
    rows: NDArray[np.intp],
    slates: NDArray[np.int32],
    last_click: NDArray[np.int32],
) -> None:
    """Decide what each of the sessions [rows] asks next, or that it ends.

    `last_click` [rows] is the listing clicked last in its slate, -1 for none. After a click the
    visit goes to things similar (40 %), the next page (30 %), a search (20 %) or home; without
    one to the next page (35 %), a search (45 %) or home.
    """
    stays = rng.random(len(rows)) < people.patience[sessions.person[rows]]
    sessions.active[rows[~stays]] = False
    clicked = last_click >= 0
    u = rng.random(len(rows))
    similar = stays & clicked & (u < 0.40)
    page = stays & ~similar & np.where(clicked, u < 0.70, u < 0.35)
    search = stays & ~similar & ~page & np.where(clicked, u < 0.90, u < 0.80)
    home = stays & ~similar & ~page & ~search

    _turn_page(sessions, rows[page], slates[page])
    for chosen, surface in ((similar, SIMILAR), (home, HOME)):
        _clear(sessions, rows[chosen])
        sessions.asks.surface[rows[chosen]] = surface
    sessions.asks.anchor[rows[similar]] = last_click[similar]
    _search(rng, people, stock, sessions, rows[search])


@dataclass(frozen=True)
class Actions:
    """What people did in a round, by time: columns [actions]."""

    row: NDArray[np.int64]
    """Row of the query and slate."""
    position: NDArray[np.int64]
    action: NDArray[np.int64]
    """Index into core.event.ENGAGEMENT_KINDS."""
    t: NDArray[np.int64]


def act(
    rng: np.random.Generator,
    chances: NDArray[np.float64],
    begin: int,
    length_ms: int,
    examined: Examined = examination,
) -> Actions:
    """Draw the actions on slates from their chances [queries, k, actions].

    A position is looked at with its examination, clicked with its chance, and what follows the
    click is drawn independently. Times lie in the last 70 % of the round.
    """
    n, k, _ = chances.shape
    looked = rng.random((n, k)) < examined(k)
    row, position = np.nonzero(looked & (rng.random((n, k)) < chances[:, :, 0]))
    after = rng.random((len(row), chances.shape[2] - 1)) < chances[row, position, 1:]
    which, action = np.nonzero(after)
    pace = (position + rng.random(len(row))) / k
    clicked_at = begin + (length_ms * (0.3 + 0.55 * pace)).astype(np.int64)
    rows = np.concatenate([row, row[which]])
    positions = np.concatenate([position, position[which]])
    actions = np.concatenate([np.zeros(len(row), np.int64), action + 1])
    t = np.concatenate([clicked_at, clicked_at[which] + (action + 1) * (length_ms // 40)])
    order = np.lexsort((actions, positions, rows, t))
    return Actions(rows[order], positions[order], actions[order], t[order])


def _clear(sessions: Sessions, rows: NDArray[np.intp]) -> None:
    asks = sessions.asks
    for column in asks[3:]:
        column[rows] = -1
    asks.surface[rows] = HOME
    sessions.said[rows] = -1
    sessions.size[rows] = -1
    sessions.slips[rows] = False
    sessions.exclude[rows] = -1
    sessions.excluded[rows] = 0


def _turn_page(sessions: Sessions, rows: NDArray[np.intp], slates: NDArray[np.int32]) -> None:
    """The same question, without what was shown; a fifth page begins anew."""
    k = slates.shape[1]
    begin = np.where(sessions.excluded[rows] + k <= MAX_EXCLUDED, sessions.excluded[rows], 0)
    anew = rows[begin == 0]
    sessions.exclude[anew] = -1
    sessions.exclude[rows[:, None], begin[:, None] + np.arange(k)] = slates
    sessions.excluded[rows] = begin + k


def _search(
    rng: np.random.Generator,
    people: People,
    stock: Stock,
    sessions: Sessions,
    rows: NDArray[np.intp],
) -> None:
    """Search for a need, a favourite brand, sometimes a colour or size; sometimes filtered."""
    _clear(sessions, rows)
    n = len(rows)
    person = sessions.person[rows]
    need = people.taste.need[person, rng.integers(0, people.taste.need.shape[1], n)]
    brand = people.taste.favourite[person, rng.integers(0, people.taste.favourite.shape[1], n)]
    u = rng.random((n, 7))
    path = np.where(u[:, 0] < 0.12, stock.of_sub["family"][need], stock.of_sub["path"][need])
    by_path = u[:, 1] < 0.8
    by_brand = (u[:, 2] < 0.4) | ~by_path
    has_size = (stock.of_sub["group"][need] > 0) & by_path
    size = people.size_code[person, stock.of_sub["group"][need]]
    filtered = (u[:, 3] < 0.2) & by_path

    asks = sessions.asks
    asks.surface[rows] = SEARCH
    asks.want_path[rows] = np.where(by_path, path, -1)
    asks.want_brand[rows] = np.where(by_brand, brand, -1)
    colour = rng.integers(0, len(stock.colours), n)
    asks.want_colour[rows] = np.where(u[:, 4] < 0.15, colour, -1)
    asks.filter_path[rows] = np.where(filtered, path, -1)
    asks.filter_size[rows] = np.where(has_size & (u[:, 5] < 0.12), size, -1)
    sessions.size[rows] = np.where(has_size & (u[:, 6] < 0.15), size, -1)
    slips = rng.random((n, 2)) < people.carelessness[person][:, None]
    sessions.slips[rows] = slips
    sessions.said[rows, 0] = np.where(slips[:, 0] & ~filtered, -1, asks.want_path[rows])
    sessions.said[rows, 1] = np.where(slips[:, 1], -1, asks.want_brand[rows])
    sessions.said[rows, 2] = asks.want_colour[rows]
