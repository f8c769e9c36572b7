"""Words: how listings' and queries' text is cut, the same way wherever words are compared."""

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"\w+")
_MAX_WORD = 40
_MAX_ASKED = 8


def words(text: str) -> list[str]:
    """Words in lower case, without accents, plural endings folded.

    >>> words("Robes d'été, DRESSES & Jeans!")
    ['robe', 'd', 'ete', 'dress', 'jean']
    >>> words("")
    []
    """
    return [_fold(word[:_MAX_WORD]) for word in _WORD.findall(_plain(text))]


@lru_cache(maxsize=8_192)
def query_key(text: str | None) -> str:
    """What makes two queries the same: their words, each once, in alphabetical order.

    The first eight count; a longer text is a letter, not a query.

    >>> query_key("Red DRESSES, red"), query_key("dress red"), query_key(None)
    ('dress red', 'dress red', '')
    """
    return (
        " ".join(sorted(dict.fromkeys(words(text[: _MAX_ASKED * _MAX_WORD])[:_MAX_ASKED])))
        if text
        else ""
    )


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
