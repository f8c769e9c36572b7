"""Kept: folded state as named arrays, so that a start takes it up and need not fold the log again.

What keeps itself gives its arrays as they lie, with the room they have grown to, and takes them
back in the same form. Strings become one array of bytes; no object is pickled.
"""

from collections.abc import Collection, Mapping
from itertools import accumulate, pairwise
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from heirloom.core.errors import InputError

Arrays = dict[str, NDArray[Any]]
Given = Mapping[str, NDArray[Any]]
T = TypeVar("T")


@runtime_checkable
class Kept(Protocol):
    """Folded state that a snapshot can hold: after `restore` it is what gave the arrays."""

    def arrays(self) -> Arrays:
        """All of it, by name: views, to be written before the next part of the log is folded.

        Names are of lower case letters, digits and . _ @ -.
        """

    def restore(self, arrays: Given) -> None:
        """Be what gave these arrays; only before anything was folded. They are its own now.

        Raises:
            InputError: they are not the arrays of such a state. Then it is to be used no more.
        """


def is_kept(part: object) -> TypeGuard[Kept]:
    """Whether it can be kept; what cannot is folded from the log's beginning at each start."""
    return isinstance(part, Kept) and getattr(part, "keeps", True)


def joined(parts: Mapping[str, Given]) -> Arrays:
    """The arrays of several parts under one roof, as `within` finds them.

    >>> sorted(joined({"a": {"x": np.zeros(1)}, "b": {"x": np.ones(1)}}))
    ['a.x', 'b.x']
    """
    return {f"{part}.{name}": array for part, of in parts.items() for name, array in of.items()}


def within(arrays: Given, part: str) -> Arrays:
    """The arrays of one part of `joined`."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}


def alike(where: str, arrays: Given, like: Given) -> Arrays:
    """Those of the arrays that `like` names, each of the same dtype and row shape as there.

    Raises:
        InputError: one is missing, or is of another kind.

    >>> alike("x", {"t": np.arange(3)}, {"t": np.zeros(0, np.int64)})["t"].tolist()
    [0, 1, 2]
    """
    for name, wanted in like.items():
        array = arrays.get(name)
        if array is None or (array.dtype, array.shape[1:]) != (wanted.dtype, wanted.shape[1:]):
            came = "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
            raise InputError(
                f"{where}: {name!r} is {came}; wanted {wanted.dtype} "
                f"{['…', *wanted.shape[1:]]}: fold the log instead"
            )
    return {name: arrays[name] for name in like}


def of_texts(texts: Collection[str]) -> Arrays:
    """Strings as `bytes` (UTF-8, one after the other) and `ends` [texts] int64, in characters.

    >>> texts_of(of_texts(["dress", "", "été"]))
    ['dress', '', 'été']
    """
    heap = "".join(texts).encode("utf-8", "surrogatepass")
    ends = np.fromiter(accumulate(map(len, texts)), np.int64, len(texts))
    return {"bytes": np.frombuffer(heap, np.uint8), "ends": ends}


def texts_of(arrays: Given) -> list[str]:
    """The strings of `of_texts`.

    Raises:
        InputError: these are not its arrays.
    """
    own = alike("texts", arrays, of_texts(()))
    whole = own["bytes"].tobytes().decode("utf-8", "surrogatepass")
    ends = own["ends"].tolist()
    if len(whole) != (ends[-1] if ends else 0):
        raise InputError(f"texts of {len(whole)} letters; wanted {ends[-1:]}; fold the log instead")
    return [whole[start:end] for start, end in pairwise([0, *ends])]


def of_object(value: object) -> NDArray[np.uint8]:
    """A small object of strings, numbers, lists and dicts as bytes (msgpack).

    >>> object_of(of_object({3: ["a"]}), dict[int, list[str]])
    {3: ['a']}
    """
    return np.frombuffer(msgspec.msgpack.encode(value), np.uint8)


def object_of(array: NDArray[Any], kind: type[T]) -> T:
    """The object of `of_object`.

    Raises:
        InputError: it is of another kind.
    """
    try:
        return msgspec.msgpack.decode(array.tobytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise InputError(f"no {kind} in a snapshot ({error}): fold the log instead") from None
