"""Picture: a drawn photo of a listing, for any listing.

A silhouette by category, filled with the colour, a weave or pattern by material and id, light
from one side, on a wall and floor as sellers have them. Shapes are polygons in the unit square,
the origin at the top left; all is numpy.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from heirloom.core.listing import Listing

Polygon = tuple[tuple[float, float], ...]

_TOP: Polygon = (
    (0.36, 0.22), (0.43, 0.26), (0.57, 0.26), (0.64, 0.22), (0.84, 0.36), (0.76, 0.50),
    (0.68, 0.45), (0.69, 0.78), (0.31, 0.78), (0.32, 0.45), (0.24, 0.50), (0.16, 0.36),
)  # fmt: skip
_COAT: Polygon = (
    (0.38, 0.14), (0.50, 0.20), (0.62, 0.14), (0.80, 0.26), (0.86, 0.62), (0.76, 0.64),
    (0.70, 0.42), (0.74, 0.88), (0.26, 0.88), (0.30, 0.42), (0.24, 0.64), (0.14, 0.62),
    (0.20, 0.26),
)  # fmt: skip
_DRESS: Polygon = (
    (0.40, 0.12), (0.45, 0.20), (0.55, 0.20), (0.60, 0.12), (0.66, 0.28), (0.60, 0.44),
    (0.80, 0.88), (0.20, 0.88), (0.40, 0.44), (0.34, 0.28),
)  # fmt: skip
_SKIRT: Polygon = ((0.36, 0.22), (0.64, 0.22), (0.80, 0.78), (0.20, 0.78))
_TROUSERS: Polygon = (
    (0.34, 0.12), (0.66, 0.12), (0.72, 0.90), (0.56, 0.90), (0.50, 0.38), (0.44, 0.90),
    (0.28, 0.90),
)  # fmt: skip
_SWIM: Polygon = (
    (0.40, 0.16), (0.44, 0.30), (0.56, 0.30), (0.60, 0.16), (0.64, 0.40), (0.60, 0.54),
    (0.66, 0.68), (0.54, 0.80), (0.46, 0.80), (0.34, 0.68), (0.40, 0.54), (0.36, 0.40),
)  # fmt: skip
_SNEAKER: Polygon = (
    (0.14, 0.44), (0.34, 0.42), (0.42, 0.50), (0.60, 0.58), (0.80, 0.62), (0.88, 0.70),
    (0.87, 0.76), (0.13, 0.76),
)  # fmt: skip
_BOOT: Polygon = (
    (0.26, 0.18), (0.54, 0.18), (0.54, 0.54), (0.78, 0.64), (0.84, 0.78), (0.46, 0.78),
    (0.42, 0.74), (0.40, 0.84), (0.26, 0.84),
)  # fmt: skip
_HEEL: Polygon = (
    (0.16, 0.40), (0.26, 0.42), (0.40, 0.56), (0.62, 0.68), (0.86, 0.72), (0.86, 0.77),
    (0.60, 0.77), (0.38, 0.68), (0.25, 0.58), (0.22, 0.78), (0.18, 0.78),
)  # fmt: skip
_BAG: Polygon = ((0.22, 0.46), (0.78, 0.46), (0.86, 0.82), (0.14, 0.82))
_CLUTCH: Polygon = ((0.14, 0.40), (0.86, 0.40), (0.86, 0.70), (0.14, 0.70))
_BACKPACK: Polygon = (
    (0.32, 0.28), (0.42, 0.20), (0.58, 0.20), (0.68, 0.28), (0.74, 0.82), (0.26, 0.82),
)  # fmt: skip
_BELT: Polygon = ((0.06, 0.50), (0.94, 0.44), (0.94, 0.53), (0.06, 0.59))
_SCARF: Polygon = (
    (0.34, 0.14), (0.66, 0.14), (0.60, 0.34), (0.70, 0.88), (0.54, 0.88), (0.50, 0.42),
    (0.46, 0.88), (0.30, 0.88), (0.40, 0.34),
)  # fmt: skip
_HAT: Polygon = (
    (0.30, 0.58), (0.34, 0.34), (0.44, 0.28), (0.56, 0.28), (0.66, 0.34), (0.70, 0.58),
    (0.90, 0.62), (0.88, 0.68), (0.12, 0.68), (0.10, 0.62),
)  # fmt: skip
_TIE: Polygon = (
    (0.44, 0.12), (0.56, 0.12), (0.54, 0.22), (0.61, 0.76), (0.50, 0.88), (0.39, 0.76),
    (0.46, 0.22),
)  # fmt: skip

# The first word found in the last step of the category, else in the whole path, decides.
_SHAPES: dict[str, Polygon | str] = {
    "trench": _COAT, "coat": _COAT, "jacket": _COAT, "dress": _DRESS, "jumpsuit": _DRESS,
    "skirt": _SKIRT, "trouser": _TROUSERS, "jean": _TROUSERS, "pant": _TROUSERS,
    "swim": _SWIM, "lingerie": _SWIM, "boot": _BOOT, "heel": _HEEL, "sandal": _HEEL,
    "ballet": _SNEAKER, "flat": _SNEAKER, "shoe": _SNEAKER, "trainer": _SNEAKER,
    "clutch": _CLUTCH, "wallet": _CLUTCH, "backpack": _BACKPACK, "bag": _BAG,
    "belt": _BELT, "scarf": _SCARF, "scarves": _SCARF, "hat": _HAT, "tie": _TIE,
    "sunglass": "glasses", "watch": "ring", "bracelet": "ring", "ring": "ring",
    "necklace": "chain", "jewel": "ring", "clothing": _TOP, "accessor": _CLUTCH,
}  # fmt: skip

_RGB: dict[str, tuple[int, int, int]] = {
    "black": (38, 36, 40), "white": (240, 238, 232), "multicolour": (196, 120, 96),
    "brown": (112, 74, 48), "beige": (214, 194, 160), "blue": (62, 104, 176),
    "pink": (232, 150, 172), "grey": (138, 140, 146), "red": (186, 40, 44),
    "green": (66, 118, 82), "gold": (206, 168, 84), "navy": (34, 46, 84),
    "camel": (190, 146, 94), "silver": (184, 190, 198), "burgundy": (110, 26, 44),
    "orange": (226, 126, 52), "yellow": (238, 206, 88), "purple": (118, 78, 148),
    "ecru": (230, 220, 198), "khaki": (128, 124, 84), "anthracite": (66, 70, 76),
    "turquoise": (70, 170, 172), "metallic": (170, 172, 180),
}  # fmt: skip
_WALLS = ((236, 231, 224), (224, 229, 232), (240, 226, 218), (222, 230, 220), (232, 226, 238))
_SHINY = ("patent", "metal", "silver", "glitter", "gold", "silk")


def draw(listing: Listing, width: int = 96, height: int = 128) -> NDArray[np.uint8]:
    """[height, width, 3] uint8 RGB, decided by the listing's id, category, colour and material.

    >>> hat = Listing(listing_id="a", seller="s", title="", category="men/accessories/hats")
    >>> draw(hat).shape, bool((draw(hat) == draw(hat)).all())
    ((128, 96, 3), True)
    """
    rng = np.random.default_rng(zlib.crc32(listing.listing_id.encode()))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x, y = (x + 0.5) / width, (y + 0.5) / height
    picture = _room(rng, x, y)

    # A photo is never quite straight: turn and scale the thing a little.
    turn, scale = rng.normal(0.0, 0.05), rng.uniform(0.92, 1.06)
    u = 0.5 + ((x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn)) / scale
    v = 0.5 + ((y - 0.5) * np.cos(turn) - (x - 0.5) * np.sin(turn)) / scale
    inside = _silhouette(listing.category, u, v)
    shadow = np.roll(inside, (height // 40, width // 30), axis=(0, 1)) & ~inside
    picture[shadow] *= 0.80

    cloth = np.array(_RGB.get(listing.colour, (150, 140, 134)), np.float64)
    filled = cloth * _texture(rng, listing, u, v)[:, :, None]
    if listing.colour == "multicolour":
        bands = np.stack([np.sin(9 * u + 5 * v + phase) for phase in (0.0, 2.1, 4.2)], axis=2)
        filled = filled + 70.0 * bands
    edge = inside & ~(np.roll(inside, 1, 0) & np.roll(inside, -1, 0) & np.roll(inside, 1, 1))
    picture[inside] = filled[inside]
    picture[edge] *= 0.72
    grain = rng.normal(0.0, 3.0, picture.shape)
    drawn: NDArray[np.uint8] = np.clip(picture + grain, 0, 255).astype(np.uint8)
    return drawn


def _room(
    rng: np.random.Generator, x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Wall and floor, lit from one side: [height, width, 3]."""
    wall = np.array(_WALLS[rng.integers(len(_WALLS))], np.float64)
    light = 1.0 - 0.12 * np.abs(x - rng.uniform(0.1, 0.9)) - 0.06 * y
    floor = 0.90 + 0.02 * np.sin(40.0 * x)
    light = np.where(y > rng.uniform(0.76, 0.88), light * floor, light)
    room: NDArray[np.float64] = wall * light[:, :, None]
    return room


def _texture(
    rng: np.random.Generator, listing: Listing, u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How light the thing is at each point: folds, shine, and for some a pattern."""
    folds = 1.0 + 0.07 * np.sin(14.0 * u + 3.0 * np.sin(5.0 * v) + rng.uniform(0, 6))
    folds += 0.10 * (0.5 - u)
    if any(word in listing.material for word in _SHINY):
        folds += 0.35 * np.exp(-(((u - 0.42) / 0.06) ** 2))
    if any(word in listing.material for word in ("wool", "cashmere", "tweed", "knit")):
        folds += 0.06 * np.sign(np.sin(90.0 * v) * np.sin(70.0 * u))
    pattern = rng.random()
    if pattern < 0.10:
        folds += 0.22 * (np.sin(60.0 * v) > 0.2)
    elif pattern < 0.16:
        folds += 0.20 * ((np.sin(38.0 * u) > 0.4) | (np.sin(38.0 * v) > 0.4))
    elif pattern < 0.22:
        folds += 0.35 * (np.sin(36.0 * u) * np.sin(36.0 * v) > 0.62)
    return folds


def _silhouette(category: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[height, width] True where the thing is."""
    leaf = category.rsplit("/", 1)[-1].lower()
    shape = next((s for word, s in _SHAPES.items() if word in leaf), None)
    if shape is None:
        shape = next((s for word, s in _SHAPES.items() if word in category.lower()), _TOP)
    if shape == "glasses":
        lens = np.minimum(np.hypot(u - 0.32, v - 0.5), np.hypot(u - 0.68, v - 0.5)) < 0.15
        return lens | ((np.abs(v - 0.46) < 0.018) & (np.abs(u - 0.5) < 0.42))
    if shape == "ring":
        return np.abs(np.hypot(u - 0.5, 1.2 * (v - 0.54)) - 0.24) < 0.045
    if shape == "chain":
        hanging = np.abs(v - (0.22 + 1.9 * (0.25 - (u - 0.5) ** 2))) < 0.025
        return (hanging & (np.abs(u - 0.5) < 0.34)) | (np.hypot(u - 0.5, v - 0.74) < 0.05)
    inside = _in_polygon(shape, u, v) if not isinstance(shape, str) else np.zeros(u.shape, bool)
    if shape is _BAG or shape is _BACKPACK:
        handle = np.hypot(u - 0.5, v - (0.46 if shape is _BAG else 0.2))
        inside |= (np.abs(handle - (0.2 if shape is _BAG else 0.07)) < 0.02) & (v < 0.46)
    return inside


def _in_polygon(
    corners: Polygon, u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Even-odd rule: a ray to the right crosses the outline an odd number of times."""
    inside = np.zeros(u.shape, np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, (*corners[1:], corners[0]), strict=True):
        if y1 != y2:
            spans = (v < y1) != (v < y2)
            inside ^= spans & (u < (x2 - x1) * (v - y1) / (y2 - y1) + x1)
    return inside
