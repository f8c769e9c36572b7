"""Words: how listings' and queries' text is cut, the same way wherever words are compared."""

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"\w+")
_MAX_WORD = 40


def words(text: str) -> list[str]:
    """Words in lower case, without accents, plural endings folded.

    >>> words("Robes d'été, DRESSES & Jeans!")
    ['robe', 'd', 'ete', 'dress', 'jean']
    >>> words("")
    []
    """
    return [_fold(word[:_MAX_WORD]) for word in _WORD.findall(_plain(text))]


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


@lru_cache(maxsize=65_536)
def _fold(word: str) -> str:
    """Plural endings off, so that `dresses` in a category meets `dress` in a query."""
    if len(word) > 4 and word.endswith(("sses", "xes", "shes", "ches")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
