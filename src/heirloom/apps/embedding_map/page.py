"""The page: listings chosen, laid out, described and written as one HTML file."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from heirloom.apps.embedding_map.projection import Method, nearest, project, trustworthiness
from heirloom.core.catalogue import DAY_MS, Catalogue
from heirloom.core.errors import InputError
from heirloom.core.listing import Listing
from heirloom.simulator.picture import draw

NEIGHBOURS = 10
MOST_GROUPS = 12
"""Entries of a legend, with the one for all others."""
OTHER = "other"
AGES = (
    (1.0, "under a day"),
    (7.0, "under a week"),
    (28.0, "under 4 weeks"),
    (84.0, "under 12 weeks"),
    (365.0, "under a year"),
    (math.inf, "older"),
)
"""Upper end of each group in days, and its name."""
COLOURINGS = ("category", "brand", "age")
TILE = (48, 64)
_QUALITY = 55
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Told:
    """What the page says of itself.

    Attributes:
        trust: trustworthiness of the layout; None where the points are too few for it.
        shown: listings on the page, of `live` ones.
        wanted: the method asked for; `method` is the one that was there.
    """

    name: str
    model_id: str
    dim: int
    n: int
    as_of: str
    live: int
    shown: int
    method: str
    wanted: Method
    trust: float | None
    k: int
    pictures: bool
    colourings: tuple[str, ...] = COLOURINGS


def map_page(
    catalogue: Catalogue,
    vectors: NDArray[np.float32],
    *,
    name: str,
    model_id: str,
    n: int,
    now_ms: int,
    colour: str = "category",
    limit: int = 5_000,
    method: Method = "auto",
    pictures: bool = True,
    step: Callable[[str], None] = lambda _: None,
) -> tuple[str, Told]:
    """The page as HTML, and what it says of itself. The same state gives the same page.

    Args:
        catalogue: of the listings; those that are live are shown.
        vectors: [slots, dim] float32 of unit length; zeros where a slot has none.
        name: of the system, the page's title.
        model_id: which model made the vectors.
        n: log offset of the state.
        now_ms: the moment from which ages are counted, ms since 1970 UTC.
        colour: by what points are coloured at first, one of COLOURINGS.
        limit: at most so many listings, drawn at random where there are more.
        method: of the layout.
        pictures: whether small drawn pictures are in the page.
        step: told what is being done.

    Raises:
        InputError: an unknown colouring, or fewer than three live listings with a vector.
        ConfigError: the method needs what is not installed.
    """
    if colour not in COLOURINGS:
        raise InputError(f"map: colour {colour!r}; wanted one of {', '.join(COLOURINGS)}")
    slots = chosen(catalogue, vectors, limit)
    if len(slots) < 3:
        raise InputError(
            f"map: {len(slots)} live listings have a vector; wanted 3 or more: `heirloom ingest` "
            "listings first, or name another system with --system and --folder"
        )
    points = vectors[slots]
    step("layout")
    positions, made_by = project(points, method)
    step("neighbours")
    trust = trustworthiness(points, positions, NEIGHBOURS)
    described = _described(catalogue, slots, points, positions, now_ms)
    step("pictures")
    listings = [catalogue.listing(slot) for slot in slots.tolist()]
    atlas, columns = _atlas(listings) if pictures else (b"", 0)
    told = Told(
        name=name,
        model_id=model_id,
        dim=points.shape[1],
        n=n,
        as_of=datetime.fromtimestamp(now_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        live=int(catalogue.live.sum()),
        shown=len(slots),
        method=made_by,
        wanted=method,
        trust=None if math.isnan(trust) else trust,
        k=NEIGHBOURS,
        pictures=pictures,
    )
    described |= {
        "colouring": colour,
        "tiles": {"columns": columns, "width": TILE[0], "height": TILE[1]},
    }
    return _filled(told, described, atlas), told


def chosen(catalogue: Catalogue, vectors: NDArray[np.float32], limit: int) -> NDArray[np.int64]:
    """[listings] int64, in order: slots of live listings that have a vector, at most `limit`."""
    live = catalogue.live[: len(vectors)]
    slots = np.flatnonzero(live & vectors[: len(live)].any(axis=1))
    if len(slots) <= limit:
        return slots
    return np.sort(np.random.default_rng(0).choice(slots, limit, replace=False))


def groups(texts: Sequence[str], most: int = MOST_GROUPS) -> tuple[list[str], list[int]]:
    """Labels, the most frequent first, and the label of each text; rare ones share OTHER.

    >>> groups(["a", "b", "b", "c", ""], most=2)
    (['b', 'other'], [1, 0, 0, 1, 1])
    >>> groups(["a", "b", "b"], most=2)
    (['b', 'a'], [1, 0, 0])
    """
    counts = {text: texts.count(text) for text in dict.fromkeys(texts) if text}
    labels = sorted(counts, key=lambda text: (-counts[text], text))
    if len(labels) > most or "" in texts:
        labels = [*labels[: most - 1], OTHER]
    number = {label: i for i, label in enumerate(labels)}
    return labels, [number.get(text, len(labels) - 1) for text in texts]


def branches(paths: Sequence[str], most: int = MOST_GROUPS) -> list[str]:
    """Each category path cut to the depth at which there are at most so many, at least one step.

    >>> branches(["women/shoes/boots", "women/shoes/heels", "men/coats"], most=2)
    ['women/shoes', 'women/shoes', 'men/coats']
    """
    deepest = max((path.count("/") + 1 for path in paths), default=1)
    for depth in range(deepest, 0, -1):
        cut = ["/".join(path.split("/")[:depth]) for path in paths]
        if len(set(cut)) <= most:
            break
    return cut


def _described(
    catalogue: Catalogue,
    slots: NDArray[np.int64],
    points: NDArray[np.float32],
    positions: NDArray[np.float32],
    now_ms: int,
) -> dict[str, Any]:
    """What the script reads: columns over the listings shown."""
    listings = [catalogue.listing(slot) for slot in slots.tolist()]
    near = nearest(points, min(NEIGHBOURS, len(points) - 1))
    cosines = (points[:, None] * points[near]).sum(axis=2)
    age_days = np.maximum(now_ms - catalogue.column("listed_at")[slots], 0) / DAY_MS
    x, y = _in_square(positions).T
    brands, brand = _numbered([listing.brand for listing in listings])
    categories, category = _numbered([listing.category for listing in listings])
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "ids": [listing.listing_id for listing in listings],
        "titles": [listing.title for listing in listings],
        "brands": brands,
        "brand": brand,
        "categories": categories,
        "category": category,
        "price": [listing.price_minor for listing in listings],
        "currency": listings[0].currency,
        "age": np.round(age_days, 1).tolist(),
        "k": near.shape[1],
        "near": near.ravel().tolist(),
        "cosines": np.rint(cosines * 1_000).astype(np.int64).ravel().tolist(),
        "other": OTHER,
        "colourings": {
            "category": _coloured(groups(branches([listing.category for listing in listings]))),
            "brand": _coloured(groups([listing.brand for listing in listings])),
            "age": _coloured(_ages(age_days)),
        },
    }


def _coloured(grouped: tuple[list[str], list[int]]) -> dict[str, Any]:
    labels, of = grouped
    return {"labels": labels, "of": of}


def _ages(days: NDArray[np.float64]) -> tuple[list[str], list[int]]:
    ends = [end for end, _ in AGES[:-1]]
    return [label for _, label in AGES], np.searchsorted(ends, days, side="right").tolist()


def _numbered(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """The distinct texts, and the number of each."""
    number: dict[str, int] = {}
    of = [number.setdefault(text, len(number)) for text in texts]
    return list(number), of


def _in_square(positions: NDArray[np.float32]) -> NDArray[np.int64]:
    """[positions, 2] int64, 0 … 65535, both axes in one scale, the narrower one in the middle."""
    low, high = positions.min(axis=0), positions.max(axis=0)
    reach = max(float((high - low).max()), 1e-12)
    within = (positions - (low + high) / 2) / reach + 0.5
    places: NDArray[np.int64] = np.rint(within * 65_535).astype(np.int64)
    return places


def _atlas(listings: Sequence[Listing]) -> tuple[bytes, int]:
    """One WebP with a drawn picture of each, row by row, and how many there are in a row."""
    wide, high = TILE
    columns = max(math.isqrt(len(listings) * high // wide), 1)
    rows = -(-len(listings) // columns)
    pixels = np.zeros((rows * high, columns * wide, 3), np.uint8)
    for i, listing in enumerate(listings):
        row, column = divmod(i, columns)
        top, left = row * high, column * wide
        pixels[top : top + high, left : left + wide] = draw(listing, wide, high)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=_QUALITY, method=4)
    return file.getvalue(), columns


def _filled(told: Told, described: Mapping[str, Any], atlas: bytes) -> str:
    """The template with all that it needs within; no title can end its script."""
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (_HERE / "page.html").read_text(encoding="utf-8")
    )
    data = msgspec.json.encode(described).decode().replace("<", "\\u003c")
    return page.render(
        told=told,
        data=Markup(data),  # noqa: S704 - «<» is escaped above, and JSON is no HTML
        css=Markup((_HERE / "map.css").read_text(encoding="utf-8")),  # noqa: S704 - our own
        js=Markup((_HERE / "map.js").read_text(encoding="utf-8")),  # noqa: S704 - our own
        pictures=base64.b64encode(atlas).decode(),
    )
