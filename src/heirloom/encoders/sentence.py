"""Sentence: what is written of a listing as a vector of a model trained on other people's text.

`SentenceEncoder` runs a transformer by ONNX; `StaticTable` adds up one vector a token, a hundred
times as fast and less exact. `Sentences` makes either a modality of the listing tower. They need
`tokenizers` (the extra `text`), and neither torch nor transformers.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, ConfigError
from heirloom.core.listing import Listing
from heirloom.encoders import safetensors
from heirloom.encoders.person import session

MODEL_FILE = "sentence.onnx"
ABOUT_FILE = "sentence.json"
TABLE_FILE = "sentence.safetensors"
TOKENIZER_FILE = "tokenizer.json"
MAX_TEXT = 1_000
"""Characters of a text that are read."""
_MAX_DESCRIPTION = 300
_AT_ONCE = 32


class TextModel(Protocol):
    """A model that reads text: the two here, or an open_clip model."""

    dim: int
    model_id: str

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dim] float32 of unit length; zeros for a text of which nothing is read."""


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must be known of a sentence encoder besides its graph."""

    tokens: int
    """Of a text that are read at most, its two ends included."""


class SentenceEncoder:
    """A TextModel: a sentence transformer, its pooling and its unit length in one ONNX graph.

    Args:
        model: a graph as `training.sentence.sentence_graph` makes it.
        tokenizer: of the same model, a tokenizer.json.
        about: what it is.

    Raises:
        BundleError: if the graph or the tokenizer cannot be read.
        ConfigError: if `tokenizers` is not installed.
    """

    def __init__(self, model: bytes, tokenizer: bytes, about: About) -> None:
        self._tokenizer = _tokenizer(tokenizer)
        self._tokenizer.enable_truncation(about.tokens)
        self._session = session(model, "SentenceEncoder")
        reads = sorted(one.name for one in self._session.get_inputs())
        gives = self._session.get_outputs()[0].shape
        if reads != ["read", "tokens"] or len(gives) != 2:
            raise BundleError(
                f"{MODEL_FILE} reads {reads} and gives {gives}; wanted ['read', 'tokens'] and one "
                "vector a text. Export it again"
            )
        self.about = about
        self.dim: int = gives[1]
        of = model + tokenizer + msgspec.json.encode(about)
        self.model_id = f"sentence-1-{self.dim}-{_digest(of)}"
        self.tokenizer = tokenizer
        self._model = model

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dim] float32 of unit length; zeros for a text without a word."""
        found = [one.ids for one in self._tokenizer.encode_batch([_clean(one) for one in texts])]
        ends = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        return self._read([ids if len(ids) > ends else [] for ids in found])

    def vocabulary(self) -> NDArray[np.float32]:
        """[tokens of the vocabulary, dim], each read alone; zeros for what stands for no text."""
        marks = {token.content for token in self._tokenizer.get_added_tokens_decoder().values()}
        pieces = self._tokenizer.get_vocab(with_added_tokens=True)
        opened, closed = self._tokenizer.encode("").ids
        found: list[list[int]] = [[]] * self._tokenizer.get_vocab_size()
        for piece, which in pieces.items():
            if piece not in marks and not piece.startswith("[unused"):
                found[which] = [opened, which, closed]
        return self._read(found)

    def _read(self, found: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        out = np.zeros((len(found), self.dim), np.float32)
        lengths = np.array([len(ids) for ids in found], np.int64)
        # Texts of like length beside each other: the shorter ones are filled up to the longest.
        order = np.argsort(lengths, kind="stable")
        order = order[lengths[order] > 0]
        for begin in range(0, len(order), _AT_ONCE):
            some = order[begin : begin + _AT_ONCE]
            tokens = np.zeros((len(some), lengths[some].max()), np.int64)
            for row, which in enumerate(some.tolist()):
                tokens[row, : lengths[which]] = found[which]
            read = (np.arange(tokens.shape[1]) < lengths[some, None]).astype(np.float32)
            out[some] = self._session.run(None, {"tokens": tokens, "read": read})[0]
        return out

    def save(self, folder: Path) -> None:
        """Write sentence.onnx, tokenizer.json and sentence.json."""
        (folder / MODEL_FILE).write_bytes(self._model)
        (folder / TOKENIZER_FILE).write_bytes(self.tokenizer)
        (folder / ABOUT_FILE).write_bytes(msgspec.json.encode(self.about))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing or is none of ours.
        """
        try:
            about = msgspec.json.decode((folder / ABOUT_FILE).read_bytes(), type=About)
            model, tokenizer = ((folder / f).read_bytes() for f in (MODEL_FILE, TOKENIZER_FILE))
        except (OSError, msgspec.MsgspecError) as error:
            raise BundleError(f"SentenceEncoder.load: {folder.name}: {error}") from error
        return cls(model, tokenizer, about)


class StaticTable:
    """A TextModel: the sum of its tokens' vectors, brought to unit length.

    Args:
        table: [tokens of the vocabulary, dim] float32, each token's weight already in its length.
        tokenizer: a tokenizer.json with that vocabulary.

    Raises:
        BundleError: if the table has not one row for each token, or holds what is no number.
        ConfigError: if `tokenizers` is not installed.
    """

    def __init__(self, table: NDArray[np.float32], tokenizer: bytes) -> None:
        self._tokenizer = _tokenizer(tokenizer)
        self._tokenizer.no_truncation()
        rows = self._tokenizer.get_vocab_size()
        if table.ndim != 2 or len(table) != rows or not np.isfinite(table).all():
            raise BundleError(
                f"{TABLE_FILE} is {table.shape}; wanted ({rows}, dim), a row of numbers for each "
                f"token of {TOKENIZER_FILE}"
            )
        self._table = np.ascontiguousarray(table, np.float32)
        self.tokenizer = tokenizer
        self.dim: int = table.shape[1]
        self.model_id = f"static-1-{self.dim}-{_digest(self._table.tobytes() + tokenizer)}"

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """[texts, dim] float32 of unit length; zeros for a text without a word that is known."""
        found = self._tokenizer.encode_batch(
            [_clean(one) for one in texts], add_special_tokens=False
        )
        sums = np.zeros((len(texts), self.dim), np.float32)
        for i, one in enumerate(found):
            sums[i] = self._table[one.ids].sum(axis=0)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (sums / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return unit

    def save(self, folder: Path) -> None:
        """Write sentence.safetensors and tokenizer.json."""
        safetensors.write(folder / TABLE_FILE, {"table": self._table}, {})
        (folder / TOKENIZER_FILE).write_bytes(self.tokenizer)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            BundleError: if a file is missing or is none of ours.
        """
        arrays, _ = safetensors.read(folder / TABLE_FILE)
        try:
            return cls(arrays["table"], (folder / TOKENIZER_FILE).read_bytes())
        except (OSError, KeyError) as error:
            raise BundleError(f"StaticTable.load: {folder.name}: {error} is missing") from error


class Sentences:
    """A Modality: what is written of listings, as a model of text reads it.

    Args:
        model: reads text.
    """

    name = "text"

    def __init__(self, model: TextModel) -> None:
        self.dim, self.model_id = model.dim, model.model_id
        self._model = model

    def listings(
        self, listings: Sequence[Listing]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """[listings, dim] float32 of unit length, and [listings] bool, whether there is one."""
        texts = [said(listing) for listing in listings]
        # A price drop is a new row with the same words: each text is read once.
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        read = self._model.texts([*rows])
        known: NDArray[np.bool_] = np.any(read != 0, axis=1)
        of = np.array([rows[text] for text in texts], np.int64)
        return read[of], known[of]

    def text(self, text: str) -> NDArray[np.float32]:
        """[dim] float32 of unit length for a query; zeros if no word is in it."""
        vector: NDArray[np.float32] = self._model.texts([text])[0]
        return vector


def said(listing: Listing) -> str:
    """What is written of a listing, as one text.

    >>> said(Listing(listing_id="1", seller="s", title="Midi dress", brand="Cos", colour="red"))
    'Midi dress. Cos red'
    """
    attributes = (listing.brand, listing.colour, listing.material, listing.category)
    named = " ".join(" ".join(attributes).replace("/", " ").split())
    parts = (listing.title, named, listing.description[:_MAX_DESCRIPTION])
    return ". ".join(part for part in parts if part.strip())


def _clean(text: str) -> str:
    """As far as it is read, and without halves of characters, which tokenizers refuse."""
    return text[:MAX_TEXT].encode("utf-8", "replace").decode()


def _tokenizer(data: bytes) -> Any:
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError as error:
        raise ConfigError(
            "sentence encoder", ["tokenizers is not installed; `pip install heirloom[text]`"]
        ) from error
    try:
        tokenizer = Tokenizer.from_buffer(data)
    except Exception as error:  # it raises a bare Exception
        raise BundleError(f"{TOKENIZER_FILE} cannot be read: {error}") from error
    tokenizer.no_padding()
    return tokenizer


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
