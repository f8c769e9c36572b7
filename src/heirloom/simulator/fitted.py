"""The constants of the simulated world, each with the moment it was fitted to, or «judgement».

Only aggregate moments stand here (means, spreads, shares), no row of any data set.
`benchmarks/fit_simulator.py` measures the same moments on the real sets and on a simulated world.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

THEMES: dict[str, tuple[str, ...]] = {
    "minimal": ("minimalist", "clean lines", "capsule", "quiet luxury", "understated"),
    "streetwear": ("streetwear", "hype", "oversized", "skater", "urban"),
    "boho": ("boho", "festival", "hippie", "fringed", "flowy"),
    "y2k": ("y2k", "2000s", "noughties", "baby", "logomania"),
    "vintage": ("vintage", "retro", "archive", "90s", "80s"),
    "classic": ("classic", "timeless", "elegant", "preppy", "old money"),
    "romantic": ("romantic", "feminine", "lace", "ruffles", "coquette"),
    "edgy": ("edgy", "rock", "studded", "biker", "grunge"),
    "glamour": ("glamour", "evening", "sequin", "statement", "party"),
    "sporty": ("sporty", "athleisure", "track", "performance", "gym"),
    "avant-garde": ("avant-garde", "deconstructed", "asymmetric", "conceptual", "runway"),
    "workwear": ("workwear", "utility", "cargo", "rugged", "heritage"),
    "parisian": ("parisian", "french girl", "chic", "effortless", "left bank"),
    "western": ("western", "cowboy", "americana", "suede fringe", "ranch"),
    "logo": ("monogram", "logo", "iconic", "signature", "canvas"),
    "business": ("office", "tailored", "business", "smart", "formal"),
}
"""Styles, and the words by which people write them (judgement)."""


class BrandMoments(NamedTuple):
    """Mean of ln(price in EUR), mean likes [vestiaire_listings], and styles (judgement)."""

    log_price: float
    likes: float
    themes: tuple[str, ...]


BRANDS: dict[str, BrandMoments] = {
    "kate spade": BrandMoments(4.32, 4.1, ("romantic", "business")),
    "tory burch": BrandMoments(4.68, 4.9, ("boho", "classic")),
    "michael kors": BrandMoments(4.70, 4.0, ("logo", "glamour")),
    "coach": BrandMoments(4.81, 7.5, ("classic", "western")),
    "alexander wang": BrandMoments(5.03, 6.7, ("edgy", "sporty")),
    "yves saint laurent": BrandMoments(5.16, 8.3, ("vintage", "parisian")),
    "acne studios": BrandMoments(5.16, 13.4, ("minimal", "streetwear")),
    "salvatore ferragamo": BrandMoments(5.22, 3.5, ("classic", "business")),
    "golden goose": BrandMoments(5.32, 4.9, ("streetwear", "western")),
    "isabel marant": BrandMoments(5.33, 10.5, ("boho", "parisian")),
    "jean paul gaultier": BrandMoments(5.35, 12.2, ("avant-garde", "y2k")),
    "versace": BrandMoments(5.40, 6.6, ("glamour", "y2k")),
    "burberry": BrandMoments(5.42, 8.2, ("classic", "workwear")),
    "dolce & gabbana": BrandMoments(5.46, 3.6, ("glamour", "romantic")),
    "off-white": BrandMoments(5.48, 13.7, ("streetwear", "logo")),
    "jimmy choo": BrandMoments(5.47, 3.1, ("glamour", "romantic")),
    "chloé": BrandMoments(5.65, 7.0, ("boho", "parisian")),
    "alexander mcqueen": BrandMoments(5.54, 9.0, ("edgy", "avant-garde")),
    "maison martin margiela": BrandMoments(5.55, 10.3, ("avant-garde", "minimal")),
    "prada": BrandMoments(5.56, 12.7, ("minimal", "sporty")),
    "givenchy": BrandMoments(5.64, 5.6, ("edgy", "streetwear")),
    "moncler": BrandMoments(5.66, 6.0, ("sporty", "workwear")),
    "valentino garavani": BrandMoments(5.70, 6.4, ("romantic", "glamour")),
    "gucci": BrandMoments(5.71, 13.0, ("logo", "vintage")),
    "celine": BrandMoments(5.76, 11.9, ("minimal", "parisian")),
    "fendi": BrandMoments(5.77, 16.5, ("logo", "y2k")),
    "balmain": BrandMoments(5.79, 5.2, ("glamour", "edgy")),
    "dior": BrandMoments(5.87, 20.0, ("romantic", "y2k")),
    "christian louboutin": BrandMoments(5.89, 6.4, ("glamour", "edgy")),
    "balenciaga": BrandMoments(5.99, 13.8, ("streetwear", "avant-garde")),
    "bottega veneta": BrandMoments(6.02, 16.4, ("minimal", "business")),
    "saint laurent": BrandMoments(6.13, 16.1, ("edgy", "parisian")),
    "hermès": BrandMoments(6.19, 6.4, ("classic", "western")),
    "louis vuitton": BrandMoments(6.34, 19.9, ("logo", "classic")),
    "chanel": BrandMoments(6.88, 23.5, ("classic", "romantic")),
}
BRAND_ZIPF = 0.5
"""Shares of brands by rank of mean likes (judgement: the real sample took 430 of each)."""
MEAN_LIKES = 9.67
"""Mean likes [vestiaire_listings]."""


class SubMoments(NamedTuple):
    """Share within department/category, ln-price offset after brand [vestiaire_listings]."""

    share: float
    log_price: float


FAMILY_SHARE: dict[str, float] = {
    "women/shoes": 0.262,
    "women/clothing": 0.219,
    "women/bags": 0.207,
    "women/accessories": 0.089,
    "women/jewellery": 0.035,
    "men/clothing": 0.094,
    "men/shoes": 0.056,
    "men/accessories": 0.023,
    "men/bags": 0.015,
}
"""Shares of department/category [vestiaire_listings]."""

SUBS: dict[str, dict[str, SubMoments]] = {
    "women/clothing": {
        "jackets": SubMoments(0.16, 0.28),
        "coats": SubMoments(0.14, 0.50),
        "dresses": SubMoments(0.16, 0.09),
        "tops": SubMoments(0.15, -0.39),
        "knitwear": SubMoments(0.14, -0.35),
        "trousers": SubMoments(0.07, -0.44),
        "jeans": SubMoments(0.05, -0.36),
        "skirts": SubMoments(0.06, -0.39),
        "trench-coats": SubMoments(0.04, 0.34),
        "swimwear": SubMoments(0.03, -0.50),
    },
    "women/shoes": {
        "trainers": SubMoments(0.24, -0.05),
        "ankle-boots": SubMoments(0.21, 0.08),
        "sandals": SubMoments(0.17, -0.13),
        "heels": SubMoments(0.18, -0.20),
        "boots": SubMoments(0.10, 0.28),
        "flats": SubMoments(0.05, -0.12),
        "ballet-flats": SubMoments(0.05, -0.40),
    },
    "women/bags": {
        "handbags": SubMoments(0.86, 0.54),
        "clutch-bags": SubMoments(0.06, -0.14),
        "backpacks": SubMoments(0.04, 0.42),
        "travel-bags": SubMoments(0.04, 0.10),
    },
    "women/accessories": {
        "belts": SubMoments(0.21, -0.41),
        "scarves": SubMoments(0.24, -0.54),
        "sunglasses": SubMoments(0.17, -0.80),
        "wallets": SubMoments(0.24, -0.42),
        "hats": SubMoments(0.08, -0.53),
        "watches": SubMoments(0.06, 0.45),
    },
    "women/jewellery": {
        "bracelets": SubMoments(0.37, -0.51),
        "earrings": SubMoments(0.28, -0.39),
        "necklaces": SubMoments(0.20, -0.40),
        "rings": SubMoments(0.15, -0.59),
    },
    "men/clothing": {
        "jackets": SubMoments(0.26, 0.40),
        "coats": SubMoments(0.12, 0.70),
        "knitwear": SubMoments(0.23, -0.10),
        "t-shirts": SubMoments(0.14, -0.56),
        "shirts": SubMoments(0.09, -0.47),
        "trousers": SubMoments(0.10, -0.40),
        "jeans": SubMoments(0.06, -0.36),
    },
    "men/shoes": {
        "trainers": SubMoments(0.66, 0.04),
        "boots": SubMoments(0.17, 0.12),
        "lace-ups": SubMoments(0.12, -0.12),
        "sandals": SubMoments(0.05, -0.15),
    },
    "men/bags": {
        "backpacks": SubMoments(0.35, 0.42),
        "messenger-bags": SubMoments(0.35, 0.15),
        "travel-bags": SubMoments(0.30, 0.05),
    },
    "men/accessories": {
        "belts": SubMoments(0.26, -0.40),
        "wallets": SubMoments(0.32, -0.70),
        "scarves": SubMoments(0.12, -0.55),
        "ties": SubMoments(0.15, -1.69),
        "watches": SubMoments(0.05, 0.45),
        "hats": SubMoments(0.10, -0.55),
    },
}
PRICE_CENTRE = 0.20
"""Added to ln price, so that means by brand hold with the shares and drops drawn here."""
PRICE_NOISE = 0.60
"""Standard deviation of ln price after brand, category and condition [vestiaire_listings]."""

CONDITIONS: dict[str, tuple[float, float, float]] = {
    "never worn, with tag": (0.079, 0.27, 0.30),
    "never worn": (0.326, 0.17, 0.20),
    "very good condition": (0.462, -0.06, 0.0),
    "good condition": (0.115, -0.32, -0.30),
    "fair condition": (0.018, -0.69, -0.80),
}
"""Share and ln-price offset after brand and category [vestiaire_listings]; liking (judgement)."""

COLOURS: dict[str, float] = {
    "black": 0.335,
    "white": 0.089,
    "multicolour": 0.078,
    "brown": 0.072,
    "beige": 0.068,
    "blue": 0.066,
    "pink": 0.040,
    "grey": 0.036,
    "red": 0.030,
    "green": 0.030,
    "gold": 0.030,
    "navy": 0.020,
    "camel": 0.019,
    "silver": 0.017,
    "burgundy": 0.015,
    "orange": 0.011,
    "yellow": 0.010,
    "purple": 0.010,
    "ecru": 0.008,
    "khaki": 0.008,
}
"""Shares [vestiaire_listings], made to add up to one where drawn."""

MATERIALS: dict[str, dict[str, float]] = {
    "clothing": {
        "cotton": 0.30,
        "wool": 0.22,
        "polyester": 0.13,
        "silk": 0.10,
        "viscose": 0.06,
        "denim": 0.06,
        "leather": 0.06,
        "cashmere": 0.04,
        "linen": 0.03,
    },
    "shoes": {
        "leather": 0.66,
        "suede": 0.13,
        "patent leather": 0.09,
        "cloth": 0.09,
        "glitter": 0.03,
    },
    "bags": {"leather": 0.76, "cloth": 0.14, "synthetic": 0.05, "patent leather": 0.05},
    "accessories": {
        "leather": 0.35,
        "silk": 0.20,
        "wool": 0.12,
        "plastic": 0.15,
        "cashmere": 0.06,
        "metal": 0.12,
    },
    "jewellery": {"metal": 0.70, "silver": 0.18, "plastic": 0.12},
}
"""By category, rounded [vestiaire_listings]."""

COUNTRIES: dict[str, float] = {
    "IT": 0.29,
    "FR": 0.21,
    "GB": 0.14,
    "DE": 0.10,
    "ES": 0.05,
    "RO": 0.03,
    "PL": 0.02,
    "GR": 0.02,
    "BE": 0.02,
    "NL": 0.02,
    "AT": 0.02,
    "SE": 0.02,
    "PT": 0.02,
    "DK": 0.02,
    "IE": 0.02,
}
"""Sellers' countries [vestiaire_listings]."""

LETTER_SIZES = ("xs", "s", "m", "l", "xl", "xxl")
CLOTHING_SHARE = (0.13, 0.28, 0.30, 0.17, 0.09, 0.03)
"""Shares of the six body sizes xs … xxl [vestiaire_listings, letters and EU numbers]."""
FIRST_EU_SIZE = {"women": 34, "men": 44}
"""EU number that answers to xs; one letter is two numbers."""
SHOE_MEAN = {"women": 38.3, "men": 42.4}
SHOE_SPREAD = 1.6
"""EU shoe sizes [vestiaire_listings]."""

WOMEN_SHARE = 0.78
"""Share of people who are women [c2c_fashion_users]."""

PHOTOS_LOG_MEAN, PHOTOS_LOG_SD, PHOTOS_MAX = 1.87, 0.53, 25
"""Photos: mean 7.4, quartiles 5 / 7 / 9, at most 25 [grailed_sold]."""

LIFE_LOG_MEAN, LIFE_LOG_SD = 3.28, 1.84
"""ln days from listing to a sale elsewhere; with sales to simulated people:
median 38, quartiles 11 / 117 [grailed_sold]."""
EXPIRY_DAYS = 400.0
"""Unsold listings are taken down at this age (judgement; the 95th percentile is 392)."""
REMOVAL_PER_DAY = 0.001
"""Chance a day that a seller takes a listing down unsold (judgement)."""

DROP_MEAN, DROP_SHAPE, DROP_KNEE_DAYS = 0.044, 0.75, 60.0
"""Price drops: a rate per day and seller, gamma of this mean and shape, that slows with age as
1 / (1 + age / knee): 1.72 drops by the sale, 46 % none [grailed_sold]."""
DROP_LOG_FACTOR = -0.128
"""Mean of ln(new price / old price) of one drop: 12 % off [grailed_sold]."""

SELLER_ZIPF = 0.8
"""Listings by rank of seller: the first 1 % hold half of them [c2c_fashion_users]."""

HOURS: NDArray[np.float64] = np.array(
    [
        0.0023,
        0.0049,
        0.0126,
        0.0272,
        0.0407,
        0.0523,
        0.0546,
        0.0554,
        0.0607,
        0.0610,
        0.0590,
        0.0535,
        0.0501,
        0.0526,
        0.0546,
        0.0683,
        0.0835,
        0.0805,
        0.0633,
        0.0320,
        0.0169,
        0.0075,
        0.0042,
        0.0024,
    ]
)
"""Share of a day's clicks by hour UTC [yoochoose_100k]."""

CONTINUE = 0.62
"""Mean chance to ask for another slate (judgement; clicks per session come out at about twice
those of [yoochoose_100k], so that a short run gives people a history)."""


def shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights made to add up to one.

    >>> shares(np.array([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    normed: NDArray[np.float64] = weights / weights.sum()
    return normed


def zipf(n: int, exponent: float) -> NDArray[np.float64]:
    """[n] shares by rank, proportional to rank ** -exponent, adding up to one.

    >>> zipf(2, 1.0).round(3).tolist()
    [0.667, 0.333]
    """
    return shares(np.arange(1, n + 1, dtype=np.float64) ** -exponent)
