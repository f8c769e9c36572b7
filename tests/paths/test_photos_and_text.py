"""A tiny marketplace whose listings are read by their photos and by a model of text as well."""

import io
import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image
from tests.apps.conftest import Client
from tests.encoders import bert

from heirloom.apps.build import System
from heirloom.apps.demo import simulate_into
from heirloom.apps.export_text import export_text
from heirloom.apps.http import application
from heirloom.apps.inspection import neighbours
from heirloom.apps.parity import check
from heirloom.apps.progress import Silent
from heirloom.apps.settings import Settings, load
from heirloom.core.errors import BundleError
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.core.query import Query

from .conftest import LAPTOP


def settings(folder: Path, text: Path, images: str = "drawn") -> Settings:
    chosen = load(LAPTOP, folder=folder, images=images)
    asked = {"kind": "trained", "epochs": 1, "photos": "trained", "text": str(text)}
    return chosen.model_copy(update={"encoders": chosen.encoders.model_copy(update=asked)})


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("text") / "table"
    export_text(bert.write(tmp_path_factory.mktemp("bert")), out, tokens=32, table=6)
    return out


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Iterator[System]:
    system = System(settings(tmp_path_factory.mktemp("seen"), text))
    simulate_into(system, "tiny", 0, None, Silent())
    system.train()
    yield system
    system.close()


@pytest.fixture
def again(trained: System, text: Path, tmp_path: Path) -> Iterator[System]:
    """The same system started anew, its photos now files of a folder."""
    copied = tmp_path / "copied"
    shutil.copytree(trained.folder, copied)
    system = System(settings(copied, text, images=str(tmp_path / "images")))
    yield system
    system.close()


def test_the_bundle_has_all_that_is_its_own_and_names_the_rest(trained: System, text: Path) -> None:
    folder = trained.folder / "bundles" / trained.policy.bundle / "encoders"
    assert (folder / "photo.onnx").is_file()
    assert json.loads((folder / "modalities.json").read_bytes()) == {
        "photo": "trained", "text": str(text)
    }  # fmt: skip
    about = json.loads((folder / "listing.json").read_bytes())
    assert [read["name"] for read in about["modalities"]] == ["photo", "text"]
    assert "photos_refused" in trained.ready()
    assert trained.ready()["photos_refused"] == 0


def test_every_process_of_the_system_answers_by_it(trained: System) -> None:
    slate = trained.recommend(Query(t=trained.now_ms(), k=8))
    assert not slate.degraded
    trained.records.close()
    found = check(trained.settings)
    assert found.holds, found.summary()
    assert found.slates >= 1
    near = neighbours(trained.settings, slate.shown[0].listing, 3)
    assert near.model_id == trained.live.content.model_id
    vectors = trained.live.content.vectors
    slots = [trained.live.catalogue.slot_of(each.card.listing) for each in near.nearest]
    mine = trained.live.catalogue.slot_of(slate.shown[0].listing)
    np.testing.assert_allclose(
        [each.cosine for each in near.nearest], vectors[slots] @ vectors[mine], atol=1e-5
    )


def listed(system: System, listing: Listing, kind: str = "listed") -> np.ndarray:
    """Its vector, once the event was taken in."""
    event = Event(
        event_id=f"event {system.live.n}", kind=kind, t=system.now_ms(),
        listing=listing.listing_id, data=listing,
    )  # fmt: skip
    assert system.ingest([event]).taken == 1
    return system.live.content.vectors[system.live.catalogue.slot_of(listing.listing_id)].copy()


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (60, 80), colour).save(file, "PNG")
    return file.getvalue()


def bomb() -> bytes:
    """A PNG of few bytes that says it is 20,000 x 20,000."""
    raw = png("red")
    header = b"IHDR" + struct.pack(">II", 20_000, 20_000) + raw[24:29]
    return raw[:12] + header + struct.pack(">I", zlib.crc32(header)) + raw[33:]


def test_a_photo_moves_a_listing_and_another_moves_it_again(again: System, tmp_path: Path) -> None:
    photos = tmp_path / "images"
    photos.mkdir()
    (photos / "red.png").write_bytes(png("red"))
    (photos / "green.png").write_bytes(png("green"))
    plain = Listing(listing_id="bag", seller="s", title="worn bag", category="women/bags")
    without = listed(again, plain)
    red = listed(again, msgspec.structs.replace(plain, image="red.png"), "edited")
    green = listed(again, msgspec.structs.replace(plain, image="green.png"), "edited")
    gone = listed(again, msgspec.structs.replace(plain, image="https://shop/red.png"), "edited")
    assert red @ without < 0.999
    assert red @ green < 0.999
    np.testing.assert_array_equal(gone, without)  # what lies at a URL is not fetched
    assert again.ready()["photos_refused"] == 0
    client = Client(application(again, artist=again.photos.picture))
    try:
        listed(again, msgspec.structs.replace(plain, image="green.png"), "edited")
        page = Image.open(io.BytesIO(client.get("/images/bag.png").content)).convert("RGB")
        assert page.size == (300, 400)
        assert page.getpixel((150, 200)) == (0, 128, 0)
    finally:
        client.close()
    drawn = again.photos.picture(plain, 30, 40)
    seen = again.photos.picture(msgspec.structs.replace(plain, image="red.png"), 30, 40)
    assert seen.shape == drawn.shape == (40, 30, 3)
    assert (seen == [255, 0, 0]).all()


def test_what_is_no_photo_is_counted_and_its_listing_goes_without(
    again: System, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photos = tmp_path / "images"
    (photos / "a folder").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(png("red"))
    (photos / "linked.png").symlink_to(tmp_path / "secret.png")
    (photos / "text.png").write_bytes(b"not a photo at all")
    (photos / "cut.png").write_bytes(png("red")[:50])
    (photos / "bomb.png").write_bytes(bomb())
    with (photos / "huge.png").open("wb") as file:
        file.truncate(30_000_000)
    plain = Listing(listing_id="bag", seller="s", title="worn bag", category="women/bags")
    without = listed(again, plain)
    bad = (
        "text.png", "cut.png", "bomb.png", "huge.png", "nowhere.png", "../secret.png",
        str(tmp_path / "secret.png"), "linked.png", "a folder", "nul\x00.png", "x" * 5_000,
    )  # fmt: skip
    for name in bad:
        vector = listed(again, msgspec.structs.replace(plain, image=name), "edited")
        np.testing.assert_array_equal(vector, without, err_msg=name)
    assert again.ready()["photos_refused"] == len(bad)
    assert "'../secret.png' lies outside the folder of photos" in caplog.text
    assert "Image size (400000000 pixels) exceeds limit" in caplog.text
    again.photos.picture(msgspec.structs.replace(plain, image="bomb.png"), 30, 40)


def test_a_text_model_that_moved_is_found_where_the_toml_says_now(
    trained: System, text: Path, tmp_path: Path
) -> None:
    copied, moved = tmp_path / "copied", tmp_path / "moved"
    shutil.copytree(trained.folder, copied)
    names = copied / "bundles" / trained.policy.bundle / "encoders" / "modalities.json"
    shutil.move(text, moved)
    try:
        with pytest.raises(
            BundleError, match=r"text: wanted static-1-6-\w+, dim 6; .*no such folder"
        ):
            System(settings(copied, text))
        system = System(settings(copied, moved))
        assert system.encoders.model_id == trained.encoders.model_id
        system.close()
        assert str(text) in names.read_text()  # the bundle itself stays as it is
    finally:
        shutil.move(moved, text)
