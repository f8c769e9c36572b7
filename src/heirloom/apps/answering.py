"""Answering: the system's one thread, the line before it, and who answers if it does not.

A slate is CPU-bound and an event waits for the disk, so neither may run on the event loop: health,
images and static files are answered meanwhile. Both run on one thread, not many: the system takes
one lock for either, so a second thread would only wait, and on one thread a page reads the live
state without tearing.
"""

import asyncio
import contextvars
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from heirloom.apps.deadline import MOST_MS, Limits
from heirloom.apps.logs import about
from heirloom.apps.problems import ProblemError
from heirloom.apps.shedding import Counts, Line, sent_away
from heirloom.core.errors import InputError, MismatchError
from heirloom.core.slate import Degraded, Slate
from heirloom.pipelines.breaker import CLOSED, Rule, admitted, reported
from heirloom.pipelines.ladder import FAILED, LATE, RESTING

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Turn:
    """One request's place in the line, and how long it can wait.

    Attributes:
        began: ns of the monotonic clock, when it came.
        until: ns, its deadline.
        request_id: names it in the log.
        ended: how many answers had come to their end when it came.
        late: whether it was answered otherwise by now, so that nobody reads what is still made.
        made: the slate that was made for it, for its trace.
        instead: why something else answered, where it did.
    """

    began: int
    until: int
    request_id: str = ""
    ended: int = 0
    late: bool = False
    made: Slate | None = None
    instead: Degraded | None = None


class Unanswered(Exception):  # noqa: N818 - not an error of its own, but that there was one
    """A step on the system's thread failed; what failed is in the log."""


class Answers:
    """Steps on the system's thread, each by its deadline.

    Args:
        limits: how long an answer may take, and how many may wait.
        shed: told the reason where a request is sent away.
        counts: as of `Line`.

    Attributes:
        breaker: open where answers were late again and again and none came to its end meanwhile:
            the thread may be stuck.
    """

    def __init__(
        self,
        limits: Limits,
        shed: Callable[[str], None],
        counts: Counts | None = None,
    ) -> None:
        self.breaker = CLOSED
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="system")
        self._line = Line(limits.waiting, counts)
        self._usual = limits.deadline_ms * 1_000_000
        self._rule = Rule()
        self._shed = shed

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return self._line.waiting

    async def run(self, step: Callable[[], T]) -> T:
        """A step on the system's thread."""
        context = contextvars.copy_context()  # whose request it is, for what is logged there
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, partial(context.run, step)
        )

    def submit(self, step: Callable[[], object]) -> None:
        """The same, for what nobody waits for."""
        self._thread.submit(step)

    def close(self) -> None:
        """Finish what is under way."""
        self._thread.shutdown()

    def turn(self, wait_ms: str | None = None, request_id: str = "") -> Turn:
        """Let a request into the line, before any work is done for it.

        Args:
            wait_ms: how long it can wait, as its header says; None: as long as is usual.
            request_id: names it in the log.

        Raises:
            ProblemError: 503 where the line is full or slow, 422 where the header says no time.
        """
        left = self._usual if wait_ms is None else _ns_of(wait_ms)
        why = self._line.refusal(left)
        if why:
            self._shed(why)
            raise sent_away(self._line, why)
        now = time.monotonic_ns()
        return Turn(now, now + left, request_id, self._line.ended)

    async def answer(
        self, turn: Turn, step: Callable[[], T], instead: Callable[[Degraded], T]
    ) -> T:
        """A step on the system's thread, or what answers instead by the turn's deadline.

        Args:
            turn: as `turn` gave it.
            step: what is wanted. What it raises on purpose is raised here.
            instead: called here, not on the system's thread, where the step failed, was late, or
                the thread is stuck; told what happened.
        """

        def fallen(why: Degraded) -> T:
            turn.instead = why
            return instead(why)

        now = time.monotonic_ns()
        self.breaker, ticket = admitted(self.breaker, self._rule, now)
        if ticket is None:
            return fallen(Degraded("answer", "answers rest: they were late", RESTING, "popular"))
        why = self._line.refusal(turn.until - now)
        if why:  # others came while this request's body was read
            self._shed(why)
            raise sent_away(self._line, why)
        self._line.enter()
        submitted = self._thread.submit(self._guarded, turn, step)
        future = asyncio.wrap_future(submitted)

        def give_up() -> None:
            turn.late = True
            future.cancel()

        timer = asyncio.get_running_loop().call_later((turn.until - now) / 1e9, give_up)
        try:
            made = await future
        except Unanswered:
            self._told(ticket, turn, ok=True)
            return fallen(Degraded("answer", "making this page failed", FAILED, "popular"))
        except asyncio.CancelledError:
            if submitted.cancel():
                self._line.leave()
            if not turn.late:
                raise
            # Late behind others that were answered is a long line, and no thread that is stuck.
            self._told(ticket, turn, ok=self._line.ended > turn.ended)
            log.warning("request %s was late; another rung answers", turn.request_id)
            return fallen(Degraded("answer", "out of time", LATE, "popular"))
        except BaseException:
            self._told(ticket, turn, ok=True)
            raise
        finally:
            timer.cancel()
        self._told(ticket, turn, ok=True)
        return made

    def _guarded(self, turn: Turn, step: Callable[[], T]) -> T:
        """A step, on the system's thread; what fails of itself is in the log with its stack."""
        self._line.begin()
        began = time.monotonic_ns()
        with about(turn.request_id):
            try:
                return step()
            except (InputError, MismatchError):
                raise
            except Exception as error:
                log.exception("request %s: another rung answers", turn.request_id)
                raise Unanswered from error
            finally:
                self._line.end(time.monotonic_ns() - began)

    def _told(self, ticket: int, turn: Turn, *, ok: bool) -> None:
        """Tell the breaker of answers, unless it was the request that had so little time."""
        now = time.monotonic_ns()
        if ok or now - turn.began >= self._usual:
            self.breaker = reported(self.breaker, self._rule, now, ticket, ok=ok)

    def sent_away(self, why: Degraded) -> ProblemError:
        """For what has no lower rung: 503, and when to come again."""
        self._shed(why.cause)
        return sent_away(self._line, "failed" if why.cause == FAILED else "late")

    def is_stuck(self) -> bool:
        """Whether answers were late so often that none is tried now."""
        return self.breaker.state == "open"


def _ns_of(wait_ms: str) -> int:
    """A header's milliseconds as ns, no more than MOST_MS.

    Raises:
        ProblemError: 422.

    >>> _ns_of("250")
    250000000
    """
    if not (wait_ms.isascii() and wait_ms.isdecimal() and len(wait_ms) < 10 and int(wait_ms)):
        raise ProblemError(
            422, "The header X-Request-Timeout-Ms says no time.",
            wanted=f"whole milliseconds, 1 to {MOST_MS}", came=wait_ms,
        )  # fmt: skip
    return min(int(wait_ms), MOST_MS) * 1_000_000
