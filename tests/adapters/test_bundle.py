from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from heirloom.adapters.bundle import GOLDEN_SCORES, encoders_of, load, write
from heirloom.core.bundle import MANIFEST_FILE, DataWindow, ModelBundle
from heirloom.core.errors import BundleError
from heirloom.core.listing import Listing
from heirloom.core.slate import FeatureBatch
from heirloom.encoders.listing import About, ListingEncoder
from heirloom.encoders.modalities import dense, told
from heirloom.encoders.pair import HASHED, Encoders
from heirloom.encoders.tokens import PriceRanks, tokens_of
from heirloom.encoders.training.graph import listing_graph
from heirloom.encoders.training.listing import ListingTower
from heirloom.ranking.catboost import CatBoostListwise
from heirloom.ranking.linear import Linear
from heirloom.ranking.ranker import Ranker
from heirloom.testing.ranking import COLUMNS, examples

LOADERS: dict[str, type[Ranker]] = {"linear": Linear, "catboost": CatBoostListwise}
GOLDEN = FeatureBatch(examples(4, groups=5).values, COLUMNS, n=0)


@pytest.fixture(scope="module")
def ranker() -> Linear:
    return Linear.fit(examples(1), examples(2, groups=40), seed=3)


def put(
    folder: Path, ranker: Ranker, kind: str = "linear", encoders: Encoders = HASHED
) -> ModelBundle[Ranker]:
    return write(
        folder,
        ranker,
        name="home",
        kind=kind,
        data_window=DataWindow(from_offset=0, to_offset=960, from_t=0, to_t=119_000),
        metrics={"ndcg@10": 0.5},
        slices={"surface=home": {"ndcg@10": 0.5}},
        negatives="shown and passed over",
        seed=3,
        code_version="test",
        golden=GOLDEN,
        encoders=encoders,
    )


@pytest.fixture
def folder(tmp_path: Path, ranker: Linear) -> Path:
    put(tmp_path / "bundle", ranker)
    return tmp_path / "bundle"


def test_what_is_loaded_is_what_was_written(tmp_path: Path, ranker: Linear) -> None:
    written = put(tmp_path / "bundle", ranker)
    read = load(tmp_path / "bundle", LOADERS)
    assert read.bundle_id == written.bundle_id
    assert read.manifest == written.manifest
    assert read.manifest.columns == COLUMNS
    np.testing.assert_array_equal(read.ranker.score(GOLDEN), ranker.score(GOLDEN))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("kind", ["linear", "catboost"])
def test_the_same_training_gives_the_same_bundle(tmp_path: Path, kind: str) -> None:
    one, two = (
        put(tmp_path / name, LOADERS[kind].fit(examples(1), examples(2, groups=40), seed=3), kind)
        for name in ("one", "two")
    )
    assert one.bundle_id == two.bundle_id
    other = LOADERS[kind].fit(examples(5), examples(2, groups=40), seed=3)
    assert put(tmp_path / "three", other, kind).bundle_id != one.bundle_id


def test_one_flipped_bit_of_any_file_is_refused(folder: Path) -> None:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for at in {0, len(whole) // 2, len(whole) - 1}:
            damaged = bytearray(whole)
            damaged[at] ^= 1
            path.write_bytes(damaged)
            if path.name == MANIFEST_FILE:
                # A changed manifest is another bundle, if it can be read at all.
                before = load_id(folder, whole)
                assert before != try_id(folder)
            else:
                with pytest.raises(BundleError, match="changed or damaged"):
                    load(folder, LOADERS)
            path.write_bytes(whole)
    load(folder, LOADERS)


def load_id(folder: Path, manifest: bytes) -> str:
    now = (folder / MANIFEST_FILE).read_bytes()
    (folder / MANIFEST_FILE).write_bytes(manifest)
    bundle_id = load(folder, LOADERS).bundle_id
    (folder / MANIFEST_FILE).write_bytes(now)
    return bundle_id


def try_id(folder: Path) -> str | None:
    try:
        return load(folder, LOADERS).bundle_id
    except BundleError:
        return None


def test_a_strange_file_is_refused(folder: Path) -> None:
    (folder / "weights" / "extra.pkl").write_bytes(b"")
    with pytest.raises(BundleError, match=r"not in the manifest: weights/extra\.pkl"):
        load(folder, LOADERS)


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / GOLDEN_SCORES).unlink()
    with pytest.raises(BundleError, match=f"missing: {GOLDEN_SCORES}"):
        load(folder, LOADERS)


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    target = folder / GOLDEN_SCORES
    target.rename(tmp_path / "elsewhere.npy")
    target.symlink_to(tmp_path / "elsewhere.npy")
    with pytest.raises(BundleError, match="link"):
        load(folder, LOADERS)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(BundleError, match="link"):
        load(link, LOADERS)


def edit(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST_FILE
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **changes}))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "weights/../../x", "a\\b", ""])
def test_a_path_out_of_the_folder_is_refused(folder: Path, name: str) -> None:
    edit(folder, files={name: "0" * 64})
    with pytest.raises(BundleError, match="leaves the folder"):
        load(folder, LOADERS)


def test_an_unknown_kind_or_format_is_refused(folder: Path) -> None:
    edit(folder, kind="pickled")
    with pytest.raises(BundleError, match="'pickled'; known are catboost, linear"):
        load(folder, LOADERS)
    edit(folder, format=99)
    with pytest.raises(BundleError, match="format 99"):
        load(folder, LOADERS)


def test_a_manifest_of_other_columns_is_refused(folder: Path) -> None:
    edit(folder, columns=["law@2.f0", *COLUMNS[1:]])
    with pytest.raises(BundleError, match="other columns"):
        load(folder, LOADERS)


def test_golden_scores_that_do_not_come_out_are_refused(folder: Path) -> None:
    scores = np.load(folder / GOLDEN_SCORES)
    scores[3] += 1e-3
    np.save(folder / GOLDEN_SCORES, scores)
    reseal(folder, GOLDEN_SCORES)
    with pytest.raises(BundleError, match=r"golden scores differ by up to 0\.001"):
        load(folder, LOADERS)


def test_a_pickle_in_a_golden_file_is_not_opened(folder: Path) -> None:
    np.save(folder / GOLDEN_SCORES, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    reseal(folder, GOLDEN_SCORES)
    with pytest.raises(BundleError, match="is a pickle"):
        load(folder, LOADERS)


def reseal(folder: Path, name: str) -> None:
    """Give the manifest the hash of a file that was changed on purpose."""
    import hashlib

    files = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes())["files"]
    files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    edit(folder, files=files)


def test_a_bundle_is_never_overwritten(folder: Path, ranker: Linear) -> None:
    with pytest.raises(BundleError, match="never overwritten"):
        put(folder, ranker)


def test_a_failed_write_leaves_nothing(tmp_path: Path, ranker: Linear) -> None:
    class Failing(Linear):
        def save(self, folder: Path) -> None:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        put(tmp_path / "bundle", Failing(ranker._weights))
    assert not list(tmp_path.iterdir())


def test_no_folder_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        load(tmp_path / "nothing", LOADERS)


class Photos:
    """One listing of the shop has a photo."""

    name, dim, model_id = "photo", 2, "photos-1"

    def listings(self, listings: Sequence[Listing]) -> tuple[np.ndarray, np.ndarray]:
        known = np.array([{"a": True, "b": False}[one.listing_id] for one in listings])
        return np.tile(np.array([0.6, 0.8], np.float32), (len(listings), 1)), known

    def text(self, text: str) -> None:
        return None


def test_encoders_that_read_photos_are_loaded_where_there_are_photos(
    tmp_path: Path, ranker: Linear
) -> None:
    stock = [Listing(listing_id=name, seller="s", title="Boots") for name in "ab"]
    torch.manual_seed(0)
    tower = ListingTower(
        tokens_of(stock, 64, PriceRanks({})), 64, 8, dense=[dense(Photos(), stock)]
    )
    about = About(dim=8, buckets=64, deciles={}, modalities=told([Photos()]))
    encoder = ListingEncoder(listing_graph(tower.eval()), about, [Photos()])
    put(tmp_path / "bundle", ranker, encoders=Encoders(encoder))
    again = encoders_of(tmp_path / "bundle", lambda _: [Photos()])
    assert again.model_id == encoder.model_id
    vectors = again.listings.listings(stock)
    np.testing.assert_array_equal(vectors, encoder.listings(stock))
    assert not np.allclose(vectors[0], vectors[1])
    says = "bundle bundle: modalities: 'photo' is missing; wanted photos-1, dim 2. Give those"
    with pytest.raises(BundleError, match=says):
        encoders_of(tmp_path / "bundle")
