import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from heirloom.core.errors import BundleError, InputError
from heirloom.core.listing import Listing
from heirloom.encoders import photo
from heirloom.encoders.photo import HEIGHT, WIDTH, PhotoEncoder, Photos, decoded, shrunk
from heirloom.encoders.training.graph import listing_graph, photo_graph
from heirloom.encoders.training.photo import PhotoNet

from .test_listing import fitted as written_tower

RED, BLUE = (200, 30, 30), (30, 30, 200)


def file(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (30, 0, 60, 40))
    return image.convert(mode)


@pytest.fixture(scope="module")
def encoder() -> PhotoEncoder:
    return PhotoEncoder(photo_graph(PhotoNet(8)))


@pytest.mark.parametrize(
    ("data", "near"),
    [
        (file(halves(), "PNG"), 0),
        (file(halves().quantize(4), "PNG"), 4),
        (file(halves().quantize(4), "GIF"), 4),
        (file(halves(), "WEBP", quality=95), 12),
        (file(halves(), "JPEG", quality=95, subsampling=0), 12),
        (file(halves("CMYK"), "JPEG", quality=95), 12),
        (file(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (60, 40))]), 4),
        (file(halves(), "WEBP", save_all=True, append_images=[Image.new("RGB", (60, 40))]), 40),
    ],
    ids=["png", "palette", "gif", "webp", "jpeg", "cmyk", "animated gif", "animated webp"],
)
def test_photos_of_every_kind_are_seen_alike(data: bytes, near: int) -> None:
    seen = np.asarray(decoded(data)).astype(int)
    assert seen.shape == (40, 60, 3)
    assert np.abs(seen[20, 10] - RED).max() <= near
    assert np.abs(seen[20, 50] - BLUE).max() <= near


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_taken_sideways_stands_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right: what is left comes up
    seen = np.asarray(decoded(file(halves(), kind, exif=exif))).astype(int)
    assert seen.shape == (60, 40, 3)
    assert np.abs(seen[10, 20] - RED).max() < 30
    assert np.abs(seen[50, 20] - BLUE).max() < 30


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    assert np.asarray(decoded(file(clear, "PNG"))).min() == 255
    palette = clear.quantize(4)
    assert palette.mode == "P"
    assert np.asarray(decoded(file(palette, "PNG"))).min() == 255


def test_sixteen_bits_of_grey_are_scaled() -> None:
    deep = Image.fromarray(np.full((4, 4), 128 << 8, np.uint16))
    assert np.asarray(decoded(file(deep, "PNG"))).tolist() == [[[128] * 3] * 4] * 4


@pytest.mark.parametrize("size", [(1, 1), (1, 5_000), (5_000, 1), (2, 3)])
def test_photos_of_any_shape_are_shrunk(size: tuple[int, int], encoder: PhotoEncoder) -> None:
    seen = shrunk(decoded(file(Image.new("RGB", size, RED), "PNG")))
    assert seen.shape == (HEIGHT, WIDTH, 3)
    assert (seen == RED).all()
    assert abs(np.linalg.norm(encoder.photos([Image.new("RGB", size)])[0]) - 1) < 1e-5


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        ends = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + ends

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes that cannot be decoded"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be decoded as one of JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be decoded"),
        (file(halves(), "BMP"), "cannot be decoded"),
        (file(halves(), "JPEG")[:300], "cannot be decoded"),
        (file(halves(), "PNG")[:-40], "cannot be decoded"),
        (bomb(8_000, 8_000), "8,000 x 8,000 pixels; at most 50,000,000"),
        (bomb(12_000, 12_000), "photo: "),
        (bomb(100_000, 100_000), "photo: "),
        (bomb(0, 10), "cannot be decoded"),
        (b"\xff\xd8" + b"\0" * photo.MAX_BYTES, "20,000,002 bytes; at most 20,000,000"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\) of uint8; wanted \[height, width, 3\]"),
        (np.zeros((4, 4, 3), np.float64), "of float64"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
    ],
)
def test_what_is_no_photo_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says):
        decoded(data)


_REAL = [file(halves(), kind) for kind in ("JPEG", "PNG", "GIF", "WEBP")]


@given(which=st.sampled_from(_REAL), cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
@settings(max_examples=200)
def test_a_damaged_file_is_a_photo_or_is_refused(which: bytes, cuts: list) -> None:
    data = bytearray(which)
    for where, byte in cuts:
        data[int(where * (len(data) - 1))] = byte
    with contextlib.suppress(InputError):
        assert decoded(bytes(data)).mode == "RGB"


def listing(name: str) -> Listing:
    return Listing(listing_id=name, seller="s", title="")


def test_a_listing_whose_photo_is_none_goes_without(encoder: PhotoEncoder) -> None:
    photos = {
        "good": file(halves(), "PNG"),
        "broken": b"GIF89a",
        "bomb": bomb(9_000, 9_000),
        "drawn": np.asarray(halves()),
    }
    refused: list[str] = []
    modality = Photos(
        encoder,
        lambda one: photos.get(one.listing_id),
        lambda one, _: refused.append(one.listing_id),
    )
    names = ["bomb", "good", "none", "broken", "drawn"]
    vectors, known = modality.listings([listing(name) for name in names])
    assert known.tolist() == [False, True, False, False, True]
    assert refused == ["bomb", "broken"]
    np.testing.assert_array_equal(vectors[1], vectors[4])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), known, atol=1e-5)
    assert modality.text("red") is None
    assert modality.listings([])[0].shape == (0, 8)


def test_batch_is_one_by_one(encoder: PhotoEncoder) -> None:
    rng = np.random.default_rng(0)
    drawn = {f"l{i}": rng.integers(0, 256, (40, 30, 3), np.uint8) for i in range(70)}
    modality = Photos(encoder, lambda one: drawn[one.listing_id])
    whole, _ = modality.listings([listing(name) for name in drawn])
    for i in (0, 63, 64, 69):
        one, _ = modality.listings([listing(f"l{i}")])
        np.testing.assert_allclose(one[0], whole[i], atol=1e-6)


def test_saved_is_loaded(encoder: PhotoEncoder, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"photo\.onnx"):
        PhotoEncoder.load(tmp_path)
    encoder.save(tmp_path)
    again = PhotoEncoder.load(tmp_path)
    assert (again.model_id, again.dim) == (encoder.model_id, 8)
    other = PhotoEncoder(photo_graph(PhotoNet(8)))
    assert other.model_id != encoder.model_id


@pytest.mark.parametrize("model", [b"", b"junk"])
def test_what_is_no_graph_is_refused(model: bytes) -> None:
    with pytest.raises(BundleError, match="PhotoEncoder"):
        PhotoEncoder(model)


def test_a_graph_of_another_kind_is_refused() -> None:
    with pytest.raises(BundleError, match=r"reads .*tokens"):
        PhotoEncoder(listing_graph(written_tower([listing("a")])))
