"""A feature defined today is of the log's whole past, and goes live at an offset with no seam."""

import dataclasses
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from heirloom.apps import backfill
from heirloom.apps.build import System
from heirloom.apps.cli import main
from heirloom.apps.parity import check
from heirloom.apps.registry import Registry
from heirloom.apps.settings import Settings, load
from heirloom.core.errors import ConfigError, NotFoundError
from heirloom.core.event import Event, Kind
from heirloom.core.query import Query
from heirloom.features.algebra import Counter
from heirloom.features.library import marketplace_view
from heirloom.features.view import FeatureView
from heirloom.pipelines.live import Live
from heirloom.pipelines.recovery import Folded

from .conftest import LAPTOP, START_MS, Clock, listings


def new_view(_: tuple[str, ...]) -> FeatureView:
    """The marketplace's, and how often a listing was hidden."""
    hidden = Counter("listing_hidden", ("listing",), (Kind.HIDE.value,), ("30d",), "Hides.")
    return FeatureView("marketplace", (*marketplace_view().features, hidden))


NEW = dataclasses.replace(Registry.installed(), views={"marketplace": new_view})


def of(folder: Path) -> Settings:
    return load(LAPTOP, folder=folder)


def acts(kind: Kind, start: int, count: int) -> list[Event]:
    return [
        Event(
            event_id=f"{kind}{i}", kind=kind, t=START_MS, listing=f"l{i % 60:02d}", user=f"u{i % 9}"
        )
        for i in range(start, start + count)
    ]


def state_of(live: Live) -> dict[str, bytes]:
    arrays = Folded(live.features, live.people).arrays()
    return {name: array.tobytes() for name, array in arrays.items()}


def hidden(system: System, listing: str) -> float:
    features = system.recommend(Query(t=START_MS, k=200)).features
    slots = system.live.catalogue.slots_of([listing])
    assert features is not None
    assert features.columns[-1].endswith("listing_hidden_30d")
    batch = system.live.look_up(system.live.request(Query(t=START_MS)), slots)
    return float(batch.values[0, -1])


@pytest.fixture
def old(tmp_path: Path) -> System:
    """A system of the old view, with a past in which listings were hidden."""
    system = System(of(tmp_path), clock=Clock())
    system.ingest(
        Event(
            event_id=each.listing_id, kind="listed", t=START_MS, listing=each.listing_id, data=each
        )
        for each in listings()
    )
    system.ingest([*acts(Kind.HIDE, 0, 130), *acts(Kind.CLICK, 0, 40)])
    return system


def test_it_goes_live_at_n_with_no_seam(old: System) -> None:
    settings = old.settings
    first = backfill.run(settings, registry=NEW)  # beside the old view, which goes on
    assert (first.from_offset, first.to_offset) == (0, 63 + 170)
    assert (
        first.of == f"marketplace@{new_view(()).version}" != f"marketplace@{old.live.view.version}"
    )
    assert first.keys > 0
    old.ingest(acts(Kind.HIDE, 130, 25))
    assert old.recommend(Query(t=START_MS)).features is not None
    second = backfill.run(settings, registry=NEW)
    assert (second.from_offset, second.to_offset) == (233, 258)
    old.ingest(acts(Kind.HIDE, 155, 6))
    old.close()
    assert check(settings).holds  # the old view's slates, by the old view

    new = System(settings, registry=NEW, clock=Clock())
    try:
        assert new.restored_to == 258
        always = new.empty_live(retrievers=False)
        always.replay(new.log.read())
        assert state_of(new.live) == state_of(always)
        # 161 hides of 60 listings: each twice, the first 41 a third time.
        assert [hidden(new, "l40"), hidden(new, "l41")] == [3.0, 2.0]
        new.ingest(acts(Kind.HIDE, 161, 1))
        assert hidden(new, "l41") == 3.0
    finally:
        new.close()
    since = START_MS + 1
    with pytest.raises(NotFoundError):
        check(settings, registry=NEW, since_ms=since)
    assert not check(settings, registry=NEW).holds  # the old slates are of the old view


def test_when_there_is_nothing_new_it_folds_nothing(old: System) -> None:
    backfill.run(old.settings, registry=NEW)
    again = backfill.run(old.settings, registry=NEW)
    assert again.from_offset == again.to_offset == 233
    old.close()


def test_the_old_view_keeps_its_state_while_it_serves(old: System) -> None:
    kept = old.folder / "snapshots" / f"marketplace@{old.live.view.version}"
    old.snapshot()
    os.utime(kept / "in-use", (0, 0))
    backfill.run(old.settings, registry=NEW)
    assert kept.exists()
    old.close()  # used until now
    backfill.run(old.settings, registry=NEW)
    assert kept.exists()
    os.utime(kept / "in-use", (0, 0))
    new = System(old.settings, registry=NEW, clock=Clock())
    new.ingest(acts(Kind.HIDE, 130, 1))
    new.snapshot()
    new.close()
    assert not kept.exists()
    again = System(old.settings, clock=Clock())  # rolled back: it folds the log
    assert (again.restored_to, again.live.n) == (0, 234)
    again.close()


def test_the_command(
    old: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def heirloom(*arguments: str) -> int | str | None:
        folder = str(old.settings.system.folder)
        monkeypatch.setattr(
            sys, "argv", ["heirloom", *arguments, "--system", str(LAPTOP), "--folder", folder]
        )
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code

    assert heirloom("backfill") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"marketplace@{marketplace_view().version}: folded from offset 0 to 233 in" in out
    assert heirloom("backfill", "--view", "no-such") == 2
    assert "no-such" in capsys.readouterr().err
    old.close()
    again = System(of(old.settings.system.folder), clock=Clock())
    assert again.restored_to == 233
    again.close()


def test_what_cannot_be_backfilled_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no log in .*--folder"):
        backfill.run(of(tmp_path))
    System(of(tmp_path), clock=Clock()).close()
    with pytest.raises(NotFoundError, match="is empty"):
        backfill.run(of(tmp_path))
    with pytest.raises(ConfigError, match="unknown"):
        backfill.run(of(tmp_path), view="no-such")
    assert not np.any([path.is_dir() for path in tmp_path.glob("snapshots/*")])
