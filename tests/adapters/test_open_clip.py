"""The real open_clip loads and runs models of a folder; here a small one with random weights.

The tests marked `engine("open_clip")` skip where it is not installed, and fail there under
REQUIRE_OPEN_CLIP=1.
"""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from heirloom.adapters.open_clip import OpenClip
from heirloom.core.errors import ConfigError, ShapeError
from heirloom.core.listing import Listing
from heirloom.encoders.photo import Photos

SHAPE = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {
        "context_length": 77, "vocab_size": 49_408, "width": 32, "heads": 2, "layers": 2
    },
}  # fmt: skip
CONFIG = {
    "model_cfg": SHAPE,
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic"},
}
WEIGHTS = "open_clip_model.safetensors"


def test_without_it_one_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ConfigError, match="open_clip is not installed; `pip install open_clip_"):
        OpenClip("hf-hub:owner/model")


def test_a_torchvision_of_another_torch_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a torchvision built for CUDA raises beside a torch built for CPUs."""
    (tmp_path / "open_clip.py").write_text(
        'raise RuntimeError("operator torchvision::nms does not exist")'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "open_clip", raising=False)
    with pytest.raises(ConfigError, match="nms does not exist; a torchvision built for another"):
        OpenClip("ViT-B-32")


@pytest.fixture(scope="module")
def real() -> ModuleType:
    return pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def folder(real: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _written(tmp_path_factory.mktemp("clip"), seed=0)


def _written(folder: Path, seed: int) -> Path:
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = CLIP(24, CLIPVisionCfg(**SHAPE["vision_cfg"]), CLIPTextCfg(**SHAPE["text_cfg"]))
    save_file(model.state_dict(), folder / WEIGHTS)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> OpenClip:
    return OpenClip(folder)


def photos(number: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (40 + i, 30, 3), np.uint8)) for i in range(number)]


@pytest.mark.engine("open_clip")
def test_vectors_are_those_of_open_clip(folder: Path, real: ModuleType, model: OpenClip) -> None:
    import torch

    theirs, _, prepare = real.create_model_and_transforms(f"local-dir:{folder}")
    theirs.eval()
    seen = photos(3)
    words = ["red silk dress", "", "กระเป๋าหนังแท้มือสอง"]
    with torch.no_grad():
        photo = theirs.encode_image(torch.stack([prepare(one) for one in seen]), normalize=True)
        tokens = real.get_tokenizer(f"local-dir:{folder}")(words)
        text = theirs.encode_text(tokens, normalize=True)
    np.testing.assert_allclose(model.photos(seen), photo.numpy(), atol=1e-5)
    np.testing.assert_allclose(model.texts(words), text.numpy(), atol=1e-5)
    assert model.dim == 24
    assert model.photos([]).shape == model.texts([]).shape == (0, 24)


@pytest.mark.engine("open_clip")
def test_batch_is_one_by_one(model: OpenClip) -> None:
    seen = photos(35)
    whole = model.photos(seen)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    for i in (0, 31, 32, 34):
        np.testing.assert_allclose(model.photos([seen[i]])[0], whole[i], atol=1e-5)
    words = [f"dress {i}" for i in range(33)]
    np.testing.assert_allclose(model.texts(words[32:])[0], model.texts(words)[32], atol=1e-5)


@pytest.mark.engine("open_clip")
def test_the_id_is_that_of_the_weights(folder: Path, model: OpenClip, tmp_path: Path) -> None:
    assert OpenClip(str(folder)).model_id == model.model_id
    assert model.model_id.startswith("open-clip-1-24-")
    other = OpenClip(_written(tmp_path, seed=1))
    assert other.model_id != model.model_id
    shutil.copy(folder / WEIGHTS, tmp_path)
    assert OpenClip(tmp_path).model_id == model.model_id
    prepared = CONFIG | {"preprocess_cfg": {"mean": [0.4] * 3, "std": [0.25] * 3}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(prepared))
    assert OpenClip(tmp_path).model_id != model.model_id


@pytest.mark.engine("open_clip")
def test_it_sees_listings_photos_in_the_place_of_our_own_network(model: OpenClip) -> None:
    photos = Photos(model, lambda one: np.full((9, 9, 3), len(one.title), np.uint8))
    listings = [Listing(listing_id="a", seller="s", title="t" * n) for n in (3, 250)]
    vectors, known = photos.listings(listings)
    assert photos.model_id == model.model_id
    assert known.all()
    assert vectors.shape == (2, 24)
    assert not np.allclose(vectors[0], vectors[1])


@pytest.mark.engine("open_clip")
@pytest.mark.parametrize("damage", ["none", "cut", "of another shape", "no configuration"])
def test_a_folder_that_cannot_be_loaded_is_refused(
    damage: str, folder: Path, tmp_path: Path
) -> None:
    """Above all one without weights: open_clip would draw them at random."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    if damage == "none":
        (tmp_path / WEIGHTS).unlink()
    elif damage == "cut":
        (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1_000])
    elif damage == "of another shape":
        shape = CONFIG | {"model_cfg": SHAPE | {"embed_dim": 25}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(shape))
    else:
        (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(ConfigError, match="cannot be loaded"):
        OpenClip(tmp_path)


@pytest.mark.engine("open_clip")
@pytest.mark.parametrize("name", ["", "no-such-model", "ViT-B-32", "local-dir:"])
def test_names_without_weights_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        OpenClip(name)


@pytest.mark.engine("open_clip")
def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(folder / WEIGHTS)
    weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, tmp_path / WEIGHTS)
    with pytest.raises(ShapeError, match="no number"):
        OpenClip(tmp_path)
