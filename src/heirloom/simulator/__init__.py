"""A marketplace with known truth: tests, demos, load, policy trials.

In: a seed and a size, or a file's listings. Out: events, and the true expected value of a slate.
Open `world.py` first, then `truth.py`. `docs/simulator.md` says what it is good for and what not.
"""

from heirloom.simulator.batch import Batch
from heirloom.simulator.picture import draw
from heirloom.simulator.policies import Mixed, Oracle, Popular, Random, Recent
from heirloom.simulator.queries import Policy, QueryColumns, by_query
from heirloom.simulator.trial import Captured, Trial, captured_value
from heirloom.simulator.truth import WEIGHTS
from heirloom.simulator.world import VERSION, Size, World

__all__ = [
    "VERSION",
    "WEIGHTS",
    "Batch",
    "Captured",
    "Mixed",
    "Oracle",
    "Policy",
    "Popular",
    "QueryColumns",
    "Random",
    "Recent",
    "Size",
    "Trial",
    "World",
    "by_query",
    "captured_value",
    "draw",
]
