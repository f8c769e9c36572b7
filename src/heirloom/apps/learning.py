"""Learning: what a system's retrievers learn from its log, and how they come to it again."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from heirloom.adapters import bundle as bundles
from heirloom.core.log import EventLog
from heirloom.retrieval.retriever import Learning, Retriever

Learned = Mapping[str, Mapping[str, NDArray[Any]]]
"""Arrays of each retriever that learns, by its name."""


def learned_in(bundle: Path | None) -> Learned:
    """What a bundle's folder holds; nothing where there is no such folder.

    Raises:
        BundleError: a file is not as it was written.
    """
    return bundles.retrievers_of(bundle) if bundle is not None and bundle.is_dir() else {}


def learn(
    retrievers: Mapping[str, Retriever],
    log: EventLog,
    *,
    seed: int,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Learned:
    """What those that learn have learned from the whole log; the others are passed by.

    Raises:
        InputError: the log holds nothing that one could learn from.
    """
    learning = list(_learning(retrievers))
    learned = {}
    for done, (name, retriever) in enumerate(learning):
        progress("retrievers", done, len(learning))
        learned[name] = retriever.learn(log.facts(), seed=seed)
        progress("retrievers", done + 1, len(learning))
    return learned


def teach(retrievers: Mapping[str, Retriever], learned: Learned) -> None:
    """Give each what it has learned; one for which there is nothing forgets what it had.

    Raises:
        BundleError: arrays that are of another retriever.
    """
    for name, retriever in _learning(retrievers):
        retriever.use(learned.get(name, {}))


def _learning(retrievers: Mapping[str, Retriever]) -> Iterable[tuple[str, Learning]]:
    for name, retriever in sorted(retrievers.items()):
        if isinstance(retriever, Learning):
            yield name, retriever
