"""Vocabulary: strings as dense int32 codes, field by field. Append only, 0 is «none»."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from heirloom.core.errors import StoreError

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
        self._ahead: dict[str, list[str]] = {}  # by field, the next one last
        for field, rows in groupby(entries, itemgetter(0)):
            given = list(rows)
            first = self.size(field)
            self._give_all(field, [text for _, _, text in given])
            codes, wanted = self._codes[field], range(first, first + len(given))
            once = len(codes) + 1 == self.size(field) and "" not in codes
            if not once or [code for _, code, _ in given] != list(wanted):
                raise ValueError(f"vocabulary: codes of {field} came out of order or twice")

    def code(self, field: str, text: str | None) -> int:
        """The code of a string, given a new one if it has none yet; 0 for None and ''."""
        if not text:
            return NONE
        codes = self._codes.setdefault(field, {})
        code = codes.get(text)
        if code is None and self._ahead:
            return self._reach(field, text)
        if code is None:
            code = self._give(field, text)
            self._new.append((field, code, text))
        return code

    def codes(self, field: str, texts: Sequence[str | None]) -> list[int]:
        """`code` of each of many, in this order.

        >>> Vocabulary().codes("brand", ["Cos", None, "Arket", "Cos"])
        [1, 0, 2, 1]
        """
        if not any(texts):
            return [NONE] * len(texts)
        known = self._codes.setdefault(field, {}).get
        codes = [known(text, -1) if text else NONE for text in texts]
        if -1 in codes:
            codes = [self.code(field, text) for text in texts]
        return codes

    def rewound(self) -> "Vocabulary":
        """The same codes, of which none is known yet.

        A replay begins with it: a string is found from the entry on that brought it, and not
        before, as when it was served. `code` and `know` bring a code back.

        >>> replay = Vocabulary([("brand", 1, "Arket"), ("brand", 2, "Cos")]).rewound()
        >>> replay.know("brand", 1)
        >>> replay.find("brand", "Arket"), replay.find("brand", "Cos"), replay.code("brand", "Cos")
        (1, 0, 2)
        """
        rewound = Vocabulary()
        rewound._ahead = {field: texts[:0:-1] for field, texts in self._texts.items()}
        return rewound

    def know(self, field: str, code: int | None = None) -> None:
        """Know a field's codes up to this one, or all of them; nothing but after `rewound`."""
        ahead = self._ahead.get(field, [])
        count = len(ahead) if code is None else code + 1 - self.size(field)
        if ahead and count > 0:
            self._give_all(field, ahead[: -count - 1 : -1])
            del ahead[-count:]
        if not ahead:
            self._ahead.pop(field, None)

    def know_all(self) -> None:
        """Know every code: the log was read to its end."""
        for field in list(self._ahead):
            self.know(field)

    def foresee(self, entries: Iterable[tuple[str, int, str]]) -> None:
        """Codes that the log's writer gave meanwhile: each is known from its entry on.

        Args:
            entries: (field, code, text), by code from `next_code` of each field on.

        Raises:
            StoreError: a code is left out.

        >>> vocabulary = Vocabulary([("brand", 1, "Arket")])
        >>> vocabulary.foresee([("brand", 2, "Cos")])
        >>> vocabulary.find("brand", "Cos"), vocabulary.code("brand", "Cos")
        (0, 2)
        """
        new: dict[str, list[str]] = {}
        for field, code, text in entries:
            words = new.setdefault(field, [])
            if code != self.next_code(field) + len(words):
                raise StoreError(
                    f"vocabulary: {field} code {code} came where {self.next_code(field)} is next; "
                    "the log was replaced by another: start again"
                )
            words.append(text)
        for field, words in new.items():
            self._ahead[field] = words[::-1] + self._ahead.get(field, [])

    def next_code(self, field: str) -> int:
        """The code that the field's next new string gets."""
        return self.size(field) + len(self._ahead.get(field, []))

    @property
    def rewinding(self) -> bool:
        """Whether there are codes that are not known again yet."""
        return bool(self._ahead)

    def _give(self, field: str, text: str) -> int:
        texts = self._texts.setdefault(field, [""])
        self._codes.setdefault(field, {})[text] = len(texts)
        texts.append(text)
        return len(texts) - 1

    def _give_all(self, field: str, new: Sequence[str]) -> None:
        texts = self._texts.setdefault(field, [""])
        codes = self._codes.setdefault(field, {})
        codes.update(zip(new, range(len(texts), len(texts) + len(new)), strict=True))
        texts.extend(new)

    def _reach(self, field: str, text: str) -> int:
        """The code of a string that is still ahead; all before it are known then."""
        ahead, codes = self._ahead.get(field, []), self._codes[field]
        while ahead and text not in codes:
            self._give(field, ahead.pop())
        if not ahead:
            self._ahead.pop(field, None)
        if text not in codes:
            raise StoreError(
                f"vocabulary: a replay met {field} {text[:40]!r}, which has no code in the log; "
                "the log and its vocabulary are not of one system, restore both together"
            )
        return codes[text]

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

    def sizes(self) -> dict[str, int]:
        """`size` of each field that has a code."""
        return {field: len(texts) for field, texts in self._texts.items()}

    def drain_new(self) -> list[tuple[str, int, str]]:
        """(field, code, text) given since the last call."""
        new, self._new = self._new, []
        return new

    def give_back(self, new: list[tuple[str, int, str]]) -> None:
        """Undo a `drain_new` whose codes could not be persisted; the next one gives them again."""
        self._new = new + self._new

    def __len__(self) -> int:
        return sum(len(codes) for codes in self._codes.values())
