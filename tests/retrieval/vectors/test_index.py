"""The index by codes: its two forms, its recall, its clock, growth, re-packing, codebooks."""

from collections.abc import Iterator

import numpy as np
import pytest
from benchmarks.retrieval_data import COLUMNS, Vectors, vectors

from heirloom.core.errors import InputError, ShapeError
from heirloom.retrieval.vectors import search_kernel
from heirloom.retrieval.vectors.codebook import Codebook, suggested_lists
from heirloom.retrieval.vectors.exact import ExactVectors
from heirloom.retrieval.vectors.index import VectorIndex
from heirloom.retrieval.vectors.lanes import HAS_AVX2
from heirloom.retrieval.vectors.searcher import Settings
from heirloom.retrieval.vectors.where import EVERYTHING, Where

SIZE, K = 20_000, 50
BY_CODES = Settings(exact_rows=0, rows_share=0)
BY_ROWS = Settings(exact_rows=0, rows_share=1)


@pytest.fixture(scope="module")
def world() -> Vectors:
    return vectors(SIZE, 40)


@pytest.fixture(scope="module")
def codebook(world: Vectors) -> Codebook:
    return Codebook.trained(world.rows, "m", lists=64)


@pytest.fixture(scope="module")
def twin(world: Vectors) -> ExactVectors:
    twin = ExactVectors(64, "m", COLUMNS)
    twin.upsert(np.arange(SIZE, dtype=np.int32), world.rows, world.columns())
    return twin


def filled(world: Vectors, codebook: Codebook, **options: object) -> VectorIndex:
    index = VectorIndex(codebook, COLUMNS, **options)  # type: ignore[arg-type]
    index.upsert(np.arange(SIZE, dtype=np.int32), world.rows, world.columns())
    return index


@pytest.fixture(scope="module")
def index(world: Vectors, codebook: Codebook) -> VectorIndex:
    return filled(world, codebook, settings=BY_CODES)


def recall(index: VectorIndex, twin: ExactVectors, world: Vectors, where: Where) -> float:
    shares = []
    for query in world.queries:
        exact = twin.find(query, where, K).slots
        found = index.find(query, where, K).slots
        assert len(found) == len(set(found.tolist())) == len(exact)
        shares.append(len(np.intersect1d(found, exact)) / len(exact))
    return float(np.mean(shares))


def test_recall_holds_under_every_filter(
    world: Vectors, index: VectorIndex, twin: ExactVectors
) -> None:
    assert recall(index, twin, world, EVERYTHING) >= 0.98
    for name, where in world.filters().items():
        assert recall(index, twin, world, where) >= 0.98, name


def test_recall_holds_after_churn_and_repacking(
    world: Vectors, codebook: Codebook, twin: ExactVectors
) -> None:
    index = filled(world, codebook, settings=BY_CODES)
    rng = np.random.default_rng(5)
    for _ in range(20):  # everything is away and back, or moved, in pieces
        part = rng.choice(SIZE, 2_000, replace=False).astype(np.int32)
        index.remove(part[:500])
        index.upsert(part[500:], -world.rows[part[500:]])
        index.upsert(part, world.rows[part], world.columns(part))
    assert len(index) == SIZE
    assert recall(index, twin, world, EVERYTHING) >= 0.98
    gone = np.arange(0, SIZE, 2, dtype=np.int32)
    index.remove(gone)
    assert index.repack(least=0.95) >= 60
    assert index.repack(least=0.95) == 0
    index.upsert(gone, world.rows[gone], world.columns(gone))
    assert recall(index, twin, world, EVERYTHING) >= 0.98
    np.testing.assert_array_equal(index.vectors(gone), world.rows[gone])


def test_repacking_gives_room_back(world: Vectors, codebook: Codebook) -> None:
    index = filled(world, codebook)
    size = index.nbytes
    for _ in range(6):  # every listing is replaced by another one, with another vector
        index.remove(np.arange(SIZE, dtype=np.int32))
        assert index.repack() > 0
        shift = np.roll(world.rows, 1, axis=0)
        index.upsert(np.arange(SIZE, dtype=np.int32), shift, world.columns())
    assert index.nbytes <= 2 * size


@pytest.mark.skipif(not HAS_AVX2, reason="this machine has the plain form only")
def test_the_plain_form_gives_the_same_bytes(world: Vectors, codebook: Codebook) -> None:
    fast, plain = (filled(world, codebook, settings=BY_CODES, form=form) for form in (1, None))
    for name, where in {"all": EVERYTHING, **world.filters()}.items():
        for query in world.queries[::8]:
            one, two = fast.find(query, where, K), plain.find(query, where, K)
            assert one.exact == two.exact == (name == "0.1%")
            assert (one.slots.tobytes(), one.scores.tobytes()) == (
                two.slots.tobytes(), two.scores.tobytes()
            )  # fmt: skip


def clock(steps: int) -> Iterator[bool]:
    yield from (False,) * steps
    while True:
        yield True


@pytest.mark.parametrize("settings", [BY_CODES, BY_ROWS, Settings(exact_rows=1e9)])
def test_more_time_finds_more(
    world: Vectors, codebook: Codebook, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heirloom.retrieval.vectors.searcher.STEP_BLOCKS", 8)
    index = filled(world, codebook, settings=settings)
    query = world.queries[0]
    whole = index.find(query, k=K)
    known: list[float] = []
    for steps in (0, 1, 2, 1_000):
        ticks = clock(steps)
        answer = index.find(query, k=K, out_of_time=lambda ticks=ticks: next(ticks))  # type: ignore[misc]
        assert answer.complete == (steps == 1_000)
        assert not answer.exact or answer.complete
        np.testing.assert_allclose(answer.scores, world.rows[answer.slots] @ query, atol=1e-5)
        known.append(float(answer.scores.sum()))
    assert known == sorted(known)
    assert known[0] < known[-1]
    np.testing.assert_array_equal(answer.slots, whole.slots)


@pytest.mark.parametrize("settings", [BY_CODES, BY_ROWS, Settings(exact_rows=1e9)])
@pytest.mark.parametrize("steps", [0, 1, 3, 6])
@pytest.mark.parametrize(("grows", "repacked"), [(False, 0), (False, 4), (False, 64), (True, 0)])
def test_what_is_written_during_a_search_is_seen(
    world: Vectors, codebook: Codebook, settings: Settings, steps: int, grows: bool,
    repacked: int,     monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Between two steps of a search things go, come, and move to where it has looked already."""
    monkeypatch.setattr("heirloom.retrieval.vectors.searcher.STEP_BLOCKS", 8)
    index, twin = filled(world, codebook, settings=settings), ExactVectors(64, "m", COLUMNS)
    slots = np.arange(SIZE, dtype=np.int32)
    twin.upsert(slots, world.rows, world.columns())
    query = world.queries[2]
    top = twin.find(query, k=K).slots
    others = np.setdiff1d(slots, top)[::3].astype(np.int32)
    if not grows:  # there is room among the places of each list
        index.remove(others)
        twin.remove(others)
    gone, moved = top[:10], top[10:40]
    new = np.arange(SIZE - 5, SIZE, dtype=np.int32) if not grows else slots[-1:] + 1
    ticks = iter(range(1_000))

    def meanwhile() -> bool:
        if next(ticks) == steps:
            for one in (index, twin):
                one.remove(gone)
                one.upsert(moved, world.rows[moved], world.columns(moved))
                one.upsert(new, np.tile(query, (len(new), 1)))
            index.repack(lists=repacked, least=1.0)
        return False

    answer = index.find(query, k=K, out_of_time=meanwhile)
    if next(ticks) <= steps + 1:
        pytest.skip("the search was done before")
    expected = twin.find(query, k=K).slots
    assert len(answer.slots) == len(set(answer.slots.tolist())) == K
    assert not set(gone.tolist()) & set(answer.slots.tolist())
    assert set(moved.tolist()) | set(new.tolist()) <= set(answer.slots.tolist())
    if answer.exact:
        np.testing.assert_array_equal(answer.slots, expected)
    assert len(np.intersect1d(answer.slots, expected)) >= 0.9 * K


def test_what_is_narrow_is_exact(world: Vectors, codebook: Codebook, twin: ExactVectors) -> None:
    index = filled(world, codebook)
    query = world.queries[1]
    for name, exact in (("50.0%", False), ("1.0%", True), ("0.1%", True)):
        answer = index.find(query, world.filters()[name], K)
        assert answer.exact == exact, name
        if exact:
            other = twin.find(query, world.filters()[name], K)
            np.testing.assert_array_equal(answer.slots, other.slots)


def test_an_index_restored_is_the_same(world: Vectors, index: VectorIndex) -> None:
    kept = {name: array.copy() for name, array in index.arrays().items()}
    again = VectorIndex.of("m", kept, COLUMNS, BY_CODES)
    for query in world.queries[:5]:
        one, two = index.find(query, k=K), again.find(query, k=K)
        assert one.slots.tobytes() == two.slots.tobytes()
    again.upsert(np.arange(50, dtype=np.int32), world.rows[50:100])
    np.testing.assert_array_equal(again.vectors(np.arange(50, dtype=np.int32)), world.rows[50:100])
    del kept["rows"]
    with pytest.raises(InputError, match="rows do not fit"):
        VectorIndex.of("m", kept, COLUMNS)


def test_an_index_restored_with_its_room_goes_on_as_the_same(
    world: Vectors, codebook: Codebook
) -> None:
    whole = filled(world, codebook)
    kept = {name: array.copy() for name, array in whole.arrays(room=True).items()}
    again = VectorIndex.of("m", kept, COLUMNS, BY_CODES)
    slots = np.arange(700, 2_900, dtype=np.int32)  # more than there is room for
    for index in (whole, again):
        index.remove(slots[:100])
        index.upsert(slots, world.rows[slots % len(world.rows)][::-1].copy())
    assert len(again) == len(whole)
    assert again.vectors(slots).tobytes() == whole.vectors(slots).tobytes()
    for query in world.queries[:5]:
        one, two = whole.find(query, k=K), again.find(query, k=K)
        assert (one.slots.tobytes(), one.scores.tobytes()) == (
            two.slots.tobytes(), two.scores.tobytes()
        )  # fmt: skip


def test_another_codebook_holds_the_same(
    world: Vectors, index: VectorIndex, twin: ExactVectors
) -> None:
    other = index.rebuilt(Codebook.trained(world.rows, "m", lists=32, seed=7))
    assert len(other) == SIZE
    assert recall(other, twin, world, world.filters()["category"]) >= 0.98
    with pytest.raises(InputError, match="'m2'"):
        index.rebuilt(Codebook.untrained(64, "m2"))


def test_training_repeats(world: Vectors) -> None:
    one, two, other = (
        Codebook.trained(world.rows[:3_000], "m", lists=16, seed=seed) for seed in (1, 1, 2)
    )
    for name, array in one.arrays().items():
        assert array.tobytes() == two.arrays()[name].tobytes(), name
    assert one.centroids.tobytes() != other.centroids.tobytes()
    assert suggested_lists(3_000) == 64


def test_untrained_it_serves_too(world: Vectors, twin: ExactVectors) -> None:
    index = filled(world, Codebook.untrained(64, "m"), settings=BY_CODES)
    assert recall(index, twin, world, EVERYTHING) >= 0.95


@pytest.mark.parametrize("dim", [0, 3, 258])
def test_a_dimension_it_cannot_have_is_refused(dim: int) -> None:
    with pytest.raises(ShapeError, match=f"dim={dim}"):
        Codebook.untrained(dim, "m")


@pytest.mark.parametrize("dim", [2, 10, 256])
def test_any_even_dimension_will_do(dim: int) -> None:
    rows = np.random.default_rng(dim).standard_normal((3_000, dim)).astype(np.float32)
    index = VectorIndex(Codebook.trained(rows, "m", lists=8), settings=Settings(exact_rows=0))
    index.upsert(np.arange(3_000, dtype=np.int32), rows)
    hits = [
        len(np.intersect1d(index.find(q, k=20).slots, np.argsort(-(rows @ q))[:20]))
        for q in rows[:20]
    ]
    assert np.mean(hits) >= 18


def test_sums_of_a_block_are_the_definitions() -> None:
    """The scan keeps what is above the limit, by the arithmetic of the codes."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, 4 * 32, np.uint8)
    table = rng.integers(0, 128, (8, 16), np.uint8)
    nibbles = np.stack([codes.reshape(4, 32) & 15, codes.reshape(4, 32) >> 4], axis=1)
    sums = sum(table[m][nibbles.reshape(8, 32)[m]].astype(int) for m in range(8))
    import numba

    block = search_kernel.score_block
    for form in (1, None) if HAS_AVX2 else (None,):

        @numba.njit
        def scored(codes, tables, limit, out, form):  # type: ignore[no-untyped-def]
            return block(codes, 0, 4, tables, limit, out, form)

        out = np.zeros(32, np.uint16)
        for limit in (-1, 0, int(np.median(sums)), 32_767):
            mask = scored(codes, np.repeat(table, 2, axis=0).reshape(8, 2, 16).ravel(), limit, out,
                          form)  # fmt: skip
            assert [mask >> i & 1 for i in range(32)] == [int(s > limit) for s in sums]
        np.testing.assert_array_equal(np.stack([out[:16], out[16:]], axis=1).ravel(), sums)


def test_what_lies_apart_is_found_by_its_like() -> None:
    """Its list's centroid and residuals promise less than others' listings give already."""
    rng, size = np.random.default_rng(4), 500
    rows = rng.normal(scale=0.02, size=(3 * size, 8)).astype(np.float32)
    rows[:size, 0] += 0.4
    rows[size : 2 * size, 1] += 1
    rows[2 * size :] *= 20  # so that there are levels for what lies apart
    rows[2 * size :, 0] -= 3
    index = VectorIndex(
        Codebook.trained(rows, "m", lists=3), settings=Settings(exact_rows=0, rows_share=0)
    )
    index.upsert(np.arange(3 * size, dtype=np.int32), rows)
    apart = np.array([[0.75, 0.55, 0.37, 0, 0, 0, 0, 0]], np.float32)
    index.upsert(np.array([7_777], np.int32), apart)
    found = index.find(apart[0], k=1)
    assert not found.exact
    assert found.slots.tolist() == [7_777]


@pytest.mark.parametrize("share", [0.2, 0.05, 0.012])
def test_narrow_filters_are_answered_from_the_rows_of_the_nearest_lists(
    world: Vectors, codebook: Codebook, twin: ExactVectors, share: float
) -> None:
    index = filled(world, codebook, settings=BY_ROWS)
    where = Where(between={"price_minor": (0, round(1_000_000 * share))})
    found = []
    for query in world.queries:
        answer, wanted = index.find(query, where, K), twin.find(query, where, K)
        assert answer.complete
        assert not answer.exact
        np.testing.assert_allclose(answer.scores, world.rows[answer.slots] @ query, atol=1e-5)
        assert (np.diff(answer.scores) <= 0).all()
        assert where.passing(answer.slots, world.columns(answer.slots)).all()
        found.append(len(np.intersect1d(answer.slots, wanted.slots)) / len(wanted.slots))
    assert np.mean(found) >= 0.98


def test_rows_that_wait_to_be_scored_at_the_end_are_not_lost(
    world: Vectors, codebook: Codebook, twin: ExactVectors
) -> None:
    """Of so few rows no threshold leaves one out, and up to 63 wait when the last list ends."""
    index = filled(world, codebook, settings=BY_ROWS)
    where = Where(between={"price_minor": (0, 6_000)})
    assert 64 < np.count_nonzero(world.price_minor <= 6_000) < 2 * 64
    for query in world.queries:
        answer = index.find(query, where, 20)
        assert not answer.exact
        np.testing.assert_array_equal(answer.slots, twin.find(query, where, 20).slots)
