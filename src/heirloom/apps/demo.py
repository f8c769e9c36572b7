"""The main job on a simulated marketplace: simulate, ingest, train, evaluate, serve."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from heirloom.apps.build import System
from heirloom.apps.progress import Bars
from heirloom.apps.server import run as run_server
from heirloom.apps.settings import load
from heirloom.core.errors import ConfigError
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.query import Query
from heirloom.pipelines.serve import recommend
from heirloom.simulator.policies import Mixed
from heirloom.simulator.queries import Policy, by_query
from heirloom.simulator.trial import Trial
from heirloom.simulator.world import Size, World

TINY = Size(listings=800, people=150, days=3, sessions_per_day=0.8, tick_ms=60 * 60_000)
SIZES = {"tiny": TINY, "small": Size.SMALL, "demo": Size.DEMO}
TRIAL_TICKS = {"tiny": 4, "small": 24, "demo": 18}
"""How long the policy is tried: about eight hours of the day."""
DEMO_SLATES = 12_000
"""A demo learns from part of its log: quality still grows with more, but so does the wait."""
SYSTEM = Path(__file__).parents[3] / "systems" / "laptop.toml"
DAY_MS = 86_400_000


class Tells(Protocol):
    """Something that shows progress."""

    def progress(self, step: str, done: int, of: int) -> None:
        """A step is `done` of `of`."""


def simulate_into(
    system: System, size: str, seed: int, listings: Sequence[Listing] | None, tells: Tells
) -> World:
    """Simulate some days under a varied logging policy and ingest them as history.

    The simulated past ends about now, so that what a person does next follows it in time.
    """
    if size not in SIZES:
        raise ConfigError("simulate", [f"size {size!r}; wanted one of {', '.join(SIZES)}"])
    chosen = SIZES[size]
    ticks = round(chosen.days * DAY_MS / chosen.tick_ms)
    ahead = (ticks + TRIAL_TICKS[size] + 1) * chosen.tick_ms
    world = World(chosen, seed, start_ms=system.now_ms() - ahead, listings=listings)
    system.ingest_history(world.opening(), source="simulator")
    policy = Mixed(world)
    for tick in range(ticks):
        system.ingest_history(world.step(policy).events(), source="simulator")
        tells.progress("simulate", tick + 1, ticks)
    return world


def product_policy(system: System) -> Policy:
    """The system's policy, as the simulator asks for it."""

    def answer(query: Query) -> list[str]:
        slate = recommend(query, system.policy, system.live, reasons=0)
        return slate.shown.listings

    return by_query(answer)


def trial(system: System, world: World, ticks: int, tells: Tells) -> Trial:
    """Let the world go on under the system's policy, beside popular in context and the oracle.

    The system hears of every event before the next question, as it would live.
    """
    done = 0

    def hear(events: list[Event]) -> None:
        nonlocal done
        system.ingest_history(events, source="simulator")
        done = min(done + 1, ticks * 9)
        tells.progress("evaluate", done, ticks * 9)

    found = world.trial({"heirloom": product_policy(system)}, ticks, listener=hear)
    tells.progress("evaluate", ticks * 9, ticks * 9)
    return found


def run(
    console: Console,
    *,
    size: str,
    seed: int,
    listings: Sequence[Listing] | None,
    port: int,
    keep_serving: bool,
    folder: Path,
    system_file: Path = SYSTEM,
) -> None:
    """Do the whole and stay up, with an address to open and a line to paste."""
    began = time.monotonic()
    settings = load(system_file, folder=folder)
    _clear(folder)
    training = settings.training.model_copy(update={"max_slates": DEMO_SLATES})
    system = System(settings.model_copy(update={"training": training}))
    with Bars(console) as bars:
        world = simulate_into(system, size, seed, listings, bars)
        bundle, trained = system.train(progress=bars.progress)
        found = trial(system, world, TRIAL_TICKS[size], bars)
    console.print(
        f"{system.ready()['listings']:,} live listings, {system.live.n:,} events, "
        f"bundle {bundle.bundle_id[:12]}, {time.monotonic() - began:.0f} s"
    )
    console.print(_table(trained.metrics, found))
    if not keep_serving:
        system.close()
        return
    user = system.people_examples(1)[0][0]

    def announce(address: str) -> None:
        console.print(f"\nOpen   [bold]{address}[/]")
        console.print(
            f"or ask  curl -s {address}/v1/recommend -d "
            f'\'{{"surface": "home", "user": "{user}", "k": 5}}\'',
            highlight=False,
            soft_wrap=True,
        )
        console.print("Ctrl-C stops.")

    run_server(system, host="127.0.0.1", port=port, announce=announce)


def _clear(folder: Path) -> None:
    """Make room for a new demo; only where an earlier one stood, or nothing.

    Raises:
        ConfigError: if the folder holds something else.
    """
    mark = folder / "demo.txt"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise ConfigError(
            "demo", [f"{folder} holds something that is no demo's; name an empty folder"]
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.write_text("Made by `heirloom demo`, which deletes this folder when it runs again.\n")


def _table(metrics: dict[str, float], found: Trial) -> Table:
    table = Table(title="Is it any good?", title_justify="left")
    for heading in ("", "trained policy", "beside it"):
        table.add_column(heading)
    captured = found.captured("heirloom")
    table.add_row(
        "captured value, live trial",
        f"{captured.value:.3f}  [{captured.low:.3f}, {captured.high:.3f}]",
        "popular in context 0, oracle 1",
    )
    table.add_row("slates, people", f"{captured.queries:,}, {captured.people:,}", "")
    table.add_row("sold listings shown", str(found.sold_shown["heirloom"]), "")
    table.add_row(
        "NDCG@10, held-out slates",
        f"{metrics['ndcg@10']:.3f}",
        f"order shown {metrics['ndcg@10_logged']:.3f}, random {metrics['ndcg@10_random']:.3f}",
    )
    return table
