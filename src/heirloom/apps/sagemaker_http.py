"""The door of a SageMaker container: GET /ping and POST /invocations, and nothing else.

Source: "Custom inference code with hosting services", Amazon SageMaker developer guide.
"""

import csv
import io
import re
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from heirloom.apps import inference as v2
from heirloom.apps.api import Api, Endpoint, Handler, json_response
from heirloom.apps.desk import Desk
from heirloom.apps.problems import ProblemError, read_body
from heirloom.apps.wire import ProblemOut

ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
BINARY = "application/vnd.sagemaker-triton.binary+json"
"""Tensors as bytes behind the JSON, whose length stands as the parameter json-header-size."""
LINES = ("application/jsonlines", "application/x-jsonlines", "application/x-ndjson")
CSV = "text/csv"
MAX_LINES = 1_000
_HEADER_SIZE = re.compile(r";\s*json-header-size=(\d{1,18})\s*$")

PING = Endpoint(
    "GET", "/ping", "Whether it can answer.", None, {200: "application/json", 503: ProblemOut},
    scope=None,
)  # fmt: skip
INVOCATIONS = Endpoint(
    "POST",
    "/invocations",
    "A recommendation, a search, or scores of rows, by what the body is.",
    None,
    {200: "application/json", **dict.fromkeys((400, 404, 410, 413, 415, 422), ProblemOut)},
    scope="read",
)
ENDPOINTS = (PING, INVOCATIONS)


class Rows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of features in the columns' order; null is missing."""

    instances: list[list[float | None]]


class Predictions(msgspec.Struct, frozen=True):
    """Scores of each row, one for each action."""

    predictions: list[list[float]]


class _Any(msgspec.Struct, frozen=True):
    """Which of the fields that tell requests apart are there."""

    inputs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    instances: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    text: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Container:
    """Handlers of the contract."""

    def __init__(self, desk: Desk, api: Api, inference: v2.Inference, *, max_body: int) -> None:
        self._desk, self._api, self._inference = desk, api, inference
        self._max_body = max_body

    def handlers(self) -> Mapping[Endpoint, Handler]:
        """What answers each endpoint."""
        return {PING: self.ping, INVOCATIONS: self.invocations}

    async def ping(self, request: Request) -> Response:  # noqa: ARG002
        """GET /ping. It waits for no request before it: a busy container is a healthy one."""
        shop = self._desk.shop
        if shop.policy.ranker is None and not shop.live.catalogue.live.any():
            raise ProblemError(503, "There is neither a listing to show nor a model.")
        return json_response({})

    async def invocations(self, request: Request) -> Response:
        """POST /invocations."""
        body = await read_body(request, self._max_body)
        kind = request.headers.get("content-type", "application/json")
        name = kind.partition(";")[0].strip().lower()
        if name == "application/json":
            answer = await self._of_json(request, body)
        elif name in LINES:
            answer = await self._of_lines(request, body)
        elif name == CSV:
            answer = await self._of_csv(body)
        elif name == BINARY:
            answer = await self._of_tensors(request, kind, body)
        else:
            wanted = ", ".join(("application/json", *LINES, CSV, BINARY))
            raise ProblemError(
                415, "The body is of a type not read here.", wanted=wanted, came=kind
            )
        answer.headers[ATTRIBUTES] = f"bundle={self._desk.shop.policy.bundle or 'none'}"
        return answer

    async def _of_json(self, request: Request, body: bytes) -> Response:
        try:
            has = msgspec.json.decode(body, type=_Any)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            has = _Any()  # whoever reads it next says what is wrong with it
        if has.inputs is not msgspec.UNSET:
            return await self._infer(request, body, {})
        if has.instances is not msgspec.UNSET:
            return json_response(Predictions((await self._scored(_rows_of(body))).tolist()))
        step = self._api.search if has.text is not msgspec.UNSET else self._api.recommend
        return await step(_with(request, body))

    async def _of_lines(self, request: Request, body: bytes) -> Response:
        lines = [line for line in body.splitlines() if line.strip()]
        if len(lines) > MAX_LINES:
            raise ProblemError(413, "Too many lines.", wanted=f"{MAX_LINES}", came=f"{len(lines)}")
        answers = [bytes((await self._of_json(request, line)).body) for line in lines]
        return Response(b"".join(each + b"\n" for each in answers), media_type=LINES[0])

    async def _of_csv(self, body: bytes) -> Response:
        scores = await self._scored(_rows_of_csv(body))
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(
            [[repr(value) for value in row] for row in scores.tolist()]
        )
        return Response(out.getvalue(), media_type=CSV)

    async def _of_tensors(self, request: Request, kind: str, body: bytes) -> Response:
        size = _HEADER_SIZE.search(kind)
        if size is None:
            raise ProblemError(
                415, "The type does not say where the JSON ends.",
                wanted=f"{BINARY};json-header-size=NUMBER", came=kind,
            )  # fmt: skip
        answer = await self._infer(request, body, {v2.JSON_LENGTH: size[1]})
        if length := answer.headers.get(v2.JSON_LENGTH):
            answer.headers["content-type"] = f"{BINARY};json-header-size={length}"
        return answer

    async def _infer(self, request: Request, body: bytes, headers: Mapping[str, str]) -> Response:
        return await self._inference.infer(_with(request, body, {"name": v2.MODEL}, headers))

    async def _scored(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        ranker = self._inference.model()[1]
        return await self._inference.scored(ranker, rows)


def _with(
    request: Request,
    body: bytes,
    path: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """The request with a body that was read and unpacked already."""
    sent: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return sent.pop() if sent else {"type": "http.disconnect"}

    told = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    return Request({**request.scope, "headers": told, "path_params": dict(path or {})}, receive)


def _rows_of(body: bytes) -> NDArray[np.float32]:
    try:
        rows = msgspec.json.decode(body, type=Rows).instances
    except msgspec.MsgspecError as error:
        raise ProblemError(
            422, f"instances: {error}", wanted="rows of numbers; null where one is missing"
        ) from error
    return _array(rows)


def _rows_of_csv(body: bytes) -> NDArray[np.float32]:
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig")), strict=True)
        rows = [[float(text) if text.strip() else None for text in line] for line in lines if line]
    except (ValueError, csv.Error) as error:
        raise ProblemError(
            400, f"The rows cannot be read: {error}.",
            wanted="numbers without a header, separated by commas; nothing where one is missing",
        ) from error  # fmt: skip
    return _array(rows)


def _array(rows: list[list[float | None]]) -> NDArray[np.float32]:
    """[rows, features] float32, NaN where a value is missing."""
    if len({len(row) for row in rows}) > 1:
        raise ProblemError(400, "The rows are of different lengths.", wanted="one length")
    with np.errstate(over="ignore"):
        width = len(rows[0]) if rows else 0
        values = np.array(rows, np.float64).reshape(len(rows), width).astype(np.float32)
    if np.isinf(values).any():
        raise ProblemError(400, "A number is infinite.", wanted="finite numbers, or missing ones")
    return values
