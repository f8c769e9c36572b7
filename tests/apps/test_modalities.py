"""Models of photos and text by their names in a TOML: found again, or told what came instead."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.adapters.test_open_clip import _written as clip
from tests.encoders import bert

from heirloom.apps.cli import main
from heirloom.apps.export_text import export_text
from heirloom.apps.modalities import found, modalities
from heirloom.apps.photos import PhotoStore
from heirloom.apps.settings import EncodersPart, load
from heirloom.core.errors import BundleError, ConfigError, InputError
from heirloom.core.listing import Listing
from heirloom.encoders.listing import About, ListingEncoder
from heirloom.encoders.modalities import dense, told
from heirloom.encoders.photo import PhotoEncoder
from heirloom.encoders.sentence import SentenceEncoder, StaticTable
from heirloom.encoders.tokens import PriceRanks, tokens_of
from heirloom.encoders.training.graph import listing_graph, photo_graph
from heirloom.encoders.training.listing import ListingTower
from heirloom.encoders.training.photo import PhotoNet

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"
STOCK = [Listing(listing_id="a", seller="s", title="red silk dress", category="women/dresses")]
DRAWINGS = PhotoStore(None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    out = tmp_path_factory.mktemp("text") / "sentence"
    export_text(weights, out, tokens=16)
    return out


def part(**names: str) -> EncodersPart:
    return EncodersPart(kind="trained", **names)


def kept(folder: Path, named: EncodersPart, eyes: PhotoEncoder | None = None) -> ListingEncoder:
    """A tower that reads what the settings name, in a folder as a bundle holds it."""
    torch.manual_seed(0)
    beside = modalities(named, DRAWINGS, eyes)
    read = [dense(model, STOCK) for model in beside.models]
    tower = ListingTower(tokens_of(STOCK, 64, PriceRanks({})), 64, 8, dense=read)
    about = About(dim=8, buckets=64, deciles={}, modalities=told(beside.models))
    encoder = ListingEncoder(listing_graph(tower.eval()), about, beside.models)
    folder.mkdir()
    encoder.save(folder)
    beside.save(folder)
    return encoder


def eyes(seed: int = 0) -> PhotoEncoder:
    torch.manual_seed(seed)
    return PhotoEncoder(photo_graph(PhotoNet(4).eval()))


def test_photos_and_text_are_found_again(tmp_path: Path, text: Path) -> None:
    named = part(photos="trained", text=str(text))
    encoder = kept(tmp_path / "kept", named, eyes())
    again = ListingEncoder.load(tmp_path / "kept", found(tmp_path / "kept", named, DRAWINGS))
    np.testing.assert_array_equal(again.listings(STOCK), encoder.listings(STOCK))
    # What the TOML names by now is for the next training.
    found(tmp_path / "kept", EncodersPart(), DRAWINGS)
    found(tmp_path / "kept", part(text="nowhere", photos="open_clip:nothing"), DRAWINGS)


def test_another_model_in_its_place_is_told(tmp_path: Path, weights: Path) -> None:
    export_text(weights, tmp_path / "text", tokens=16)
    named = part(text=str(tmp_path / "text"))
    kept(tmp_path / "kept", named)
    wanted = json.loads((tmp_path / "kept" / "listing.json").read_bytes())["modalities"][0]
    for file in (tmp_path / "text").iterdir():
        file.unlink()
    other = export_text(weights, tmp_path / "text", tokens=8)
    with pytest.raises(BundleError) as caught:
        found(tmp_path / "kept", named, DRAWINGS)
    says = str(caught.value)
    assert f"text: wanted {wanted['model_id']}, dim {bert.DIM}; " in says
    assert f"is {other.model_id}, dim {bert.DIM}. Put that model back" in says
    assert "name where it lies now as text in [encoders], or run `heirloom train`" in says


def test_a_network_that_is_gone_or_another_is_told(tmp_path: Path) -> None:
    named = part(photos="trained")
    kept(tmp_path / "kept", named, eyes())
    eyes(seed=1).save(tmp_path / "kept")
    with pytest.raises(BundleError, match=r"photo: wanted photo-1-4-\w+, dim 4; trained is photo-"):
        found(tmp_path / "kept", named, DRAWINGS)
    (tmp_path / "kept" / "photo.onnx").unlink()
    with pytest.raises(BundleError, match=r"trained cannot be loaded .*as photos in \[encoders\]"):
        found(tmp_path / "kept", named, DRAWINGS)
    (tmp_path / "kept" / "modalities.json").unlink()
    with pytest.raises(BundleError, match=r"modalities\.json.*fetch the bundle again"):
        found(tmp_path / "kept", named, DRAWINGS)


def test_a_text_model_that_is_none_is_refused_before_training(tmp_path: Path, text: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no such folder; wanted sentence\.onnx or sentence.safet"
    ):
        modalities(part(text=str(tmp_path / "nowhere")), DRAWINGS)
    with pytest.raises(ConfigError, match=r"neither; wanted sentence\.onnx"):
        modalities(part(text=str(tmp_path)), DRAWINGS)
    (tmp_path / "sentence.onnx").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"\[encoders\] text(.|\n)*sentence\.json"):
        modalities(part(text=str(tmp_path)), DRAWINGS)
    (tmp_path / "sentence.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"sentence\.onnx and sentence\.safetensors; wanted"):
        modalities(part(text=str(tmp_path)), DRAWINGS)


@pytest.mark.parametrize(
    ("encoders", "told"),
    [
        ('photos = "trained"', r"encoders.photos: .*only trained encoders read it"),
        ('text = "models/text"', r"encoders.text: .*only trained encoders read it"),
        ('kind = "trained"\nphotos = "siglip"', r"encoders.photos: .*wanted trained, or open_clip"),
        ('kind = "trained"\ntext = ""', r"encoders.text: .*wanted the name of a model"),
        ('kind = "trained"\ntext = "open_clip:"', r"encoders.text: .*wanted the name of a model"),
        ('kind = "trained"\nvideo = "x"', r"encoders.video"),
    ],
)
def test_settings_that_mean_nothing_are_refused(encoders: str, told: str, tmp_path: Path) -> None:
    toml = LAPTOP.read_text().replace('kind = "hashed"', encoders)
    (tmp_path / "system.toml").write_text(toml)
    with pytest.raises(ConfigError, match=told):
        load(tmp_path / "system.toml")


def test_a_model_is_exported_from_the_command_line(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "table"
    command = ["heirloom", "export", "text", "--weights", str(weights), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--table", "6"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 0
    assert f'set text = "{out}" in [encoders]' in capsys.readouterr().out
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in out.iterdir())
    assert isinstance(modalities(part(text=str(out)), DRAWINGS).models[0]._model, StaticTable)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "is in use; give --out a new or empty folder" in capsys.readouterr().err
    assert isinstance(export_text(weights, tmp_path / "whole", tokens=9), SentenceEncoder)
    with pytest.raises(ConfigError, match=r"config\.json"):
        export_text(tmp_path, tmp_path / "none", tokens=9)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="in use"):
        export_text(weights, tmp_path / "file", tokens=9)


def test_an_export_without_its_extras_says_what_to_install(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("heirloom.encoders.training.sentence", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r'pip install "heirloom\[text,train\]"'):
        export_text(weights, tmp_path / "out", tokens=9)


def test_without_open_clip_one_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match="pip install open_clip_torch"):
        modalities(part(photos="open_clip:hf-hub:owner/model"), DRAWINGS)


@pytest.mark.engine("open_clip")
def test_open_clip_reads_photos_and_text_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    clip(tmp_path / "clip", seed=0)
    named = part(photos=f"open_clip:{tmp_path / 'clip'}")
    encoder = kept(tmp_path / "kept", named)
    again = ListingEncoder.load(tmp_path / "kept", found(tmp_path / "kept", named, DRAWINGS))
    np.testing.assert_array_equal(again.listings(STOCK), encoder.listings(STOCK))
    clip(tmp_path / "clip", seed=1)
    with pytest.raises(BundleError, match=r"photo: wanted open-clip-1-24-\w+.* is open-clip-1-24"):
        found(tmp_path / "kept", named, DRAWINGS)
