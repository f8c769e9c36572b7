"""Bundles and the index swapped under load, in small; and that a mixed page is told."""

from pathlib import Path

import numpy as np
from benchmarks import faults_swaps
from benchmarks.faults_load import Card, Page
from benchmarks.faults_swaps import agrees
from numpy.typing import NDArray

from heirloom.core.slate import FeatureBatch, SlateRecord


def test_no_request_fails_and_no_page_is_of_two_bundles(stock: Path) -> None:
    found = faults_swaps.swapped(stock, 3, rate=20.0, rest_s=0.2)
    assert found.asked > 20
    assert (found.failed, found.mixed) == (0, 0)
    assert found.compared == found.asked - found.lower
    assert found.made_by == 3
    assert [len(took) for took in found.back_s] == [1, 2], "of the same encoders, of others"


class Times:
    """A ranker that gives so many times the only feature."""

    columns, actions = ("one",), ("gain",)

    def __init__(self, factor: float) -> None:
        self._factor = factor

    def score(self, batch: FeatureBatch) -> NDArray[np.float32]:
        return np.float32(self._factor) * batch.values


def test_a_page_that_shows_scores_of_another_bundle_is_told() -> None:
    rankers = {"a": Times(2.0), "b": Times(3.0)}
    values = np.array([[1.0], [2.0]], "<f4")
    record = SlateRecord(
        slate_id="s", t=0, n=0, policy="", bundle="a", surface="home", user=None, session=None,
        text="", anchor=None, request=b"", candidates_hash="", listings=("x", "y"),
        positions=(0, 1), propensities=(1.0, 1.0), columns=("one",), features=values.tobytes(),
    )  # fmt: skip

    def page(bundle: str, *scores: float) -> Page:
        cards = [Card(listing, score) for listing, score in zip("xy", scores, strict=True)]
        return Page("s", bundle, "full", 0, cards)

    assert agrees(page("a", 2.0, 4.0), record, rankers) is True
    assert agrees(page("a", 2.0, 6.0), record, rankers) is False, "the second score is of b"
    assert agrees(page("b", 3.0, 6.0), record, rankers) is False, "the record is of a"
    assert agrees(page("c", 2.0, 4.0), record, rankers) is False, "nobody published c"
    assert agrees(page("a", 2.0, 4.0), None, rankers) is None
