"""The Open Inference Protocol's structs, and its tensors of float32 as JSON or as bytes.

Source: "Open Inference Protocol v2, REST" (kserve/open-inference-protocol), and the binary tensor
data extension (triton-inference-server/server, docs/protocol/extension_binary_data.md).
"""

import math
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import UNSET, Meta, UnsetType
from numpy.typing import NDArray

from heirloom.apps.problems import ProblemError
from heirloom.apps.wire import ProblemOut

FP32 = "FP32"
MAX_TENSORS = 64

Parameters = dict[str, Any]


class TensorIn(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is sent: `data` row by row, nested or not; or bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = {}
    """binary_data_size: bytes of it behind the JSON."""
    data: Any = UNSET
    """Numbers; null is a missing value."""


class OutputIn(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor that is asked for."""

    name: str
    parameters: Parameters = {}
    """binary_data: true: as bytes behind the JSON."""


class InferIn(msgspec.Struct, frozen=True, kw_only=True):
    """A request of inference."""

    inputs: Annotated[list[TensorIn], Meta(max_length=MAX_TENSORS)]
    id: str = ""
    parameters: Parameters = {}
    """binary_data_output: true: every output that is not asked for by name as bytes."""
    outputs: Annotated[list[OutputIn], Meta(max_length=MAX_TENSORS)] = []


class TensorOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tensor that is answered."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters = {}
    data: list[float] | UnsetType = UNSET


class InferOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model made of the inputs."""

    model_name: str
    model_version: str
    outputs: list[TensorOut]
    id: str = ""


class TensorAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor of a model; -1: any number of rows. `columns` are named in its parameters."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters


class ModelAbout(msgspec.Struct, frozen=True, kw_only=True):
    """A model: what it takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorAbout]
    outputs: list[TensorAbout]
    parameters: Parameters


class ServerAbout(msgspec.Struct, frozen=True):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class LiveOut(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool


class ServerReadyOut(msgspec.Struct, frozen=True):
    """Whether every model can answer."""

    ready: bool


class ModelReadyOut(msgspec.Struct, frozen=True):
    """Whether a model can answer."""

    name: str
    ready: bool


class ErrorOut(ProblemOut, frozen=True, kw_only=True):
    """A problem as everywhere, and in one sentence as the protocol has it."""

    error: str


def request_of(body: bytes, header_length: str | None) -> tuple[InferIn, bytes]:
    """The request, and the bytes behind it.

    Args:
        body: JSON, and maybe tensors behind it.
        header_length: of the JSON, as `Inference-Header-Content-Length` says; None: all of it.

    Raises:
        ProblemError: 400.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdecimal()) or len(header_length) > 18:
            raise wrong("Inference-Header-Content-Length", "a number of bytes", header_length)
        length = int(header_length)
        if length > len(body):
            raise wrong(
                "Inference-Header-Content-Length", f"at most {len(body)}, the body's", header_length
            )
    try:
        return msgspec.json.decode(body[:length], type=InferIn), body[length:]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise wrong("the request's JSON", "an inference request", str(error)) from error


def tensors_of(asked: InferIn, behind: bytes) -> dict[str, NDArray[np.float32]]:
    """The inputs by name, as arrays of their shape; NaN is missing.

    Raises:
        ProblemError: 400: a name comes twice, a shape or type does not fit the data, a value is
            infinite, or bytes are missing or left over.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for tensor in asked.inputs:
        where = f"input {tensor.name[:80]!r}"
        if tensor.name in found:
            raise wrong(where, "each input once", "it twice")
        if tensor.datatype != FP32:
            raise wrong(f"{where}: datatype", FP32, tensor.datatype)
        if not tensor.shape or any(not 0 <= size < 1 << 31 for size in tensor.shape):
            raise wrong(f"{where}: shape", "sizes from 0 on", str(tensor.shape))
        count, size = math.prod(tensor.shape), tensor.parameters.get("binary_data_size")
        if size is None:
            values = _of_json(where, tensor.data, tensor.shape)
        else:
            if tensor.data is not UNSET:
                raise wrong(where, "data, or binary_data_size", "both")
            if type(size) is not int or size != 4 * count:
                raise wrong(
                    f"{where}: binary_data_size", f"{4 * count} for {tensor.shape}", str(size)
                )
            if size > len(behind):
                raise wrong(where, f"{size} bytes behind the JSON", f"{len(behind)}")
            values, behind = np.frombuffer(behind[:size], "<f4"), behind[size:]
        if np.isinf(values).any():
            raise wrong(where, "finite numbers, or missing ones", "an infinite one")
        found[tensor.name] = values.astype(np.float32).reshape(tensor.shape)
    if behind:
        raise wrong("the body", "nothing behind the last input", f"{len(behind)} more bytes")
    return found


def _of_json(where: str, data: Any, shape: list[int]) -> NDArray[np.float32]:
    """[numbers] of data that is flat, or nested as its shape says."""
    if not isinstance(data, list):
        came = "none" if data is UNSET else type(data).__name__
        raise wrong(f"{where}: data", "a list of numbers", came)
    if data and isinstance(data[0], list):
        for size in shape[:-1]:
            rows = shape[1:]
            if len(data) != size or not all(isinstance(row, list) for row in data):
                raise wrong(f"{where}: data", f"lists as {shape} says", f"{len(data)} in one place")
            width = rows[0] if rows else 0
            if any(len(row) != width for row in data):
                raise wrong(f"{where}: data", f"lists as {shape} says", "one of another length")
            data, shape = [value for row in data for value in row], [size * width, *shape[2:]]
    if len(data) != math.prod(shape):
        raise wrong(f"{where}: data", f"{math.prod(shape)} numbers", f"{len(data)}")
    if any(value is not None and type(value) not in (int, float) for value in data):
        raise wrong(f"{where}: data", "numbers, and null where one is missing", "something else")
    try:
        with np.errstate(over="ignore"):
            return np.array(data, np.float64).astype(np.float32)  # None is NaN
    except OverflowError:
        raise wrong(f"{where}: data", "finite numbers", "a larger one") from None


def response_of(
    asked: InferIn, name: str, version: str, outputs: dict[str, NDArray[np.float32]]
) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON where bytes stand behind it.

    Raises:
        ProblemError: 400: an output is asked for that there is not.
    """
    default = asked.parameters.get("binary_data_output") is True
    wanted = {each.name: each.parameters.get("binary_data", default) for each in asked.outputs}
    if strange := sorted(set(wanted) - set(outputs)):
        raise wrong("outputs", f"some of {', '.join(outputs)}", strange[0][:80])
    told, behind = [], []
    for output, binary in (wanted or dict.fromkeys(outputs, default)).items():
        values = outputs[output]
        packed = values.astype("<f4").tobytes() if binary is True else None
        told.append(
            TensorOut(
                name=output,
                datatype=FP32,
                shape=list(values.shape),
                parameters={} if packed is None else {"binary_data_size": len(packed)},
                data=UNSET if packed is not None else values.ravel().tolist(),
            )
        )
        behind += [] if packed is None else [packed]
    made = InferOut(model_name=name, model_version=version, outputs=told, id=asked.id)
    head = msgspec.json.encode(made)
    return (head + b"".join(behind), len(head)) if behind else (head, None)


def wrong(where: str, wanted: str, came: str) -> ProblemError:
    """A request that the protocol's reader cannot use: 400."""
    return ProblemError(
        400, f"{where}: wanted {wanted}, came {came[:200]}", wanted=wanted, came=came
    )
