import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from heirloom.core.errors import BundleError, ConfigError
from heirloom.core.listing import Listing
from heirloom.encoders import safetensors
from heirloom.encoders.sentence import SentenceEncoder, Sentences, StaticTable, TextModel, said
from heirloom.encoders.training.sentence import distilled
from heirloom.pipelines.export_sentence import export_sentence, packaged

from . import bert

TEXTS = ["red silk dresses", "", "boots", "a wool coat. a red coat", "?", "red"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert.write(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def encoder(folder: Path) -> SentenceEncoder:
    return export_sentence(folder)


@pytest.fixture(scope="module")
def table(encoder: SentenceEncoder) -> StaticTable:
    return distilled(encoder, 6)


@pytest.fixture(params=["encoder", "table"])
def model(request: pytest.FixtureRequest) -> TextModel:
    return request.getfixturevalue(request.param)


def test_the_graph_is_the_model(encoder: SentenceEncoder) -> None:
    vectors = encoder.texts(["red silk dresses", "boots a", "a wool coat. a red coat"])
    for vector, tokens in zip(
        vectors, ([6, 7, 8, 9], [10, 11, 14], [14, 12, 13, 5, 14, 6, 13]), strict=True
    ):
        np.testing.assert_allclose(vector, bert.twin([3, *tokens, 4]), atol=1e-5)


def test_a_longer_text_is_cut(folder: Path) -> None:
    short = export_sentence(folder, tokens=4)
    np.testing.assert_allclose(
        short.texts(["red silk wool coat"])[0], bert.twin([3, 6, 7, 4]), atol=1e-5
    )


def test_no_more_is_read_than_there_are_places_for(folder: Path) -> None:
    assert export_sentence(folder, tokens=1_000).about.tokens == bert.PLACES
    with pytest.raises(ConfigError, match="tokens is 2; wanted at least 3"):
        export_sentence(folder, tokens=2)


def test_batch_is_one_by_one(model: TextModel) -> None:
    many = TEXTS * 12
    whole = model.texts(many)
    for i in range(len(TEXTS)):
        np.testing.assert_allclose(model.texts([many[i]])[0], whole[i], atol=1e-6)
        np.testing.assert_array_equal(whole[i], whole[i + 60])
    assert model.texts([]).shape == (0, model.dim)


@pytest.mark.parametrize(
    "text",
    ["กระเป๋าหนังแท้มือสอง " * 40, "red " * 250_000, "\ud800 torn", "a\x00b", "\x00", "😀", "é" * 999],
)
def test_bad_writing_gets_a_fair_vector(text: str, model: TextModel) -> None:
    vector = model.texts([text])[0]
    assert np.isfinite(vector).all()
    assert abs(np.linalg.norm(vector) - 1) < 1e-5 or not vector.any()


def test_nothing_written_is_nothing_read(model: TextModel) -> None:
    sentences = Sentences(model)
    bare = Listing(listing_id="a", seller="s", title="")
    red = msgspec.structs.replace(bare, title="red dress")
    vectors, known = sentences.listings([bare, red, msgspec.structs.replace(red, price_minor=5)])
    assert known.tolist() == [False, True, True]
    assert not vectors[0].any()
    np.testing.assert_array_equal(vectors[1], vectors[2])
    np.testing.assert_allclose(vectors[1], sentences.text("red dress"), atol=1e-6)
    assert not sentences.text("").any()
    assert (sentences.model_id, sentences.dim) == (model.model_id, model.dim)
    assert sentences.listings([])[0].shape == (0, model.dim)


def test_of_a_long_story_the_beginning_is_said() -> None:
    told = Listing(
        listing_id="a", seller="s", title=" ", category="women/shoes", description="x" * 10_000
    )
    assert said(told) == "women shoes. " + "x" * 300


def test_a_text_of_the_table_is_the_sum_of_its_tokens(
    encoder: SentenceEncoder, table: StaticTable
) -> None:
    """Model2Vec's recipe by plain arithmetic, each pair of texts by its cosine."""
    alone = np.array([
        bert.twin([3, piece, 4]) if piece not in {0, 1, 2, 3, 4} else np.zeros(bert.DIM)
        for piece in range(len(bert.PIECES))
    ])  # fmt: skip
    np.testing.assert_allclose(encoder.vocabulary(), alone, atol=1e-5)
    known = alone[5:] - alone[5:].mean(axis=0)
    left, sizes, _ = np.linalg.svd(known, full_matrices=False)
    share = 1 / np.arange(1, 12)
    weights = 1e-4 / (1e-4 + share / share.sum())
    rows = (left[:, :6] * sizes[:6]) * weights[:, None]
    sums = np.array([rows[1] + rows[2] + rows[3] + rows[4], rows[5] + rows[6], rows[1]])
    wanted = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    made = table.texts(["red silk dresses", "boots", "red"])
    np.testing.assert_allclose(made @ made.T, wanted @ wanted.T, atol=1e-3)


@pytest.mark.parametrize("dim", [0, 12, 17])
def test_a_table_of_an_impossible_size_is_refused(dim: int, encoder: SentenceEncoder) -> None:
    with pytest.raises(ConfigError, match=r"wanted 1 … 11"):
        distilled(encoder, dim)


def test_saved_is_loaded(encoder: SentenceEncoder, table: StaticTable, tmp_path: Path) -> None:
    encoder.save(tmp_path)
    table.save(tmp_path)
    for model in (encoder, table):
        again = type(model).load(tmp_path)
        assert again.model_id == model.model_id
        np.testing.assert_array_equal(again.texts(TEXTS), model.texts(TEXTS))


def test_models_have_ids_of_their_own(folder: Path, encoder: SentenceEncoder) -> None:
    ids = {encoder.model_id, export_sentence(folder, tokens=9).model_id}
    ids |= {distilled(encoder, dim).model_id for dim in (4, 5)}
    assert len(ids) == 4


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [Path.unlink, _cut])
@pytest.mark.parametrize("file", ["sentence.onnx", "sentence.json", "tokenizer.json"])
def test_a_damaged_encoder_is_refused(
    damage: Callable[[Path], None], file: str, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    encoder.save(tmp_path)
    damage(tmp_path / file)
    with pytest.raises(BundleError, match=r"sentence|Sentence|tokenizer"):
        SentenceEncoder.load(tmp_path)


def test_a_table_that_does_not_fit_is_refused(table: StaticTable, tmp_path: Path) -> None:
    table.save(tmp_path)
    file = tmp_path / "sentence.safetensors"
    for wrong in (np.zeros((3, 6), np.float32), np.full((16, 6), np.nan, np.float32)):
        safetensors.write(file, {"table": wrong}, {})
        with pytest.raises(BundleError, match=r"wanted \(16, dim\)"):
            StaticTable.load(tmp_path)
    safetensors.write(file, {"other": np.zeros(3, np.float32)}, {})
    with pytest.raises(BundleError, match="'table' is missing"):
        StaticTable.load(tmp_path)
    file.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        StaticTable.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("hidden_act", "relu", "hidden_act is 'relu'; only 'gelu'"),
        ("model_type", "mpnet", "model_type is 'mpnet'"),
        ("num_hidden_layers", "six", "cannot be read"),
    ],
)
def test_models_of_other_kinds_are_refused(
    name: str, value: str, says: str, tmp_path: Path
) -> None:
    bert.write(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(bert.CONFIG | {name: value}))
    with pytest.raises(ConfigError, match=says):
        export_sentence(tmp_path)


def test_a_weight_that_is_missing_is_named(tmp_path: Path) -> None:
    bert.write(tmp_path)
    fewer = bert.weights()
    del fewer["encoder.layer.1.output.dense.bias"]
    safetensors.write(tmp_path / "model.safetensors", fewer, {})
    with pytest.raises(BundleError, match=r"'encoder\.layer\.1\.output\.dense\.bias' is missing"):
        export_sentence(tmp_path)


def test_without_tokenizers_one_is_told_how_to_install_it(
    encoder: SentenceEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder.save(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError, match=r"pip install heirloom\[text\]"):
        SentenceEncoder.load(tmp_path)


@pytest.mark.engine("sentence_transformers")
def test_the_published_model_is_what_sentence_transformers_make_of_it() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from sentence_transformers import SentenceTransformer

    said = [
        "Red silk dress, worn once",
        "x",
        "กระเป๋าหนังแท้",
        "Gucci leather belt. size 85",
        "a " * 90,
    ]
    theirs = SentenceTransformer(str(packaged()), device="cpu").encode(
        said, normalize_embeddings=True
    )
    cosines = (theirs * export_sentence(packaged()).texts(said)).sum(axis=1)
    assert cosines.min() > 0.999
