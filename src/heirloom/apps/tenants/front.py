"""Front: the one door of several tenants. It finds whose request it is, and hands it on whole.

The tenant's own processes check the key once more, count it and answer, headers and all: what
crosses here is bytes.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from heirloom.apps.api import HEALTH, OPENAPI, json_response
from heirloom.apps.http import ENDPOINTS
from heirloom.apps.openapi import describe
from heirloom.apps.problems import ProblemError, problem_response
from heirloom.apps.security.addresses import Addresses, place_of
from heirloom.apps.security.guard import shown_by, too_often
from heirloom.apps.security.hosts import Hosts
from heirloom.apps.tenants.directory import Directory
from heirloom.apps.wire import HealthOut
from heirloom.apps.workers.forward import body_of, headers_of
from heirloom.apps.workers.upstream import AwayError, Upstream

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ANSWER_S = 60.0
"""So long a tenant may take: its own deadlines are shorter."""
RETRY_S = 2
_OF_CONNECTION = frozenset(
    (b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"date", b"server")
)


class Front:
    """Hands requests on.

    Args:
        max_body: bytes of a request's body; each tenant holds it to its own besides.
        addresses: where those are counted who show no key that is known.
        hosts: the names that the door is asked under; None: any.
    """

    def __init__(
        self,
        *,
        max_body: int,
        addresses: Addresses | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self._directory: Directory | None = None
        self._upstreams: dict[str, Upstream] = {}
        self._max_body = max_body
        self._addresses = addresses
        self._hosts = hosts

    def stand(self, directory: Directory, sockets: Mapping[str, Path]) -> None:
        """Hand on to these tenants from the next request on.

        Args:
            directory: whose key is whose.
            sockets: where the processes of each tenant listen, by name.
        """
        before = {each.path: each for each in self._upstreams.values()}
        self._directory = directory
        self._upstreams = {
            name: before.pop(path) if path in before else Upstream(path, timeout_s=ANSWER_S)
            for name, path in sockets.items()
        }
        for gone in before.values():
            gone.close()

    def application(self) -> Starlette:
        """The application: two routes that ask for no key, and all others."""
        description = msgspec.json.encode(describe(ENDPOINTS))

        async def health(request: Request) -> Response:  # noqa: ARG001
            return json_response(HealthOut())

        async def openapi(request: Request) -> Response:  # noqa: ARG001
            return Response(description, media_type="application/json")

        async def on_problem(request: Request, error: Exception) -> Response:  # noqa: ARG001
            if not isinstance(error, ProblemError):
                raise error
            return problem_response(error.problem, error.headers)

        return Starlette(
            routes=[
                Route(HEALTH.path, health),
                Route(OPENAPI.path, openapi),
                Route("/{rest:path}", self.hand_on, methods=METHODS),
            ],
            exception_handlers={ProblemError: on_problem},
        )

    async def hand_on(self, request: Request) -> Response:
        """The answer of the tenant whose key the request shows.

        Raises:
            ProblemError: 400, 401, 403, 413, 421, 429; 503 where the tenant's processes do not
                answer.
        """
        if self._hosts is not None:
            self._hosts.check(request)
        upstream = self._tenant(request)
        body = await body_of(request, self._max_body)
        target = request.scope["raw_path"]
        if query := request.scope["query_string"]:
            target += b"?" + query
        # The answer to HEAD has no body where its length says that it has one: GET's is read.
        method = "GET" if request.method == "HEAD" else request.method
        try:
            answer = await upstream.ask(method, target, headers_of(request, with_key=True), body)
        except AwayError as error:
            raise _away(error) from error
        response = Response(answer.body, answer.status)
        kept = [(header, value) for header, value in answer.headers if header not in _OF_CONNECTION]
        length = (b"content-length", str(len(answer.body)).encode())
        response.raw_headers = kept if answer.status in (204, 304) else [*kept, length]
        return response

    def _tenant(self, request: Request) -> Upstream:
        shown = shown_by(request.headers.get("authorization", ""), page=True)
        name = self._directory.tenant(shown) if shown and self._directory is not None else ""
        if name:
            return self._upstreams[name]
        if self._addresses is not None and request.client is not None:
            host = request.client.host
            if wait := self._addresses.take(host, wrong=True):
                raise too_often("Too much comes from this address without a good key.",
                                place_of(host), wait)  # fmt: skip
        page = "text/html" in request.headers.get("accept", "")
        challenge = 'Basic realm="heirloom", charset="UTF-8"' if page else 'Bearer realm="heirloom"'
        raise ProblemError(
            401,
            "This door asks for a key, which says whose system is asked.",
            wanted="Authorization: Bearer KEY, of a key that a tenant has made",
            came="" if shown else "no key",
            headers={"www-authenticate": challenge},
        )


def _away(error: AwayError) -> ProblemError:
    maybe = "it may have been taken" if error.sent else "nothing was taken"
    return ProblemError(
        503,
        f"The system that this key belongs to does not answer now, and {maybe}. An event that "
        "comes again with its event_id counts once.",
        wanted=f"the same request after {RETRY_S} s",
        headers={"retry-after": str(RETRY_S)},
    )
