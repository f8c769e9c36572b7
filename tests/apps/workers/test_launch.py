"""What is closed before a fork goes on after it; what no fork survives is refused before it."""

import stat
import threading
from pathlib import Path

import pytest
from tests.apps.conftest import LAPTOP, START_MS, Clock, listings
from tests.paths.test_readers import expect_same

from heirloom.apps.build import System
from heirloom.apps.publication import Publication
from heirloom.apps.rehearsal import rehearse
from heirloom.apps.settings import Settings, load
from heirloom.apps.workers import launch
from heirloom.core.errors import ConfigError
from heirloom.core.event import Event, Surface
from heirloom.core.query import Query


def acts(name: str) -> list[Event]:
    """A new listing, whose words nobody used before, and a person who is new too."""
    listing = next(x for x in listings() if x.listing_id == "l05")
    data = type(listing)(listing_id=name, seller=name, title=f"{name} coat", brand=name,
                         category="women/clothing/coats", price_minor=5_000)  # fmt: skip
    return [
        Event(event_id=f"listed {name}", kind="listed", t=START_MS, listing=name, data=data),
        Event(event_id=f"click {name}", kind="click", t=START_MS, listing=name, user=f"u {name}",
              slate="x", surface="home"),
    ]  # fmt: skip


def asked() -> list[Query]:
    return [
        Query(t=START_MS + 1, user="u one", k=12),
        Query(t=START_MS + 1, user="u two", surface="search", text="two coat", k=12),
    ]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = load(LAPTOP, folder=tmp_path / "data")
    system = System(settings, clock=Clock())
    listed = [
        Event(event_id=f"l {x.listing_id}", kind="listed", t=START_MS, listing=x.listing_id, data=x)
        for x in listings()
    ]
    assert system.ingest(listed, source="test").taken == len(listed)
    system.close()
    return settings


def test_a_system_goes_on_as_writer_and_as_reader(settings: Settings) -> None:
    """In any order, and as one that was made anew from the log."""
    one, other = System(settings, clock=Clock()), System(settings, clock=Clock(), reader=True)
    one.close()
    one.resume(reader=False)
    assert one.ingest(acts("one"), source="test").taken == 2
    one.close()
    other.close()
    other.resume(reader=False)
    assert other.ingest(acts("two"), source="test").taken == 2
    one.resume(reader=True)
    assert other.ingest(acts("three"), source="test").taken == 2
    for query in asked():
        expect_same(one.recommend(query), other.recommend(query))
    one.close()
    other.close()
    anew = System(settings, clock=Clock())
    one.resume(reader=True)
    for query in asked():
        expect_same(one.recommend(query), anew.recommend(query))
    assert anew.live.n == one.live.n
    anew.close()
    one.close()


def test_a_state_is_caught_up_and_nothing_is_left_open(settings: Settings) -> None:
    system = System(settings, clock=Clock())
    rehearse(system)
    system.close()
    writer = System(settings, clock=Clock())
    writer.ingest(acts("one"), source="test")
    before = set(threading.enumerate())
    launch.catch_up(system)
    assert set(threading.enumerate()) <= before
    assert system.live.n == writer.live.n
    writer.close()


def test_what_no_fork_survives_is_refused(settings: Settings) -> None:
    quotas = {**settings.policy.quotas, Surface.SEARCH: {"tantivy": 100}}
    policy = settings.policy.model_copy(update={"quotas": quotas})
    with pytest.raises(ConfigError, match="tantivy, whose index has threads"):
        launch.serve(
            settings.model_copy(update={"policy": policy}), workers=2, host="127.0.0.1", port=0
        )


def test_the_folder_of_a_run_is_its_users_alone_and_gone_at_its_end() -> None:
    with launch.run_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "writer.sock").touch()
    assert not folder.exists()


class Following:
    """What a publication asks of a system."""

    def __init__(self, folder: Path, *said: str) -> None:
        self.folder = folder
        self.said = list(said)
        self.asked = 0

    def follow_published(self) -> str:
        self.asked += 1
        return self.said.pop(0) if self.said else ""


def test_what_is_published_is_followed_once(tmp_path: Path) -> None:
    system = Following(tmp_path, "it is damaged")
    publication = Publication(system)
    seen = []

    def look() -> None:
        publication.look()
        publication.close()
        seen.append((system.asked, publication.refused))

    def publish(bundle: str) -> None:
        (tmp_path / "current.new").write_text(bundle)
        (tmp_path / "current.new").replace(tmp_path / "current.txt")

    look()
    publish("a")
    look()
    look()
    publication.again()
    publication.close()
    publish("b")
    look()
    assert seen == [(0, ""), (1, "it is damaged"), (1, "it is damaged"), (3, "")]
