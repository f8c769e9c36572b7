"""Modalities: vectors of other models (of photos, of text) that a listing tower reads too.

A modality is a named source of vectors. The tower takes it as one more part of the listing beside
the tokens, through a projection; where there is none the tower does without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import BundleError, ConfigError, ShapeError
from heirloom.core.listing import Listing


class Modality(Protocol):
    """A model of photos or text, as a listing tower reads it.

    Attributes:
        name: `photo`, `text`, …; a tower has one of each name.
        dim: of its vectors.
        model_id: of the model that makes them; vectors of two models never mix.
    """

    name: str
    dim: int
    model_id: str

    def listings(
        self, listings: Sequence[Listing]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """[listings, dim] float32 of unit length, and [listings] bool, whether there is one.

        Of listings that have an id, and so can be looked up.
        """

    def text(self, text: str) -> NDArray[np.float32] | None:
        """[dim] float32 of unit length for a query; None if the model does not read text."""


class Read(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A modality that a tower was trained with."""

    name: str
    dim: int
    model_id: str


@dataclass(frozen=True, slots=True)
class Dense:
    """Vectors of one modality for listings.

    Attributes:
        read: whose they are.
        vectors: [listings, dim] float32; zeros where there is none.
    """

    read: Read
    vectors: NDArray[np.float32]


def agreed(wanted: Sequence[Read], given: Sequence[Modality]) -> tuple[Modality, ...]:
    """The modalities in the order in which a tower was trained with them.

    Raises:
        BundleError: if one is missing, is of another model or size, or was not trained with.
    """
    by_name = {modality.name: modality for modality in given}
    problems = [
        f"{name!r} is given, and the tower was not trained with it"
        for name in by_name
        if name not in {read.name for read in wanted}
    ]
    if len(by_name) != len(given):
        problems.append(f"a name is given twice in {[modality.name for modality in given]}")
    for read in wanted:
        came = by_name.get(read.name)
        if came is None:
            problems.append(f"{read.name!r} is missing; wanted {read.model_id}, dim {read.dim}")
        elif (came.model_id, came.dim) != (read.model_id, read.dim):
            problems.append(
                f"{read.name!r} is of {came.model_id}, dim {came.dim}; the tower was trained with "
                f"{read.model_id}, dim {read.dim}"
            )
    if problems:
        raise BundleError(
            f"modalities: {'; '.join(problems)}. Give those it was trained with, or train again"
        )
    return tuple(by_name[read.name] for read in wanted)


def told(modalities: Sequence[Modality]) -> tuple[Read, ...]:
    """What is to be kept of modalities with a tower that is trained with them.

    Raises:
        ConfigError: if one has no vectors, or a name that is taken or no plain word.
    """
    names = [modality.name for modality in modalities]
    problems = [f"the name {name!r} is no plain word" for name in names if not name.isidentifier()]
    problems += [f"the name {name!r} is taken" for name in {*names} if names.count(name) > 1]
    problems += [f"{m.name!r} has dim {m.dim}; wanted at least 1" for m in modalities if m.dim < 1]
    if problems:
        raise ConfigError("modalities", problems)
    return tuple(Read(name=m.name, dim=m.dim, model_id=m.model_id) for m in modalities)


def dense(modality: Modality, listings: Sequence[Listing]) -> Dense:
    """A modality's vectors of listings, checked.

    A listing without an id is in no shop: it says what somebody asks or wishes for. The modality
    is not asked for it; its title is read as a query is, by a model that reads text.

    Raises:
        ShapeError: if they are not what it says they are, or one holds what is no number.
    """
    (read,) = told([modality])
    out = np.zeros((len(listings), read.dim), np.float32)
    real = np.array([bool(one.listing_id) for one in listings], np.bool_)
    if real.any():
        vectors, known = modality.listings([one for one in listings if one.listing_id])
        if known.shape != (int(real.sum()),):
            raise ShapeError(
                f"{modality.name}: whether there is a vector came as {known.shape}; "
                f"wanted ({int(real.sum())},)"
            )
        out[real] = _checked(modality, vectors, known).vectors
    for row in np.flatnonzero(~real).tolist():
        if listings[row].title.strip():
            out[row] = dense_text(modality, listings[row].title).vectors[0]
    return Dense(read, out)


def dense_text(modality: Modality, text: str) -> Dense:
    """A modality's vector of a query, [1, dim]; zeros if it does not read text.

    Raises:
        ShapeError: as `dense`.
    """
    vector = modality.text(text)
    if vector is None:
        return _checked(modality, np.zeros((1, modality.dim), np.float32), np.zeros(1, np.bool_))
    return _checked(modality, vector[None], np.ones(1, np.bool_))


def _checked(modality: Modality, vectors: NDArray[np.float32], known: NDArray[np.bool_]) -> Dense:
    (read,) = told([modality])
    wanted = (len(known), read.dim)
    if vectors.shape != wanted:
        raise ShapeError(f"{read.name} ({read.model_id}): {vectors.shape} came; wanted {wanted}")
    kept = np.where(known[:, None], vectors, 0).astype(np.float32)
    if not np.isfinite(kept).all():
        raise ShapeError(f"{read.name} ({read.model_id}): a vector holds what is no number")
    return Dense(read, kept)
