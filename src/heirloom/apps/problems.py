"""Errors at the HTTP door: application/problem+json with what was wanted and what came."""

import re
import zlib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from heirloom.apps.wire import MAX_BODY, ProblemOut
from heirloom.core.errors import InputError

T = TypeVar("T")

TITLES = {
    400: "The body is not JSON",
    401: "Who asks is not known",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    410: "The page token has expired",
    413: "The body is too large",
    415: "The body is packed in a way that is not taken here",
    421: "Asked under another name",
    422: "The request does not say what it must",
    429: "Too many requests",
    500: "An error of the server",
    503: "Not ready",
}
_MISFIT = re.compile(
    r"^(?:Expected (?P<wanted>.*?)(?:, got (?P<came>.*?))?"
    r"|Object contains unknown field `(?P<unknown>.*?)`"
    r"|Object missing required field `(?P<missing>.*?)`"
    r"|Invalid enum value (?P<enum>.*?)"
    r"|(?P<other>.*?))"
    r"(?: - at `(?P<path>\$.*)`)?$",
    re.DOTALL,
)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")


class ProblemError(InputError):
    """A request that cannot be answered; becomes a problem+json response."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        wanted: str = "",
        came: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.headers = dict(headers or {})
        self.problem = ProblemOut(
            type=f"/problems/{status}",
            title=TITLES[status],
            status=status,
            detail=detail,
            wanted=wanted,
            came=came[:200],
        )
        super().__init__(f"{status}: {detail}")


def problem_response(problem: ProblemOut, headers: dict[str, str] | None = None) -> Response:
    """A problem as a response."""
    return Response(
        msgspec.json.encode(problem),
        problem.status,
        headers={"cache-control": "no-store", **(headers or {})},
        media_type="application/problem+json",
    )


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The request's body, refused as soon as it is over the limit.

    Raises:
        ProblemError: 413.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit, f"content-length: {declared}")
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip"):
        raise ProblemError(
            415, "The body's encoding is not read here.", wanted="gzip, or none", came=packing
        )
    unpacked = _Unpacked(limit) if packing == "gzip" else None
    parts, size = [], 0
    try:
        async for sent in request.stream():
            part = sent if unpacked is None else unpacked.more(sent)
            size += len(part)
            if size > limit:
                raise too_large(limit, f"more than {limit} bytes")
            parts.append(part)
    except ClientDisconnect as error:
        raise ProblemError(400, "The client left before the body was complete.") from error
    if unpacked is not None:
        unpacked.check_end()
    return b"".join(parts)


class _Unpacked:
    """A gzip body, unpacked as it comes: never more than a byte beyond the limit."""

    def __init__(self, limit: int) -> None:
        self._left = limit + 1
        self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def more(self, sent: bytes) -> bytes:
        """What these bytes hold."""
        if self._stream.eof and sent:
            raise _not_gzip("bytes behind its end")
        try:
            part = self._stream.decompress(sent, self._left) if self._left else b""
        except zlib.error as error:
            raise _not_gzip(str(error)) from error
        if self._stream.unused_data:
            raise _not_gzip("bytes behind its end")
        self._left -= len(part)
        return part

    def check_end(self) -> None:
        """Refuse a body that was cut off."""
        if not self._stream.eof:
            raise _not_gzip("it ends too early")


def _not_gzip(why: str) -> ProblemError:
    return ProblemError(
        400, "The body cannot be unpacked.", wanted="one whole gzip stream", came=why
    )


def too_large(limit: int, came: str) -> ProblemError:
    """The problem of a body over the limit."""
    return ProblemError(
        413,
        f"The body is over {limit} bytes; send it in several requests.",
        wanted=f"at most {limit} bytes",
        came=came,
    )


def decode(body: bytes, wanted: type[T]) -> T:
    """A struct from JSON bytes.

    Raises:
        ProblemError: 400 where it is not JSON, 422 where it is JSON of another shape.
    """
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.ValidationError as error:
        raise misfit(str(error), body, wanted) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProblemError(
            400,
            f"The body cannot be read as JSON: {error}",
            wanted=f"JSON, UTF-8: {_fields(wanted)}",
            came=body[:80].decode("utf-8", "replace") or "an empty body",
        ) from error


def misfit(message: str, body: bytes, wanted: type) -> ProblemError:
    """The problem for a message of msgspec's validation, with the value that came.

    >>> misfit("Expected `int` <= 200 - at `$.k`", b'{"k": 900}', int).problem.came
    '900'
    """
    match = _MISFIT.match(message)
    found = match.groupdict() if match else {}
    path = found.get("path") or "$"
    came = _value_at(path, body)
    if found.get("unknown") is not None:
        return ProblemError(
            422,
            f"Unknown field {found['unknown']!r} at {path}.",
            wanted=_fields(_type_at(path, wanted)),
            came=found["unknown"],
        )
    if found.get("missing") is not None:
        return ProblemError(
            422,
            f"Field {found['missing']!r} is missing at {path}.",
            wanted=found["missing"],
            came=came,
        )
    expected = (found.get("wanted") or "").replace("`", "")
    if found.get("enum") is not None:
        expected = _choices(path, wanted)
    return ProblemError(
        422,
        f"{message}.",
        wanted=expected or "a value as the OpenAPI description says",
        came=came or (found.get("came") or "").replace("`", ""),
    )


def _value_at(path: str, body: bytes) -> str:
    """The value at a path like `$.events[3].t`, as JSON text; '' where the path is not exact."""
    try:
        value: Any = msgspec.json.decode(body)
        for name, index in _STEP.findall(path):
            value = value[name] if name else value[int(index)]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return msgspec.json.encode(value)[:200].decode("utf-8", "replace")


def _type_at(path: str, wanted: Any) -> Any:
    """The struct type at a path, as far as structs, lists and unions lead."""
    for name, _ in _STEP.findall(path):
        wanted = _struct_in(wanted)
        if name and wanted is not None:
            types = {f.encode_name: f.type for f in msgspec.structs.fields(wanted)}
            wanted = types.get(name)
    return _struct_in(wanted)


def _struct_in(wanted: Any) -> Any:
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return wanted
    for part in getattr(wanted, "__args__", ()):
        if (found := _struct_in(part)) is not None:
            return found
    return None


def _choices(path: str, wanted: Any) -> str:
    outer, _, name = path.rpartition(".")
    struct = _type_at(outer, wanted)
    for field in msgspec.structs.fields(struct) if struct is not None else ():
        if field.encode_name == name.partition("[")[0]:
            return "one of " + ", ".join(str(value) for value in _literals(field.type))
    return ""


def _literals(wanted: Any) -> tuple[Any, ...]:
    """The values of the Literal within a type."""
    if get_origin(wanted) is Literal:
        values: tuple[Any, ...] = get_args(wanted)
        return values
    return next((found for part in get_args(wanted) if (found := _literals(part))), ())


def _fields(wanted: Any) -> str:
    struct = _struct_in(wanted)
    if struct is None:
        return "a value as the OpenAPI description says"
    return "fields " + ", ".join(field.encode_name for field in msgspec.structs.fields(struct))
