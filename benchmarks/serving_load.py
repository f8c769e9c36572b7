"""Requests to a server on loopback: by wrk for throughput, by our own for what wrk cannot tell.

wrk keeps connections busy: the next request leaves when the last was answered, so a slow server is
asked less. Latency under a given load wants arrivals that do not wait: `at_rate` draws them from a
Poisson process and counts each from when it was due.
"""

import asyncio
import http.client
import json
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving_process import Served

PATH = "/v1/recommend"
_LUA = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local next = 0
request = function()
  next = next %% #bodies + 1
  return wrk.format("POST", "%s", {["Content-Type"] = "application/json"}, bodies[next])
end
done = function(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d\\n", summary.requests, summary.duration,
    summary.errors.status + summary.errors.read + summary.errors.write
    + summary.errors.connect + summary.errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a load found: requests answered a second, and CPU of the server for each, in ms."""

    rps: float
    cpu_ms: float


def closed(served: Served, bodies: Sequence[str], *, connections: int, seconds: float) -> Loaded:
    """As many requests as the server answers, by wrk with one thread.

    Raises:
        RuntimeError: one was not answered with 2xx.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        lines.write_text("\n".join(bodies))
        script.write_text(_LUA % (lines, PATH))
        before = served.cpu_s()
        said = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s",
             str(script), f"http://127.0.0.1:{served.port}"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        spent = served.cpu_s() - before
    found = re.search(r"RESULT (\d+) (\d+) (\d+)", said)
    if found is None or int(found[3]):
        raise RuntimeError(f"wrk: not every request was answered with 2xx: {said[-600:]}")
    requests = int(found[1])
    return Loaded(requests / (int(found[2]) / 1e6), spent / requests * 1e3)


def one_by_one(served: Served, bodies: Sequence[str]) -> tuple[list[float], list[float]]:
    """Of each request, alone: CPU of the server and wall time, ms."""
    cpu, wall = [], []
    door = http.client.HTTPConnection("127.0.0.1", served.port)
    for body in bodies:
        before, began = served.cpu_s(), time.perf_counter()
        ask(door, PATH, body)
        wall.append((time.perf_counter() - began) * 1e3)
        cpu.append((served.cpu_s() - before) * 1e3)
    door.close()
    return cpu, wall


def ask(door: http.client.HTTPConnection, path: str, body: str) -> bytes:
    """The answer's body.

    Raises:
        RuntimeError: another status than 200.
    """
    door.request("POST", path, body, {"Content-Type": "application/json"})
    answer = door.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {said[:300]!r}")
    return said


def at_rate(
    served: Served, bodies: Sequence[str], *, rate: float, seconds: float, connections: int = 64
) -> list[float]:
    """Latencies in ms of requests that arrive at a rate, each from when it was due."""

    async def run() -> list[float]:
        rng, due, at = random.Random(0), asyncio.Queue[tuple[float, str]](), 0.0
        begin = asyncio.get_running_loop().time() + 0.1
        while (at := at + rng.expovariate(rate)) < seconds:
            due.put_nowait((begin + at, rng.choice(bodies)))
        found: list[float] = []
        lanes = (_lane(served.port, due, found.append) for _ in range(connections))
        await asyncio.gather(*lanes)
        return found

    return asyncio.run(run())


async def _lane(
    port: int, due: "asyncio.Queue[tuple[float, str]]", tell: Callable[[float], None]
) -> None:
    """One connection that takes the next request that is due."""
    clock = asyncio.get_running_loop().time
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not due.empty():
        at, body = due.get_nowait()
        await asyncio.sleep(max(at - clock(), 0))
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200") or length is None:
            raise RuntimeError(head.decode())
        await reader.readexactly(int(length[1]))
        tell((clock() - at) * 1e3)
    writer.close()


def leaks_under_churn(served: Served, bodies: Sequence[str], sales: int) -> tuple[int, int]:
    """Sell what is shown, one after another, and look for it in all that is shown afterwards.

    Returns:
        Sold listings found in responses that began after the sale was acknowledged; listings shown.
    """
    door = http.client.HTTPConnection("127.0.0.1", served.port)
    rng, sold, leaked, shown = random.Random(0), set[str](), 0, 0
    for number in range(sales):
        for _ in range(3):
            answer = json.loads(ask(door, PATH, rng.choice(bodies)))
            listings = [each["listing_id"] for each in answer["listings"]]
            shown += len(listings)
            leaked += len(sold.intersection(listings))
        gone = rng.choice(listings[:10])
        event = {"kind": "sold", "listing": gone, "event_id": f"churn-{time.time_ns()}-{number}"}
        report = json.loads(ask(door, "/v1/events", json.dumps([event])))
        if report["taken"] != 1:
            raise RuntimeError(f"a sale was not taken: {report}")
        sold.add(gone)
    door.close()
    return leaked, shown
