"""A system served by a writer and two workers, asked over HTTP; one worker is killed meanwhile.

    python examples/07_serving.py

The same in a shell: `heirloom serve --workers 2`. What may fail, and what then: docs/operations.md.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.progress import Silent
from heirloom.apps.settings import load
from heirloom.apps.wire import EventIn
from heirloom.client import Client

LAPTOP = Path(__file__).parents[1] / "systems" / "laptop.toml"
NAMES = ("writer", "worker-1", "worker-2")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def started(folder: str, url: str) -> subprocess.Popen[bytes]:
    """`heirloom serve --workers 2` on this folder, ready."""
    server = subprocess.Popen(
        [sys.executable, "-m", "heirloom", "serve", "--system", str(LAPTOP), "--folder", folder,
         "--port", url.rpartition(":")[2], "--workers", "2"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    while server.poll() is None and not processes(url):
        time.sleep(0.1)
    return server


def processes(url: str) -> dict[str, str]:
    """What /readyz says of each process; nothing before the server listens."""
    try:
        said = httpx.get(f"{url}/readyz", timeout=10).json()
    except httpx.TransportError:
        return {}
    return {name: str(said["details"].get(f"process.{name}")) for name in NAMES}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        system = System(load(LAPTOP, folder=folder))
        simulate_into(system, "tiny", 0, None, Silent())
        system.train()
        user = system.people_examples(1)[0][0]
        system.close()
        url = f"http://127.0.0.1:{free_port()}"
        server = started(folder, url)
        try:
            ask(url, user)
        finally:
            server.send_signal(signal.SIGTERM)
            print(f"stopped, exit status {server.wait()}")


def ask(url: str, user: str) -> None:
    """A slate, a sale, and a worker's death."""
    with Client(url, timeout_s=10) as client:
        slate = client.recommend(user=user, k=8)
        print(f"Home feed of {user}, by {slate.bundle}:")
        for card in slate.listings:
            print(f"  {card.title[:48]:<48}  {'; '.join(card.reasons)}")

        # Acknowledged is durable, and known to every worker's next answer.
        gone = slate.listings[0].listing_id
        client.events([EventIn(kind="sold", listing=gone)])
        pages = [client.recommend(user=user, k=8) for _ in range(10)]
        shown = sum(gone == card.listing_id for page in pages for card in page.listings)
        print(f"sold, and still shown: {shown} times in {len(pages)} pages")

        pid = re.findall(r"pid (\d+)", processes(url)["worker-1"])[0]
        os.kill(int(pid), signal.SIGKILL)
        answered = sum(bool(client.recommend(user=user, k=8).listings) for _ in range(10))
        print(f"answered while a worker was away: {answered} of 10")
        while f"pid {pid}," in (now := processes(url)["worker-1"]) or not now.startswith("ready"):
            time.sleep(0.1)
        print(f"and it is back: {now}")


if __name__ == "__main__":
    main()
