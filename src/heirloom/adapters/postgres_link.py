"""A connection to PostgreSQL whose answers are waited for no longer than the caller says."""

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psycopg
from psycopg import pq

_LOOK_MS = 1
"""So often the caller is asked whether there is time left."""
_CANCEL_S = 0.05
"""So long a server may take to be told that its answer is not wanted any more."""
_CANCELLED = b"57014"
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class TimeIsUp(Exception):  # noqa: N818
    """The caller, or `timeout_s`, said stop; the link is closed and opens at the next question."""


class Link:
    """Statements with `$1` for parameters, both these and what comes back in binary form.

    Args:
        url: postgresql://user@host:port/database, or what else libpq takes.
        timeout_s: how long one answer may take; the server is told it too.
        settings: of the session, by name.
    """

    def __init__(self, url: str, timeout_s: float, settings: dict[str, str]) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._settings = {**settings, "statement_timeout": f"{round(timeout_s * 1e3)}ms"}
        self._set: dict[str, str] = {}
        self._connection: psycopg.Connection | None = None

    def close(self) -> None:
        """Let the connection go; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._set = None, {}

    def configure(self, name: str, value: str) -> None:
        """Set a setting of the session unless it is set so already."""
        if self._set.get(name) != value:
            self.ask("select set_config($1, $2, false)", [name.encode(), value.encode()])
            self._set[name] = value

    def ask(
        self,
        statement: str,
        parameters: Sequence[bytes] = (),
        out_of_time: Callable[[], bool] | None = None,
    ) -> pq.abc.PGresult:
        """The answer to one statement.

        Raises:
            TimeIsUp: there was no time left; what was asked is cancelled.
            psycopg.Error: the server cannot be reached, or refuses.
        """
        connection = self._opened()
        until = time.monotonic() + self._timeout_s
        pgconn = connection.pgconn
        pgconn.send_query_params(
            statement.encode(), parameters, param_formats=[1] * len(parameters), result_format=1
        )
        results: list[pq.abc.PGresult] = []
        poll = select.poll()
        while True:
            unsent = pgconn.flush()
            if not unsent and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                results.append(result)
                continue
            poll.register(pgconn.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
            if poll.poll(_LOOK_MS):
                pgconn.consume_input()
            elif time.monotonic() > until or (out_of_time is not None and out_of_time()):
                with suppress(psycopg.Error):
                    connection.cancel_safe(timeout=_CANCEL_S)
                self.close()
                raise TimeIsUp
        return self._good(results[-1])

    def _good(self, result: pq.abc.PGresult) -> pq.abc.PGresult:
        if result.status in _GOOD:
            return result
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        self.close()  # a transaction may be left open in it
        if state == _CANCELLED:
            raise TimeIsUp
        said = result.error_message.decode(errors="replace").strip()
        if state is None:
            raise psycopg.OperationalError(said)
        raise psycopg.errors.lookup(state.decode())(said)

    def _opened(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._set = {}
            wait = max(2, round(self._timeout_s))  # libpq waits two seconds at least
            self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=wait)
            for name, value in self._settings.items():
                self.configure(name, value)
        return self._connection
