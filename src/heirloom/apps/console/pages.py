"""The console's shell: who is let in, the navigation, and the pages of PAGES behind it."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from heirloom.apps.console.drawing import age, line_of, number, percent, size
from heirloom.apps.console.history import STEP_S, row_of
from heirloom.apps.console.live import LIVE
from heirloom.apps.console.numbers import Numbers
from heirloom.apps.console.page import Page
from heirloom.apps.console.processes import Processes
from heirloom.apps.problems import ProblemError
from heirloom.apps.security.guard import Guard
from heirloom.apps.security.sessions import COOKIE, LASTS_S
from heirloom.apps.web.form import last_choice, read_form
from heirloom.apps.web.visitor import check_same_origin
from heirloom.apps.wire import ProblemOut

PAGES: Final = (LIVE,)
"""In the order of the navigation. A page is a file beside this one, and a line here."""
HOME: Final = "/console"
SIGN_IN, SIGN_OUT = f"{HOME}/sign-in", f"{HOME}/sign-out"
STATIC: Final = f"{HOME}/static/{{file}}"
OPEN: Final = {SIGN_IN: None, STATIC: None}
"""What needs no key."""
_HERE = Path(__file__).parent
_STATIC = {
    "console.css": "text/css",
    "console.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}

Handler = Callable[[Request], Awaitable[Response]]


class Console:
    """Pages behind one door.

    Args:
        processes: where the numbers come from.
        guard: the door's.
        name: of the system.
    """

    def __init__(self, processes: Processes, guard: Guard, *, name: str) -> None:
        self._processes = processes
        self._guard = guard
        self._files = {file: (_HERE / "static" / file).read_bytes() for file in _STATIC}
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            number=number, percent=percent, age=age, size=size, line=line_of
        )
        self._templates.globals.update(
            system=name,
            pages=PAGES,
            step_s=STEP_S,
            version={
                file: hashlib.blake2b(content, digest_size=6).hexdigest()
                for file, content in self._files.items()
            },
        )

    def routes(self) -> list[Route]:
        """The console's routes."""
        made = [Route(HOME, self._home)]
        for page in PAGES:
            made += [
                Route(page.path, self._page(page)),
                Route(f"{page.path}.json", self._json(page)),
            ]
        return [
            *made,
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route(SIGN_OUT, self.sign_out, methods=["POST"]),
            Route(STATIC, self.static),
        ]

    @staticmethod
    def speaks_of(request: Request) -> bool:
        """Whether a person asks for a page of the console."""
        within = f"{request.url.path}/".startswith(f"{HOME}/")
        return within and "text/html" in request.headers.get("accept", "")

    def error_page(self, request: Request, problem: ProblemOut) -> Response:
        """An error, for a person; where a key is wanted, the form for it."""
        asks = problem.status in (401, 403) and not self._guard.is_open
        came = problem.detail if problem.came != "no key" else ""
        wanted = request.url.path if request.method == "GET" else HOME
        context = {"problem": problem, "came": came, "next": wanted}
        return self._answer(
            request, "sign_in.html" if asks else "error.html", context, problem.status
        )

    async def sign_in(self, request: Request) -> Response:
        """POST /console/sign-in: a key for a session."""
        check_same_origin(request)
        form = await read_form(request)
        wanted = last_choice(form, "next")
        known = wanted in {HOME, *(page.path for page in PAGES)}
        response = RedirectResponse(wanted if known else HOME, 303)
        if not self._guard.is_open:
            cookie = self._guard.sign_in(request, last_choice(form, "key"))
            response.set_cookie(
                COOKIE,
                cookie,
                max_age=LASTS_S,
                path=HOME,
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return response

    async def sign_out(self, request: Request) -> Response:
        """POST /console/sign-out: the session is over."""
        await self.check_form(request)
        self._guard.sessions.end(request.cookies.get(COOKIE, ""))
        response = RedirectResponse(HOME, 303)
        response.delete_cookie(COOKIE, path=HOME, httponly=True, samesite="strict")
        return response

    async def check_form(self, request: Request) -> Mapping[str, list[str]]:
        """A form that a page of this very session sent.

        Raises:
            ProblemError: 403, 413, 422.
        """
        check_same_origin(request)
        form = await read_form(request)
        cookie = request.cookies.get(COOKIE, "")
        if cookie and not self._guard.sessions.is_form_of(cookie, last_choice(form, "token")):
            raise ProblemError(
                403,
                "This form is not of your session; open the page again.",
                wanted="the token of the page's form",
            )
        return form

    async def static(self, request: Request) -> Response:
        """GET /console/static/{file}: the style sheet and the script."""
        file = request.path_params["file"]
        if file not in self._files:
            raise ProblemError(404, "No such file.", wanted=", ".join(_STATIC), came=file)
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self._files[file], media_type=_STATIC[file], headers=headers)

    async def _home(self, request: Request) -> Response:
        return await self._page(PAGES[0])(request)

    def _page(self, page: Page) -> Handler:
        async def handler(request: Request) -> Response:
            seen = await page.look(self._processes)
            context = {"seen": seen, "page": page}
            if request.headers.get("x-part"):  # the script puts it in place of what it has
                drawn = self._templates.get_template(page.template.replace(".", "_part."))
                return HTMLResponse(drawn.render(context), headers={"cache-control": "no-store"})
            return self._answer(request, page.template, context)

        return handler

    def _json(self, page: Page) -> Handler:
        async def handler(request: Request) -> Response:  # noqa: ARG001
            return Response(
                msgspec.json.encode(await page.look(self._processes)),
                headers={"cache-control": "no-store"},
                media_type="application/json",
            )

        return handler

    def _answer(
        self, request: Request, template: str, context: Mapping[str, Any], status: int = 200
    ) -> Response:
        cookie = request.cookies.get(COOKIE, "")
        inside = bool(cookie) and status == 200 and not self._guard.is_open
        token = self._guard.sessions.form_token(cookie) if inside else ""
        page = self._templates.get_template(template).render({"token": token, **context})
        headers = {"cache-control": "no-store"}
        if status == 401:
            headers["www-authenticate"] = 'Bearer realm="heirloom"'
        return HTMLResponse(page, status, headers=headers)


async def keep_history(processes: Processes, exposition: Callable[[], bytes]) -> None:
    """Write this process's row every STEP_S, until it is cancelled.

    Args:
        processes: whose history it is.
        exposition: this process's metrics.
    """

    def write() -> None:
        row = row_of(Numbers(exposition().decode()))
        processes.history.put(processes.here, time.time(), row)

    while True:
        await asyncio.to_thread(write)
        await asyncio.sleep(STEP_S - time.time() % STEP_S)
