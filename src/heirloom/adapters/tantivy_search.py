"""TantivyIndex: a LexicalIndex on tantivy, in memory or in a folder.

Tantivy shows what was committed. Here a search commits first where something is waiting, at most
once in `lag_ms`; what waits is found by none of its former words. In a folder the log offset
stands in a document of its own that is replaced with every commit, so listings and offset are
of one moment, or neither is there.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import tantivy
from numpy.typing import NDArray

from heirloom.core.errors import StoreError
from heirloom.retrieval.index import Found
from heirloom.retrieval.lexical import (
    FIELD_WEIGHT,
    NO_SYNONYMS,
    Alternative,
    Fields,
    Part,
    Synonyms,
    ordered,
    parts_of,
)
from heirloom.retrieval.top import fitted
from heirloom.retrieval.word_index import check

FORMAT = 1
"""Of what is in a folder: another is folded from the log anew."""
MOST_WAITING = 20_000
"""So many changes are committed without waiting for a search."""
_HEAP = 32_000_000
_MARK = "offset"

_Query = tantivy.Query
_MUST, _SHOULD = tantivy.Occur.Must, tantivy.Occur.Should


class TantivyIndex:
    """Listings by their words, in tantivy's inverted index.

    Args:
        synonyms: what may stand for what; it may be another at each start.
        folder: where it lies; None for memory alone.
        lag_ms: what is upserted may be unfound for so long. 0: every search finds all, at the
            price of a commit wherever something changed since the last.
        clock: monotonic, in seconds; it decides when to commit and nothing else.

    Raises:
        StoreError: the folder is another process's, or damaged.
    """

    def __init__(
        self,
        synonyms: Synonyms = NO_SYNONYMS,
        *,
        folder: Path | None = None,
        lag_ms: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.n = 0
        self.folder = folder
        self._synonyms = synonyms
        self._lag_s = lag_ms / 1000
        self._clock = clock
        self._schema = _schema()
        self._waiting: dict[int, dict[str, list[str]]] = {}
        self._present = np.zeros(0, np.bool_)
        self._size = 0
        self._having: Counter[str] = Counter()
        self._brands: Counter[str] = Counter()
        self._latest: _Answer | None = None
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            self._index = tantivy.Index(self._schema, path=str(folder) if folder else None)
            self._writer = self._index.writer(heap_size=_HEAP, num_threads=1)
            self._searcher = self._index.searcher()
            self._recover()
        except (ValueError, OSError) as error:
            raise StoreError(
                f"search index {folder}: {error}; if no other process has it open, delete the "
                "folder: it is folded from the log anew"
            ) from error
        self._last = clock() - self._lag_s

    def upsert(self, slot: int, fields: Fields) -> None:
        """Give a slot its words, in place of those it had."""
        check(slot, fields)
        self._forget(slot)
        self._latest = None
        self._present = fitted(self._present, slot + 1)
        self._present[slot] = True
        self._size += 1
        words = {name: list(of) for name, of in fields.items() if of}
        self._count(words, 1)
        self._waiting[slot] = words
        document = tantivy.Document()
        document.add_unsigned("slot", slot)
        for name, of in words.items():
            document.add_text(name, " ".join(of))
        self._writer.add_document(document)
        if len(self._waiting) >= MOST_WAITING:
            self.flush()

    def remove(self, slot: int) -> None:
        """Forget a slot; one that is unknown is left out."""
        if self._forget(slot):
            self._waiting[slot] = {}
            self._latest = None

    def advance(self, n: int) -> None:
        """All of the log before offset n has been given."""
        self.n = n

    def flush(self) -> None:
        """Let every later search find all that was given, and have a folder hold it durably.

        Raises:
            StoreError: the disk refuses; the log has it all.
        """
        mark = tantivy.Document()
        mark.add_text("mark", _MARK)
        mark.add_unsigned("format", FORMAT)
        mark.add_unsigned("n", self.n)
        try:
            self._writer.delete_documents_by_query(self._term("mark", _MARK))
            self._writer.add_document(mark)
            self._writer.commit()
            self._index.reload()
        except (ValueError, OSError) as error:
            raise StoreError(
                f"search index {self.folder}: {error}; nothing is lost, the log has it all: free "
                "some space and start again"
            ) from error
        self._searcher = self._index.searcher()
        self._waiting.clear()
        self._latest = None
        self._last = self._clock()

    def close(self) -> None:
        """Flush, and let the folder go. Nothing may be asked afterwards."""
        self.flush()
        self._writer.wait_merging_threads()

    def match(self, text: str, allowed: NDArray[np.bool_], least: int) -> Found:
        """Slots int32 and scores float32 of what matches, best first, ties by slot."""
        if self._waiting and self._clock() - self._last >= self._lag_s:
            self.flush()
        # One request asks twice, for what its words mean and for the best of it.
        if self._latest is None or self._latest.text != text:
            self._latest = _Answer(text, self._parts(text), self._hits)
        return ordered(self._latest.whole, self._latest.some, allowed, least)

    def _parts(self, text: str) -> list[tantivy.Query]:
        parts = parts_of(
            text,
            self._synonyms,
            listings=self._size,
            having=self._having.__getitem__,
            brands=self._brands.__getitem__,
        )
        return [self._query(part) for part in parts]

    def _query(self, part: Part) -> tantivy.Query:
        """A listing's points for a part: the most that one alternative gives in one field."""
        found = []
        for alternative in part.alternatives:
            if len(alternative.words) > 1:
                points = alternative.phrase_points(part.share)
                found.append(_Query.const_score_query(self._phrase(alternative), points))
                continue
            for field in alternative.fields:
                points = alternative.points(part.share, field)
                found.append(_Query.const_score_query(self._word(alternative, field), points))
        return _Query.disjunction_max_query(found)

    def _word(self, alternative: Alternative, field: str) -> tantivy.Query:
        (word,) = alternative.words
        if alternative.beginning or alternative.edits:
            return _Query.fuzzy_term_query(
                self._schema,
                field,
                word,
                distance=alternative.edits,
                transposition_cost_one=True,
                prefix=alternative.beginning,
            )
        return self._term(field, word)

    def _term(self, field: str, value: str | int) -> tantivy.Query:
        return _Query.term_query(self._schema, field, value, index_option="basic")

    def _phrase(self, alternative: Alternative) -> tantivy.Query:
        anywhere = [
            _Query.boolean_query(
                [(_SHOULD, self._term(field, word)) for field in alternative.fields]
            )
            for word in alternative.words
        ]
        return _Query.boolean_query([(_MUST, query) for query in anywhere])

    def _hits(self, query: tantivy.Query, limit: int | None = None) -> tuple[Found, bool]:
        """The best that match and are still what they were when committed; whether all."""
        most = self._searcher.num_docs + 1
        limit = min(limit or most, most)
        hits = self._searcher.search(query, limit=limit, count=False).hits
        addresses = [address for _, address in hits]
        slots = np.array(self._searcher.fast_field_values("slot", addresses), np.int32)
        scores = np.fromiter((score for score, _ in hits), np.float32, len(hits))
        if self._waiting:
            changed = np.fromiter(self._waiting, np.int32, len(self._waiting))
            same = ~np.isin(slots, changed)
            slots, scores = slots[same], scores[same]
        return (slots, scores), len(hits) < limit

    def _forget(self, slot: int) -> bool:
        """Take a slot's words out of the counts, and its document out of the next commit."""
        if not 0 <= slot < len(self._present) or not self._present[slot]:
            return False
        self._count(self._waiting.get(slot) or self._committed(slot), -1)
        # By query: by term, tantivy 0.27 takes a number for signed and deletes nothing.
        self._writer.delete_documents_by_query(self._term("slot", slot))
        self._present[slot] = False
        self._size -= 1
        return True

    def _committed(self, slot: int) -> dict[str, list[str]]:
        """The words of a slot as last committed."""
        hits = self._searcher.search(self._term("slot", slot), limit=1, count=False).hits
        document = self._searcher.doc(hits[0][1]).to_dict() if hits else {}
        return {name: document[name][0].split() for name in FIELD_WEIGHT if name in document}

    def _count(self, words: Fields, by: int) -> None:
        for name, of in words.items():
            for word in of:
                self._having[word] += by
                if name == "brand":
                    self._brands[word] += by

    def _recover(self) -> None:
        """Take over what a folder holds, or nothing of it if it is of another format."""
        hits = self._searcher.search(self._term("mark", _MARK), limit=1).hits
        mark = self._searcher.doc(hits[0][1]).to_dict() if hits else {}
        if mark.get("format") != [FORMAT]:
            self._writer.delete_all_documents()
            self.flush()
            return
        everything = _Query.all_query()
        limit = max(self._searcher.num_docs, 1)
        found = self._searcher.search(
            everything, limit=limit, count=False, order_by_field="slot"
        ).hits
        slots = self._searcher.fast_field_values("slot", [address for _, address in found])
        taken = np.array([slot for slot in slots if slot is not None], np.int64)
        self._present = fitted(self._present, int(taken.max(initial=-1)) + 1)
        self._present[taken] = True
        self._size = len(taken)
        for name in FIELD_WEIGHT:
            counted = self._searcher.terms_with_prefix(name, "", filter_query=everything)
            for word, number in counted:
                self._having[word] += number
                if name == "brand":
                    self._brands[word] += number
        self.n = mark["n"][0]


class _Answer:
    """What matches a text, all its parts or some, allowed or not; each looked for once."""

    def __init__(
        self,
        text: str,
        parts: list[tantivy.Query],
        hits: Callable[[tantivy.Query, int | None], tuple[Found, bool]],
    ) -> None:
        self.text = text
        self._parts = parts
        self._hits = hits
        self._some: tuple[int, Found, bool] | None = None

    @cached_property
    def whole(self) -> Found:
        """All that match every part."""
        return self._of(_MUST, None)[0]

    def some(self, limit: int) -> tuple[Found, bool]:
        """So many that match some part, or more, and whether these are all."""
        if len(self._parts) < 2:
            return self.whole, True
        if self._some is None or not (self._some[2] or self._some[0] >= limit):
            self._some = (limit, *self._of(_SHOULD, limit))
        return self._some[1:]

    def _of(self, occur: tantivy.Occur, limit: int | None) -> tuple[Found, bool]:
        if not self._parts:
            return (np.zeros(0, np.int32), np.zeros(0, np.float32)), True
        query = _Query.boolean_query([(occur, part) for part in self._parts])
        return self._hits(query, limit)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("slot", indexed=True, fast=True)
    for name in FIELD_WEIGHT:
        # Stored, so that the words that a slot had are known when it gets others.
        builder.add_text_field(name, stored=True, tokenizer_name="whitespace", index_option="basic")
    builder.add_text_field("mark", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("format", stored=True)
    builder.add_unsigned_field("n", stored=True)
    return builder.build()
