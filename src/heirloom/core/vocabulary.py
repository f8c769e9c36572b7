"""Vocabulary: strings as dense int32 codes, field by field. Append only, 0 is «none»."""

from collections.abc import Iterable

NONE = 0


class Vocabulary:
    """Codes for the strings that travel the hot path as numbers.

    Fields in use: person, seller, brand, category, size, colour, condition, country, material,
    query, and `declared.NAME` for each declared attribute. A code is given once and never
    changes, so the log may keep codes. `drain_new` tells the log what to persist with the next
    append.

    >>> vocabulary = Vocabulary()
    >>> vocabulary.code("brand", "Miu Miu"), vocabulary.code("brand", ""), len(vocabulary)
    (1, 0, 1)
    >>> vocabulary.text("brand", 1)
    'Miu Miu'
    """

    def __init__(self, entries: Iterable[tuple[str, int, str]] = ()) -> None:
        self._codes: dict[str, dict[str, int]] = {}
        self._texts: dict[str, list[str]] = {}
        self._new: list[tuple[str, int, str]] = []
        for field, code, text in entries:
            if self.code(field, text) != code:
                raise ValueError(f"vocabulary: {field} {text!r} came out of order (code {code})")
        self._new.clear()

    def code(self, field: str, text: str | None) -> int:
        """The code of a string, given a new one if it has none yet; 0 for None and ''."""
        if not text:
            return NONE
        codes = self._codes.setdefault(field, {})
        code = codes.get(text)
        if code is None:
            code = len(codes) + 1
            codes[text] = code
            self._texts.setdefault(field, [""]).append(text)
            self._new.append((field, code, text))
        return code

    def find(self, field: str, text: str | None) -> int:
        """The code of a string; 0 if it was never seen. Gives no new code."""
        return self._codes.get(field, {}).get(text, NONE) if text else NONE

    def text(self, field: str, code: int) -> str:
        """The string of a code; '' for 0."""
        return self._texts[field][code] if code else ""

    def texts(self, field: str) -> list[str]:
        """All strings of a field by code; entry 0 is ''."""
        return self._texts.get(field, [""])

    def size(self, field: str) -> int:
        """How many codes a field has, 0 included: the length of an array by code."""
        return len(self.texts(field))

    def drain_new(self) -> list[tuple[str, int, str]]:
        """(field, code, text) given since the last call."""
        new, self._new = self._new, []
        return new

    def give_back(self, new: list[tuple[str, int, str]]) -> None:
        """Undo a `drain_new` whose codes could not be persisted; the next one gives them again."""
        self._new = new + self._new

    def __len__(self) -> int:
        return sum(len(codes) for codes in self._codes.values())
