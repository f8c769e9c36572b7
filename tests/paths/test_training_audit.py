"""A training that looks ahead is noticed, in a whole system: features read the log's future."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from heirloom.adapters import bundle as bundles
from heirloom.apps.build import System
from heirloom.apps.parts import empty_live, recipe_of
from heirloom.apps.registry import Registry
from heirloom.apps.settings import load
from heirloom.apps.training import Training
from heirloom.core.errors import InputError
from heirloom.core.event import KIND_CODE, Kind
from heirloom.core.log import EventLog
from heirloom.core.query import Request
from heirloom.core.slate import FeatureBatch
from heirloom.pipelines.as_of import CHECK, CutOff, as_of_impressions
from heirloom.pipelines.live import Live
from heirloom.pipelines.train import examples_of_impressions
from heirloom.pipelines.training_report import REPORT_FILE, TrainingReport
from heirloom.ranking.ranker import Examples

from .conftest import LAPTOP, Marketplace

PLANTED = "listing_heat_7d"


def looking_ahead(live: Live, log: EventLog) -> Live:
    """The same state, but one column counts what will be done with a listing until the log ends."""
    facts = log.facts()
    honest = live.look_up

    def look_up(request: Request, slots: NDArray[np.int32]) -> FeatureBatch:
        batch = honest(request, slots)
        later = facts.events["t"] >= request.query.t
        later &= facts.events["kind"] == KIND_CODE[Kind.CLICK]
        clicked = facts.listings["slot"][facts.starts[:-1][later]]
        values = batch.values.copy()
        at = [column.endswith(f".{PLANTED}") for column in batch.columns].index(True)
        values[:, at] = (clicked == slots[:, None]).sum(axis=1)
        return replace(batch, values=values)

    live.look_up = look_up  # type: ignore[method-assign]
    return live


class Ahead(Training):
    """A training that reads the future."""

    def live(self, encoders, learned, log=None) -> Live:
        return looking_ahead(super().live(encoders, learned, log), log or self._log)


@pytest.fixture
def copy(trained: Marketplace, tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("*.writer*")
    return Path(shutil.copytree(trained.system.folder, tmp_path / "copy", ignore=ignored))


def test_the_clean_case_passes_and_its_report_lies_in_the_bundle(trained: Marketplace) -> None:
    system = trained.system
    current = system.folder / "bundles" / (system.folder / "current.txt").read_text().strip()
    text = bundles.document_of(current, REPORT_FILE)
    assert text is not None
    report = TrainingReport.decode(text)
    found = {finding.check: finding for finding in report.findings}
    assert [finding.holds for finding in found.values()] == [True, True, True]
    assert found[CHECK].numbers["rows"] > 100
    assert found[CHECK].numbers["differ"] == 0
    columns = next(each for each in report.drops if each.of == "column")
    assert {drop.name for drop in columns.drops} == set(system.policy.ranker.columns)
    assert {each.of for each in report.drops} == {"column", "group"}
    # Few go beyond a click in a world so small: that table may be missing.
    assert {each.label for each in report.drops} >= {"gain", "any_action"}


def test_a_feature_that_reads_the_future_is_refused(copy: Path) -> None:
    system = System(load(LAPTOP, folder=copy))
    system.training = Ahead(system.settings, system.registry, system.log, system.photos)
    before = (copy / "current.txt").read_text()
    known = {path.name for path in (copy / "bundles").iterdir()}
    try:
        with pytest.raises(InputError, match=PLANTED) as refused:
            system.train()
    finally:
        system.close()
    assert "a log that ends at the impression does not give" in str(refused.value)
    assert (copy / "current.txt").read_text() == before
    (kept,) = {path.name for path in (copy / "bundles").iterdir()} - known
    text = bundles.document_of(copy / "bundles" / kept, REPORT_FILE)
    assert text is not None
    finding = next(f for f in TrainingReport.decode(text).findings if f.check == CHECK)
    assert [column.rpartition(".")[2] for column in finding.columns] == [PLANTED]


@pytest.fixture(scope="module")
def made(trained: Marketplace) -> tuple[EventLog, Examples]:
    """Examples of the marketplace's log as they are made for training."""
    system = trained.system
    live = empty_live(system.settings, system.registry, system.log, retrievers=False)
    recipe = recipe_of(system.settings)
    return system.log, examples_of_impressions(system.log, live, recipe, lambda *_: None)[0]


def checked(trained: Marketplace, log: EventLog, examples: Examples):
    settings = trained.system.settings

    def empty(part: EventLog):
        return empty_live(settings, Registry.installed(), part, retrievers=False), None

    return as_of_impressions(log, empty, examples, recipe_of(settings), entries=4_000)


def test_one_flipped_bit_and_a_column_of_nobody_are_found(
    trained: Marketplace, made: tuple[EventLog, Examples]
) -> None:
    log, examples = made
    assert checked(trained, log, examples).holds
    flipped = examples.values.copy()
    flipped.view(np.uint32)[0, 13] ^= 1  # the first slate is always among those looked at
    found = checked(trained, log, replace(examples, values=flipped))
    assert found.holds is False
    assert found.columns == (examples.columns[13],)
    assert found.numbers["differ"] == 1
    later = replace(
        examples,
        values=np.column_stack([examples.values, examples.gains]),
        columns=(*examples.columns, "mine@1.clicked_later"),
    )
    found = checked(trained, log, later)
    assert found.columns == ("mine@1.clicked_later",)
    assert "not of the feature view" in found.text


def test_a_log_that_was_cut_off_ends_there(trained: Marketplace) -> None:
    log = trained.system.log
    part = CutOff(log, 50)
    assert part.end() == 50
    assert [entry.seq for entry in part.read(48)] == [48, 49]
    assert [entry.seq for entry in part.read(10, 12)] == [10, 11]
    assert len(part.facts()) == 50
    assert len(part.facts(60)) == 0
    first, late = (next(iter(log.read(n, n + 1))).event.event_id for n in (3, 60))
    assert part.seen([first, late]) == {first}
    assert CutOff(log, 10**9).end() == log.end()
