"""The Open Inference Protocol v2 for the ranker alone: rows of features in, scores out.

The model is called `ranker`; its versions are ids of bundles, and the one in use is the only one.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

import heirloom
from heirloom.apps.api import Endpoint, Handler, json_response
from heirloom.apps.desk import Desk
from heirloom.apps.problems import ProblemError, read_body
from heirloom.apps.tensors import (
    FP32,
    ErrorOut,
    InferIn,
    InferOut,
    LiveOut,
    ModelAbout,
    ModelReadyOut,
    ServerAbout,
    ServerReadyOut,
    TensorAbout,
    request_of,
    response_of,
    tensors_of,
    wrong,
)
from heirloom.apps.wire import ProblemOut
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.policy import Policy
from heirloom.ranking.ranker import Ranker

MODEL = "ranker"
FEATURES, SCORES = "features", "scores"
ROOT = "/v2"
JSON_LENGTH = "inference-header-content-length"

_NO_MODEL = {404: ErrorOut}
_REFUSED = {400: ErrorOut, 404: ErrorOut, 413: ErrorOut, 415: ErrorOut}
_ROWS = (
    "Score rows of features. Tensors may stand as bytes behind the JSON; then the header "
    "Inference-Header-Content-Length says where it ends, here and in the answer."
)
SERVER = Endpoint("GET", ROOT, "The inference server.", None, {200: ServerAbout}, scope="read")
LIVE = Endpoint("GET", f"{ROOT}/health/live", "It answers.", None, {200: LiveOut}, scope=None)
READY = Endpoint(
    "GET", f"{ROOT}/health/ready", "Whether it can score.", None,
    {200: ServerReadyOut, 400: ServerReadyOut}, scope=None,
)  # fmt: skip


def _of_model(path: str) -> tuple[Endpoint, Endpoint, Endpoint]:
    return (
        Endpoint("GET", path, "What the model takes and gives, its columns named.", None,
                 {200: ModelAbout, **_NO_MODEL}, scope="read"),
        Endpoint("GET", f"{path}/ready", "Whether the model can score.", None,
                 {200: ModelReadyOut, 400: ModelReadyOut, **_NO_MODEL}, scope="read"),
        Endpoint("POST", f"{path}/infer", _ROWS, InferIn, {200: InferOut, **_REFUSED},
                 scope="read"),
    )  # fmt: skip


MODEL_ABOUT, MODEL_READY, INFER = _of_model(f"{ROOT}/models/{{name}}")
VERSION_ABOUT, VERSION_READY, VERSION_INFER = _of_model(
    f"{ROOT}/models/{{name}}/versions/{{version}}"
)
ENDPOINTS = (
    SERVER, LIVE, READY, MODEL_ABOUT, MODEL_READY, INFER, VERSION_ABOUT, VERSION_READY,
    VERSION_INFER,
)  # fmt: skip


class Inference:
    """Handlers of the protocol."""

    def __init__(self, desk: Desk, *, max_body: int) -> None:
        self._desk = desk
        self._max_body = max_body

    def handlers(self) -> Mapping[Endpoint, Handler]:
        """What answers each endpoint."""
        return {
            SERVER: self.server,
            LIVE: self.live,
            READY: self.ready,
            MODEL_ABOUT: self.about,
            VERSION_ABOUT: self.about,
            MODEL_READY: self.model_ready,
            VERSION_READY: self.model_ready,
            INFER: self.infer,
            VERSION_INFER: self.infer,
        }

    async def server(self, request: Request) -> Response:  # noqa: ARG002
        """GET /v2."""
        about = ServerAbout("heirloom", heirloom.__version__, ["binary_tensor_data"])
        return json_response(about)

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """GET /v2/health/live."""
        return json_response(LiveOut(live=True))

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """GET /v2/health/ready. The protocol asks for 4xx where it is not."""
        ready = self._desk.shop.policy.ranker is not None
        return json_response(ServerReadyOut(ready), 200 if ready else 400)

    async def about(self, request: Request) -> Response:
        """GET /v2/models/{name}."""
        policy, ranker = self._model(request)
        return json_response(
            ModelAbout(
                name=MODEL,
                versions=[policy.bundle],
                platform=f"heirloom_{type(ranker).__name__.lower()}",
                inputs=[_about(FEATURES, "columns", ranker.columns)],
                outputs=[_about(SCORES, "actions", ranker.actions)],
                parameters={"policy": policy.name, "missing": "NaN; in JSON null"},
            )
        )

    async def model_ready(self, request: Request) -> Response:
        """GET /v2/models/{name}/ready."""
        self._named(request)
        policy = self._desk.shop.policy
        version = request.path_params.get("version", policy.bundle)
        ready = policy.ranker is not None and version == policy.bundle
        return json_response(ModelReadyOut(MODEL, ready), 200 if ready else 400)

    async def infer(self, request: Request) -> Response:
        """POST /v2/models/{name}/infer."""
        policy, ranker = self._model(request)
        body = await read_body(request, self._max_body)
        asked, behind = request_of(body, request.headers.get(JSON_LENGTH))
        tensors = tensors_of(asked, behind)
        if set(tensors) != {FEATURES}:
            raise wrong("inputs", f"one, called {FEATURES!r}", ", ".join(tensors)[:80] or "none")
        scores = await self.scored(ranker, tensors[FEATURES])
        content, length = response_of(asked, MODEL, policy.bundle, {SCORES: scores})
        if length is None:
            return Response(content, media_type="application/json", headers=_FRESH)
        return Response(
            content,
            media_type="application/octet-stream",
            headers={**_FRESH, JSON_LENGTH: str(length)},
        )

    async def scored(self, ranker: Ranker, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[rows, actions] float32 of [rows, features] float32.

        Raises:
            ProblemError: 400: other columns than the ranker's.
        """
        if rows.ndim != 2 or rows.shape[1] != len(ranker.columns):
            wanted = f"[rows, {len(ranker.columns)}], the columns that the model's metadata names"
            raise wrong(f"{FEATURES}: shape", wanted, str(list(rows.shape)))
        if not len(rows):
            return np.zeros((0, len(ranker.actions)), np.float32)
        batch = FeatureBatch(np.ascontiguousarray(rows), ranker.columns, n=0)
        return await self._desk.run(lambda: ranker.score(batch))

    def model(self) -> tuple[Policy, Ranker]:
        """What answers now.

        Raises:
            ProblemError: 404: nothing is trained.
        """
        policy = self._desk.shop.policy
        if policy.ranker is None:
            raise ProblemError(404, "No model is loaded; run `heirloom train`.")
        return policy, policy.ranker

    def _model(self, request: Request) -> tuple[Policy, Ranker]:
        self._named(request)
        policy, ranker = self.model()
        version = request.path_params.get("version", policy.bundle)
        if version != policy.bundle:
            raise ProblemError(
                404, f"No such version; {MODEL} is {policy.bundle}.",
                wanted=policy.bundle, came=version,
            )  # fmt: skip
        return policy, ranker

    def _named(self, request: Request) -> None:
        name = request.path_params["name"]
        if name != MODEL:
            raise ProblemError(404, f"No such model; there is {MODEL}.", wanted=MODEL, came=name)


_FRESH = {"cache-control": "no-store"}


def _about(name: str, what: str, columns: tuple[str, ...]) -> TensorAbout:
    return TensorAbout(
        name=name, datatype=FP32, shape=[-1, len(columns)], parameters={what: list(columns)}
    )


def speaks_of(path: str) -> bool:
    """Whether a path is of the protocol, whose errors have a form of their own."""
    return path == ROOT or path.startswith(f"{ROOT}/")


def error_response(problem: ProblemOut, headers: Mapping[str, str]) -> Response:
    """A problem in the protocol's form."""
    said = problem.detail
    if problem.wanted and problem.wanted not in said:
        said = f"{said} Wanted {problem.wanted}."
    return Response(
        msgspec.json.encode(ErrorOut(**msgspec.structs.asdict(problem), error=said)),
        problem.status,
        headers={**_FRESH, **headers},
        media_type="application/json",
    )
