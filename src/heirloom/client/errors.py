"""What can go wrong for a client, by what its caller can do about it."""

from heirloom.apps.wire import ProblemOut
from heirloom.core.errors import InputError, StoreError


class RefusedError(InputError):
    """The server understood and will not: send something else.

    Attributes:
        status: of HTTP.
        problem: what was wanted and what came, as the server says it.
    """

    def __init__(self, what: str, status: int, problem: ProblemOut) -> None:
        self.status = status
        self.problem = problem
        wanted = f"; wanted {problem.wanted}" if problem.wanted else ""
        came = f"; came {problem.came}" if problem.came else ""
        traced = f" (request {problem.request_id})" if problem.request_id else ""
        super().__init__(f"{what}: {status} {problem.detail}{wanted}{came}{traced}")


class DeniedError(RefusedError):
    """401 or 403: the key is missing, wrong, expired, revoked, or may not do that."""


class UnavailableError(StoreError):
    """No answer in the time that was given: the server is away, overloaded or too slow.

    Attributes:
        status: of the last answer; None where none came.
        tries: how often it was asked.
        retry_after_s: how long the server asked to be left alone, where it said so.
    """

    def __init__(
        self, what: str, why: str, *, status: int | None, tries: int, retry_after_s: float | None
    ) -> None:
        self.status = status
        self.tries = tries
        self.retry_after_s = retry_after_s
        later = "" if retry_after_s is None else f"; it asks to wait {retry_after_s:g} s"
        super().__init__(f"{what}: {why}, asked {tries} time(s){later}. Try again later")
