"""Hostile requests against a real server over sockets: it answers, lives, and its log is unharmed.

    python -m benchmarks.faults_fuzz [--cases 10000] [--seed 0]

Two fifths of the cases are schemathesis's, made from the server's own OpenAPI description, valid
and not; the others are made by hypothesis (faults_cases.py). Three servers are asked: one process,
a writer with two workers, and a SageMaker container.
"""

import argparse
import os
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.faults_cases import CLOSE, HOST, JSON, Case, Sent, hostile, request
from benchmarks.faults_target import LAPTOP, Served, served, stocked
from benchmarks.record import Row
from benchmarks.serving_process import free_port
from heirloom.adapters.package_files import copy_package
from heirloom.apps.parts import open_log

OWN = ("/v1/events", "/v1/recommend", "/v1/search", "/v2/models/ranker/infer", "/seen")
CONTAINER = ("/invocations",)
ANSWER_S = 30.0
"""So long an answer, or the end of the connection, is waited for."""
CANARY_EVERY = 50


@dataclass
class Found:
    """What came of all cases.

    Attributes:
        cases: sent, by kind.
        answers: by status; 0: the connection was closed without one.
        wrong: what should not have happened, with the request that did it.
        acknowledged: ids of good events that were taken in between.
    """

    cases: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)

    @property
    def fives(self) -> int:
        """Answers of 5xx that were not meant, silences and accidents."""
        return len(self.wrong)


class _Answers:
    """What a server sent on one connection."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.tells_when: list[bool] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.tells_when.append(False)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after" and value.isdigit():
            self.tells_when[-1] = True

    def on_headers_complete(self) -> None:
        self.statuses.append(self.parser.get_status_code())


def exchange(server: Served, sent: bytes, *, cut: bool = False) -> tuple[bytes, bool]:
    """What a server answers to bytes; and whether it closed the connection in time.

    Args:
        server: to ask.
        sent: on a connection of its own.
        cut: say then that no more comes; else the server is to close.
    """
    came, end = b"", time.monotonic() + ANSWER_S
    with socket.create_connection((server.host, server.port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(sent)
            if cut:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before its end; what was answered may still be read
        try:
            while (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (part := connection.recv(1 << 16)):
                    return came, True
                came += part
        except TimeoutError:
            pass
        except OSError:
            return came, True
    return came, False


def judge(server: Served, case: Case, found: Found) -> None:
    """Send a case and note what is wrong with the answer."""
    came, closed = exchange(server, case.sent, cut=case.cut)
    read = _Answers()
    try:
        read.parser.feed_data(came)
    except httptools.HttpParserError:
        # What follows the first answer may be of no form: HEAD, or 101.
        if not read.statuses:
            found.wrong.append(f"no HTTP: {came[:80]!r} to {case}"[:2_000])
    found.cases[case.kind] += 1
    found.answers.update(read.statuses or [0])
    about = f"{case.kind}: {case.sent[:600]!r}"
    for status, told in zip(read.statuses, read.tells_when, strict=False):
        if status >= 500 and not (status == 503 and told):
            found.wrong.append(f"{status} to {about}")
    if not closed:
        found.wrong.append(f"no end within {ANSWER_S:.0f} s to {about}")
    if case.whole and not read.statuses:
        found.wrong.append(f"no answer to {about}")
    if b"Traceback (most recent" in came:
        found.wrong.append(f"a traceback to {about}")


def canary(server: Served, found: Found) -> None:
    """A good event between the others, which must be taken and stay."""
    event_id = f"canary {sum(found.cases.values())} {server.port}"
    body = msgspec.json.encode(
        [{"kind": "click", "event_id": event_id, "user": "canary", "listing": "l0000003"}]
    )
    came, _ = exchange(server, request(Sent(b"POST", b"/v1/events", (JSON,), body)))
    if b'"taken":1' in came:
        found.acknowledged.append(event_id)
    else:
        found.wrong.append(f"a good event was answered {came[:400]!r}")


def hammer(server: Served, cases: Any, count: int, at: int, found: Found, *, events: bool) -> None:
    """So many cases of a hypothesis strategy, drawn by the seed `at`."""

    @seed(at)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def each(case: Case) -> None:
        judge(server, case, found)
        if events and not sum(found.cases.values()) % CANARY_EVERY:
            canary(server, found)

    each()


def by_schema(description: dict[str, Any]) -> list[Any]:
    """Strategies of cases by schemathesis, valid and invalid, for each operation that has any."""
    import schemathesis
    from schemathesis import GenerationMode

    schema = schemathesis.openapi.from_dict(description)
    made: list[Any] = []
    for result in schema.get_all_operations():
        operation: Any = result.ok()  # type: ignore[union-attr]  # it raises where there is none
        varies = bool(operation.body) or bool(operation.path_parameters) or bool(operation.query)
        made += [
            operation.as_strategy(generation_mode=mode).map(_of_schema)
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
            if varies
        ]
    return made


def _of_schema(case: Any) -> Case:
    """A case of schemathesis as bytes."""
    from requests import Request

    sent = case.as_transport_kwargs(base_url="http://fuzz.test")
    keys = ("method", "url", "headers", "params", "data", "json", "cookies", "files")
    prepared = Request(**{key: sent[key] for key in keys if sent.get(key) is not None}).prepare()
    body = prepared.body or b""
    body = body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogatepass")
    kept = [
        (name.encode("latin-1", "replace"), value if isinstance(value, bytes)
         else value.encode("utf-8", "surrogatepass"))
        for name, value in prepared.headers.items()
        if name.lower() not in ("content-length", "connection", "host", "transfer-encoding")
    ]  # fmt: skip
    method = str(prepared.method).encode()
    whole = method != b"HEAD" and len(body) < 1 << 16
    told = Sent(method, prepared.path_url.encode(), tuple(kept), body)
    return Case("schemathesis", request(told), whole)


def description_of(server: Served) -> dict[str, Any]:
    """The server's own OpenAPI description, asked of it."""
    asked = b"GET /openapi.json HTTP/1.1\r\n%s: %s\r\n%s: %s\r\n\r\n" % (*HOST, *CLOSE)
    came, _ = exchange(server, asked)
    found: dict[str, Any] = msgspec.json.decode(came.partition(b"\r\n\r\n")[2])
    return found


@contextmanager
def container(folder: Path) -> Iterator[Served]:
    """The same system as a SageMaker container."""
    port, root = free_port(), folder.with_name("opt")
    copy_package(folder, LAPTOP, root / "model", log=True)
    with served(
        folder.with_name("container"),
        command=["serve", "--sagemaker", "--opt-ml", str(root)],
        environment={"SAGEMAKER_BIND_TO_PORT": str(port)},
    ) as server:
        yield server


def fuzz(
    cases: int, at: int, *, folder: Path, servers: Sequence[str] = ("one", "workers", "container"),
    schema: bool = True,
) -> Found:  # fmt: skip
    """Send so many cases to the servers, in equal parts; then look at what is left.

    Args:
        cases: of all servers.
        at: the seed.
        folder: empty; the system's is made in it.
        servers: some of `one`, `workers`, `container`.
        schema: two fifths by schemathesis, which must be installed.
    """
    found, system = Found(), folder / "system"
    stocked(system)
    starts: dict[str, Callable[[], Any]] = {
        "one": lambda: served(system),
        "workers": lambda: served(system, "--workers", "2"),
        "container": lambda: container(system),
    }
    for number, name in enumerate(servers):
        paths = CONTAINER if name == "container" else OWN
        share = cases // len(servers) + (number < cases % len(servers))
        with starts[name]() as server:
            of_schema = share * 2 // 5 if schema and name != "container" else 0
            strategies = by_schema(description_of(server)) if of_schema else []
            for i, strategy in enumerate(strategies):
                part = of_schema // len(strategies) + (i < of_schema % len(strategies))
                if part:
                    hammer(server, strategy, part, at + i, found, events=name != "container")
            left = share - of_schema
            hammer(server, hostile(paths), left, at + number, found, events=name != "container")
            found.wrong += [f"{name}: {error}" for error in server.accidents()]
            if not server.lives():
                found.wrong.append(f"{name}: it ended")
            elif name != "container":
                _still_answers(server, name, found)
    _unharmed(system, found)
    return found


def _still_answers(server: Served, name: str, found: Found) -> None:
    """After all of it, a page is a whole one."""
    asked = Sent(b"POST", b"/v1/recommend", (JSON,), b'{"user":"canary","k":5}')
    came, _ = exchange(server, request(asked))
    if not came.startswith(b"HTTP/1.1 200") or b'"rung":"full"' not in came:
        found.wrong.append(f"{name}: a page afterwards: {came[:600]!r}")


def _unharmed(system: Path, found: Found) -> None:
    """The log is read from end to end, and holds each good event once."""
    log = open_log(system, read_only=True)
    try:
        ids = Counter(entry.event.event_id for entry in log.read())
    finally:
        log.close()
    found.wrong += [
        f"{event_id} stands {ids[event_id]} times in the log"
        for event_id in found.acknowledged
        if ids[event_id] != 1
    ]
    found.wrong += [f"{event_id!r} stands {n} times" for event_id, n in ids.items() if n > 1]


def rows(cases: int = 10_000, at: int = 0) -> list[Row]:
    """The row of the table."""
    folder = Path(tempfile.mkdtemp(prefix="faults-fuzz-", dir=os.environ.get("TMPDIR")))
    try:
        found = fuzz(cases, at, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for wrong in found.wrong[:40]:
        print(wrong)
    by_status = ", ".join(
        f"{n} x {status or 'closed'}" for status, n in sorted(found.answers.items())
    )
    note = (
        f"{sum(found.cases.values()):,} cases ({found.cases['schemathesis']:,} by schemathesis, "
        f"others by hypothesis), seed {at}; one process, two workers, a SageMaker container; "
        f"{by_status}; {len(found.acknowledged)} good events between them, each once in the log"
    )
    return [
        Row(id="faults.fuzz_5xx", value=found.fives, unit="answers", better="equal", target=0,
            note=note),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--cases", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()
    for row in rows(chosen.cases, chosen.seed):
        print(row.id, row.value, row.note)


if __name__ == "__main__":
    main()
