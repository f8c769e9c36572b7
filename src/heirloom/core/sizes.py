"""Sizes: what is written of a size, as a number on a scale of the body.

A letter, an EU number and a UK number of one body give one number, so that a distance between
sizes can be told. Labels are no measurements: two charts differ by about one size. The charts here
are those of resale shops (the letter m is women's EU 38, FR 38, IT 42, UK 10, US 6, and men's
EU 48, UK 38); where charts in use contradict each other (German numbers, men's French ones, French
shoes) a size is not read. What cannot be read is None.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from heirloom.core.words import words

CLOTHING, SHOES, CHILDREN, CHILDREN_SHOES = "clothing", "shoes", "children", "children_shoes"

_WOMEN, _MEN, _CHILD = (
    frozenset(words(text))
    for text in ("women woman womenswear ladies", "men man menswear",
                 "kids kid children child childrenswear girls boys baby babies toddler junior")
)  # fmt: skip
_SHOE_WORDS = frozenset(
    words("shoes footwear boots trainers sneakers sandals heels pumps flats loafers mules clogs")
)
_LEG_WORDS = frozenset(words("jeans trousers pants chinos"))
_CLOTHING_WORDS = _LEG_WORDS | frozenset(
    words(
        "clothing clothes apparel dresses tops shirts blouses knitwear jumpers sweaters cardigans "
        "hoodies sweatshirts skirts shorts jackets coats blazers suits leggings jumpsuits swimwear "
        "outerwear activewear sportswear nightwear gilets vests polos tees tunics parkas"
    )
)
_ELSEWHERE = frozenset(
    words(
        "accessories bags handbags jewellery jewelry watches belts hats caps gloves rings socks "
        "bras scarves sunglasses wallets toys books beauty home"
    )
)
"""Things with sizes of another kind, or none."""

_LETTER_M = 2
_LEAST, _MOST = -2.0, 11.0
_CLOTHING_CHARTS = {
    ("women", "eu"): (34, 2), ("women", "fr"): (34, 2), ("women", "it"): (38, 2),
    ("women", "uk"): (6, 2), ("women", "us"): (2, 2), ("women", "w"): (26, 1),
    ("men", "eu"): (44, 2), ("men", "it"): (44, 2),
    ("men", "uk"): (34, 2), ("men", "us"): (34, 2), ("men", "w"): (28, 2),
}  # fmt: skip
"""By department and notation: what xs is, and the step to the next letter. Resale shops' charts;
men's UK and US is the chest in inches (EU - 10), W the waist in inches (men's EU - 16)."""
_SHOE_CHARTS = {
    ("women", "uk"): 33, ("women", "us"): 31, ("men", "uk"): 34, ("men", "us"): 33,
}  # fmt: skip
"""What is added to give the EU number, as shoe shops' charts do; makers differ by half a size."""
_MONTHS_CM = {0: 50, 1: 50, 3: 62, 6: 68, 9: 74, 12: 80, 18: 86, 24: 92, 36: 98}
"""Height by age in months; from two years on 80 cm and 6 for each year (2: 92 … 14: 164), as
shops label EN 13402's heights."""
_WAIST = {"women": (23, 31), "men": (26, 42)}
"""Bare numbers of trousers that are inches: no EU number of the department is among them."""
_NOTATIONS = {
    "eu": "eu", "eur": "eu", "uk": "uk", "gb": "uk", "us": "us", "usa": "us", "it": "it",
    "fr": "fr", "w": "w", "cm": "cm",
    **dict.fromkeys(("y", "yr", "yrs", "year", "years", "a", "ans", "anni"), "years"),
    **dict.fromkeys(("m", "mo", "mth", "mths", "month", "months", "mois", "mesi"), "months"),
}  # fmt: skip

_LONGEST = 40
_NAMES = "|".join(sorted(_NOTATIONS, key=len, reverse=True))
_NUMBER = re.compile(rf"({_NAMES})?[ .]*([0-9]{{1,3}}(?:\.[0-9]+)?) ?({_NAMES})?")
_LETTER = re.compile(r"(?:(?:eu|uk|us|it|fr) ?)?(?:([2-6])x|(x{0,6}))(s|m|l|small|medium|large)")
_EXTRA = re.compile(r"\b((?:(?:x+|extra)[ -]*)+)(small|large)\b")
_FRACTION = re.compile(r"([0-9]+) +(1/2|1/3|2/3)\b")
_BETWEEN = re.compile(r"[/|(–-]| to | or |(?<=[0-9]) (?=(?:eu|uk|us|it|fr) ?[0-9])")
_WAIST_LENGTH = re.compile(r"w ?([0-9]{2})[ /x-]*l ?[0-9]{2}|([0-9]{2}) ?w[ /x-]*[0-9]{2} ?l")
_INCHES = re.compile(r"([0-9]{2}) ?[/x] ?([0-9]{2})")
_FRACTIONS = {"1/2": ".5", "1/3": ".33", "2/3": ".67"}


class Wear(NamedTuple):
    """What a size is said of.

    Attributes:
        department: `women`, `men`, `children`, or '' where the category names none.
        scale: CLOTHING, 0 for xs and one more per letter; SHOES and CHILDREN_SHOES, the EU number;
            CHILDREN, years of age, six centimetres of height each.
        legs: whether it is trousers, whose numbers may be inches of the waist.
    """

    department: str
    scale: str
    legs: bool = False


class SizePoint(NamedTuple):
    """A size on a scale of `Wear`."""

    scale: str
    number: float


def size_point(text: str, category: str) -> SizePoint | None:
    """A listing's size by its category path; None where it cannot be read.

    >>> size_point("UK 10", "women/dresses/midi")
    SizePoint(scale='clothing', number=2.0)
    >>> size_point("m", "men/coats").number, size_point("48", "men/coats").number
    (2.0, 2.0)
    >>> size_point("38.5", "women/shoes/boots")
    SizePoint(scale='shoes', number=38.5)
    >>> size_point("one size", "women/dresses"), size_point("m", "women/bags")
    (None, None)
    """
    wear = worn(category)
    number = None if wear is None else size_number(text, wear)
    return None if wear is None or number is None else SizePoint(wear.scale, number)


@lru_cache(maxsize=4_096)
def worn(category: str) -> Wear | None:
    """What is worn of a category, by the English words of its path; None for things that are not.

    >>> worn("women/clothing/jeans"), worn("kids/shoes")
    (Wear(department='women', scale='clothing', legs=True), \
Wear(department='children', scale='children_shoes', legs=False))
    >>> worn("women/accessories/belts"), worn("")
    (None, None)
    """
    named = words(category)
    if _ELSEWHERE.intersection(named):
        return None
    department = department_of(category)
    if _SHOE_WORDS.intersection(named):
        return Wear(department, CHILDREN_SHOES if department == "children" else SHOES)
    if not _CLOTHING_WORDS.intersection(named):
        return None
    if department == "children":
        return Wear(department, CHILDREN)
    return Wear(department, CLOTHING, bool(_LEG_WORDS.intersection(named)))


def department_of(path: str) -> str:
    """`women`, `men` or `children`, whichever a path names first; '' for none.

    >>> department_of("Women/dresses"), department_of("girls"), department_of("home")
    ('women', 'children', '')
    """
    departments = ((_WOMEN, "women"), (_MEN, "men"), (_CHILD, "children"))
    found = (name for word in words(path) for said, name in departments if word in said)
    return next(found, "")


def size_number(text: str, wear: Wear) -> float | None:
    """The number of a size on the scale of what it is said of; None where it cannot be read.

    Of several sizes (`38/40`, `S-M`, `M (EU 38)`) it is the middle, unless they are more than two
    apart; of several ages the last, as labels say up to when it fits.

    >>> women, men = Wear("women", CLOTHING), Wear("men", CLOTHING, legs=True)
    >>> [size_number(text, women) for text in ("XXS", "s/m", "38/40", "IT 42", "US 6", "FR38")]
    [-1.0, 1.5, 2.5, 2.0, 2.0, 2.0]
    >>> [size_number(text, men) for text in ("W32 L34", "32/34", "48", "extra large")]
    [2.0, 2.0, 2.0, 4.0]
    >>> size_number("UK 5", Wear("women", SHOES)), size_number("37 1/2", Wear("", SHOES))
    (38.0, 37.5)
    >>> child = Wear("children", CHILDREN)
    >>> [size_number(text, child) for text in ("104", "4 years", "18-24 months", "m")]
    [4.0, 4.0, 2.0, None]
    >>> [size_number(text, women) for text in ("10", "one size", "xs/xl", "")]
    [None, None, None, None]
    """
    return _read(text[: _LONGEST + 1], wear)


@lru_cache(maxsize=16_384)
def _read(text: str, wear: Wear) -> float | None:
    plain = _plain(text)
    if not plain:
        return None
    if wear.scale == CLOTHING and (inches := _waist(plain, wear)):
        return _converted(inches, "w", wear)
    parts = [part.strip() for part in _BETWEEN.split(plain.replace(")", ""))]
    matched = [_NUMBER.fullmatch(part) for part in parts]
    said = {name for each in matched if each for name in (each[1], each[3]) if name}
    only = said.pop() if len(said) == 1 else ""
    numbers = [
        _of_number(each, only, wear) if each else _of_letter(part, wear)
        for part, each in zip(parts, matched, strict=True)
    ]
    read = [number for number in numbers if number is not None]
    if not read or len(read) < len(numbers) or max(read) - min(read) > 2:
        return None
    aged = _NOTATIONS.get(only, "") in ("years", "months")
    return max(read) if aged else (min(read) + max(read)) / 2


def _plain(text: str) -> str:
    """Lower case, with fractions as decimals and «extra large» as `xlarge`; '' if too long.

    >>> _plain("Size: 37½"), _plain("Extra Large"), _plain("38,5 ")
    ('37.5', 'xlarge', '38.5')
    """
    if len(text) > _LONGEST:
        return ""
    for sign, written in (("½", " 1/2"), ("⅓", " 1/3"), ("⅔", " 2/3")):
        text = text.replace(sign, written)
    text = re.sub(r"^(size|intl|international)\b[ :.]*", "", " ".join(text.casefold().split()))
    text = re.sub(r"([0-9]),([0-9])", r"\1.\2", text)
    text = _FRACTION.sub(lambda found: found[1] + _FRACTIONS[found[2]], text)
    return _EXTRA.sub(lambda found: "x" * found[1].count("x") + found[2], text)


def _waist(plain: str, wear: Wear) -> float | None:
    """Inches of the waist where a size says waist and length, or trousers say it in no words."""
    if found := _WAIST_LENGTH.fullmatch(plain):
        return float(found[1] or found[2])
    least, most = _WAIST.get(wear.department, (1, 0))
    if not wear.legs:
        return None
    if (found := _INCHES.fullmatch(plain)) and int(found[2]) - int(found[1]) == 1:
        return None  # two waists, or a waist and a length
    if found and not 26 <= int(found[2]) <= 38:
        return None
    first = found[1] if found else plain
    return float(first) if first.isdecimal() and least <= int(first) <= most else None


def _of_letter(part: str, wear: Wear) -> float | None:
    found = _LETTER.fullmatch(part)
    if not found or wear.scale != CLOTHING:
        return None
    extra = int(found[1]) if found[1] else len(found[2])
    if found[3][0] == "m":
        return None if extra else float(_LETTER_M)
    return float(_LETTER_M + (1 + extra) * (1 if found[3][0] == "l" else -1))


def _of_number(found: re.Match[str], only: str, wear: Wear) -> float | None:
    if found[1] and found[3]:
        return None
    notation = _NOTATIONS.get(found[1] or found[3] or only, "")
    value = -2.0 if found[2] == "00" and notation == "us" else float(found[2])
    return _converted(value, notation, wear)


def _converted(value: float, notation: str, wear: Wear) -> float | None:
    """A number in a notation, '' for none written, on the scale of what it is said of."""
    if wear.scale == CHILDREN:
        return _of_child(value, notation)
    if wear.scale == CLOTHING:
        chart = _CLOTHING_CHARTS.get((wear.department, notation or "eu"))
        if chart is None or value % (1 if notation == "w" else 2):
            return None
        number = (value - chart[0]) / chart[1]
        return number if _LEAST <= number <= _MOST and not _unsure(value, notation, wear) else None
    least, most = (33, 52) if wear.scale == SHOES else (15, 42)
    added = 0 if notation in ("", "eu", "it") else _SHOE_CHARTS.get((wear.department, notation))
    if added is None or not least <= value + added <= most:
        return None
    return value + added


def _unsure(value: float, notation: str, wear: Wear) -> bool:
    """Whether a bare number may be another notation's: a chest or a collar, inches of a waist."""
    if notation:
        return False
    return value < 44 if wear.department == "men" else wear.legs and value < 34


def _of_child(value: float, notation: str) -> float | None:
    if notation == "years" and value > 1:
        return value if value <= 16 else None
    if notation in ("years", "months"):
        height = _MONTHS_CM.get(int(value * (12 if notation == "years" else 1)))
    else:
        height = int(value) if notation in ("", "cm") and 44 <= value <= 182 else None
    return None if height is None else (height - 80) / 6
