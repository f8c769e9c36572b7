"""Words: titles, descriptions, hashtags and searches as people write them.

Each text is made when asked for, from the world's seed and the number alone, so that it does not
matter which texts are read, or in which order.
"""

import random

from heirloom.core.listing import Listing
from heirloom.simulator import fitted
from heirloom.simulator.stock import ONE_SIZE, Stock

_THEME_WORDS = list(fitted.THEMES.values())
_SAY_SUB: dict[str, tuple[str, ...]] = {
    "trainers": ("trainers", "sneakers", "trainers"),
    "handbags": ("handbag", "bag", "shoulder bag"),
    "knitwear": ("jumper", "knit", "sweater"),
    "trench-coats": ("trench coat", "trench"),
    "heels": ("heels", "pumps"),
    "ankle-boots": ("ankle boots", "boots"),
    "ballet-flats": ("ballet flats", "ballerinas"),
    "trousers": ("trousers", "pants"),
    "t-shirts": ("t-shirt", "tee"),
}
_DETAILS = (
    "worn twice", "from a smoke free home", "no trades", "bought in paris", "rarely worn",
    "selling as it no longer fits", "comes with dust bag", "small mark on the lining",
    "price negotiable", "ships tomorrow", "authentic, receipt available", "true to size",
)  # fmt: skip
_WOMEN, _MEN = ("women's", "ladies", "womens"), ("men's", "mens")


def misspelt(word: str, rng: random.Random) -> str:
    """The word with one slip of the fingers: a letter lost, doubled, or two exchanged.

    >>> misspelt("chanel", random.Random(1))
    'cahnel'
    """
    if len(word) < 4:
        return word
    i = rng.randrange(1, len(word) - 1)
    slip = rng.randrange(3)
    if slip == 0:
        return word[:i] + word[i + 1 :]
    if slip == 1:
        return word[:i] + word[i] + word[i:]
    return word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :]


def say_sub(sub: str, rng: random.Random) -> str:
    """How people call the last step of a category path."""
    leaf = sub.rsplit("/", 1)[-1]
    return rng.choice(_SAY_SUB.get(leaf, (leaf.replace("-", " "),)))


def listing_of(stock: Stock, number: int, seed: int) -> Listing:
    """The listing as its seller describes it, at its present price."""
    if number < len(stock.given):
        return stock.given[number]
    rng = random.Random(seed * 1_000_003 + number)
    col = {name: int(stock.column(name)[number]) for name in (
        "sub", "brand", "colour", "size", "condition", "material", "seller", "theme", "photos",
        "price_minor", "listed_at")}  # fmt: skip
    sub, brand = stock.subs.texts[col["sub"]], stock.brands.texts[col["brand"]]
    colour, size = stock.colours.texts[col["colour"]], stock.sizes.texts[col["size"]]
    material = stock.materials.texts[col["material"]]
    condition = stock.conditions.texts[col["condition"]]
    themes = _THEME_WORDS[col["theme"]]
    careless = float(stock.sellers.carelessness[col["seller"]])
    thing = say_sub(sub, rng)

    title = [brand, colour if rng.random() < 0.6 else "", material if rng.random() < 0.5 else ""]
    title += [rng.choice(themes) if rng.random() < 0.6 else "", thing]
    if size != ONE_SIZE and rng.random() < 0.3:
        title.append(f"size {size}")
    words = [misspelt(w, rng) if rng.random() < careless else w for w in " ".join(title).split()]
    written = " ".join(words)
    shout = rng.random()
    written = written.upper() if shout < 0.04 else written.title() if shout < 0.6 else written

    said = [f"{brand.title()} {thing} in {colour} {material}", condition]
    said += [f"{rng.choice(themes)} style"] if rng.random() < 0.7 else []
    said += [f"size {size}"] if size != ONE_SIZE and rng.random() < 0.7 else []
    said += rng.sample(_DETAILS, rng.randrange(0, 4))
    tags = [brand, rng.choice(themes), thing] if rng.random() < 0.7 else []
    if rng.random() < float(stock.sellers.stuffing[col["seller"]]):
        others = rng.sample(stock.brands.texts, min(4, len(stock.brands)))
        tags += [other for other in others if other != brand]
        said.append("similar to " + " ".join(others[:2]))
    text = ". ".join(misspelt(w, rng) if rng.random() < careless / 2 else w for w in said)
    return Listing(
        listing_id=stock.listing_id(number),
        seller=stock.seller_names[col["seller"]],
        title=written,
        description=text,
        hashtags=tuple("#" + tag.replace(" ", "").replace("&", "") for tag in tags),
        category=sub,
        brand=brand,
        size=size,
        colour=colour,
        condition=condition,
        material=material,
        price_minor=col["price_minor"],
        country=stock.countries.texts[int(stock.sellers.country[col["seller"]])],
        photos=col["photos"],
        listed_at=col["listed_at"],
    )


def search_text(
    path: str, brand: str, colour: str, size: str, slips: tuple[bool, bool], key: int
) -> str:
    """What a person types who wants these; '' for what is not asked.

    `slips` says whether the category word and the brand are misspelt; `key` seeds the choice of
    words.
    """
    rng = random.Random(key)
    steps = path.split("/")
    thing = say_sub(path, rng) if path else ""
    thing = misspelt(thing, rng) if slips[0] else thing
    brand = misspelt(brand, rng) if slips[1] else brand
    by = _WOMEN if steps[0] == "women" else _MEN if steps[0] == "men" else ("",)
    whose = rng.choice(by) if path and rng.random() < 0.3 else ""
    words = [colour, brand, whose, thing] if rng.random() < 0.7 else [thing, brand, whose, colour]
    text = " ".join(word for word in [*words, size] if word)
    return text.title() if rng.random() < 0.2 else text
