"""A log without impressions: a rental shop by day, through the benchmark's own path."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks import model_rtr, renttherunway
from benchmarks.record import Row

from heirloom.core.errors import InputError
from heirloom.ranking.linear import Linear

OCCASIONS = ("wedding", "work", "party", "vacation")
GARMENTS = 60
DAYS = 200


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renttherunway, "RANKERS", {"linear": Linear})


def written(folder: Path, table: dict[str, list[object]]) -> Path:
    """The table in the columns of the real one, as the benchmark looks for it."""
    rows = len(table["item_id"])
    rng = np.random.default_rng(7)
    others = {
        "size": rng.choice([4, 8, 12], rows),
        "body_type": rng.choice(["pear", "athletic"], rows),
        "age": rng.integers(20, 60, rows).astype(float),
        "height_in": rng.integers(60, 72, rows).astype(float),
        "weight_lbs": rng.integers(100, 180, rows).astype(float),
        "bust_size_num": rng.choice([32.0, 34.0], rows),
        "bust_size_letter": rng.choice(["b", "c"], rows),
        "rating": rng.integers(1, 6, rows),
        "fit": rng.choice(["fit", "small"], rows),
    }
    (folder / renttherunway.TABLE).parent.mkdir()
    pl.DataFrame({**table, **others}).write_parquet(folder / renttherunway.TABLE)
    return folder


def measured(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in renttherunway.rows(folder, lambda _: None)}


def by_occasion() -> tuple[dict[str, list[object]], np.ndarray, np.ndarray]:
    """A table in which each garment is rented for one occasion; garments and days of its rows."""
    rng = np.random.default_rng(0)
    rentals = 2_000
    garment = rng.integers(0, GARMENTS, rentals)
    days = np.sort(rng.integers(0, DAYS, rentals))
    people = rng.permutation(rentals)  # nobody comes twice
    table: dict[str, list[object]] = {
        "user_id": people.tolist(),
        "item_id": garment.tolist(),
        "review_date": [date(2017, 1, 1) + timedelta(int(day)) for day in days],
        "category": [f"kind {g % 5}" for g in garment],
        # A garment is rented for one occasion alone: GARMENTS / 4 = 15 are left to choose from.
        "rented_for": [OCCASIONS[g % 4] for g in garment],
    }
    return table, garment, days


def test_what_people_say_before_finds_what_they_rent(tmp_path: Path) -> None:
    table, garment, days = by_occasion()
    rentals = len(days)
    rows = measured(written(tmp_path, table))
    hit = rows["spine.rtr_hr10"]
    # Random order finds 10 of 15 when the occasion is understood, 10 of 60 when it is not. The
    # test part has 200 rows: standard error .033.
    assert hit.value == pytest.approx(10 / 15, abs=0.12)
    assert hit.peer_value == pytest.approx(10 / 60, abs=0.08)
    assert hit.interval is not None
    assert hit.value is not None
    assert hit.interval[0] < hit.value < hit.interval[1]
    assert rows["spine.rtr_hr100"].value == 1.0

    # The peer by its definition: the share of tied orders in which it stands among the first ten.
    cut = days[int(rentals * 0.9)]
    recent = (days < cut) & (days >= cut - renttherunway.POPULAR_DAYS)
    counts = np.bincount(garment[recent], minlength=GARMENTS)
    wanted = counts[garment[days >= cut]]
    above, equal = (counts > wanted[:, None]).sum(axis=1), (counts == wanted[:, None]).sum(axis=1)
    expected = np.clip((10 - above) / equal, 0, 1)
    # Ties fall at random: 200 rows, of which those at the edge of ten are uncertain.
    spread = np.sqrt((expected * (1 - expected)).sum()) / len(expected)
    assert hit.peer_value == pytest.approx(expected.mean(), abs=4 * spread + 1e-5)


def test_networks_learn_it_from_all_that_was_on_offer(tmp_path: Path) -> None:
    # Of 60 garments retrieval finds eight: it cannot say what the others are for.
    plan = replace(model_rtr.PLAN, pool=8, learn_days=100)
    told: list[str] = []
    places, ranker = renttherunway.places_of(written(tmp_path, by_occasion()[0]), plan, told.append)
    assert ranker == "neural"
    assert any("live: for each purchase, 60 listings" in line for line in told)
    rows = {row.id: row for row in model_rtr.report(places, ranker, "models", model_rtr.TARGETS, 8)}
    assert set(model_rtr.BARS) <= set(rows)
    hit = rows["models.rtr_hr10"].value
    assert hit is not None
    assert hit == pytest.approx(8 / 15, abs=0.12)  # as the first test, with eight in place of ten
    assert hit == rows["models.rtr_pool_recall"].value


def test_a_rehearsal_stands_before_the_test(tmp_path: Path) -> None:
    """What happened in the test's days changes nothing that a rehearsal finds."""
    table, _, days = by_occasion()
    cut = days[int(len(days) * 0.9)]
    length = DAYS - cut
    for row in np.flatnonzero(days >= cut - length)[::5]:
        table["item_id"][row] = 500  # a garment that is new in the later rehearsal
    other = {name: list(column) for name, column in table.items()}
    for row in np.flatnonzero(days >= cut):
        other["item_id"][row] = 1_000
    plan = renttherunway.Plan({"linear": Linear}, renttherunway.RULE, 60, 800)
    found = []
    for name, each in (("one", table), ("other", other)):
        (tmp_path / name).mkdir()
        data = written(tmp_path / name, each)
        found.append(renttherunway.places_of_all(data, plan, lambda _: None, rehearse=2)[0])
    assert len(found[0].people) == ((days >= cut - 2 * length) & (days < cut)).sum()
    assert (~found[0].seen).any()
    for name in renttherunway.Places.__slots__:
        np.testing.assert_array_equal(getattr(found[0], name), getattr(found[1], name))
    lines = list(model_rtr.differences(found[0], found[1]))
    assert lines[0] == "all, hit rate at 10: +0.0000 [+0.0000, +0.0000]"
    worse = replace(found[0], ranked=np.full(len(found[0].ranked), 11.0))
    lines = list(model_rtr.differences(worse, found[0]))
    share = ((found[0].ranked > 0) & (found[0].ranked <= 10)).mean()  # 0: not found
    assert lines[0].startswith(f"all, hit rate at 10: {-share:+.4f} [")
    with pytest.raises(InputError, match="other ones"):
        next(model_rtr.differences(found[0], replace(found[0], people=found[0].people[::-1])))


def test_a_day_does_not_foretell_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(DAYS), 10)
    # Half of each day's rentals are of a garment that came that very day and is rented that day
    # alone. Whoever looks at the day itself finds it at once; as of the morning it is unknown.
    new = np.arange(len(days)) % 2 == 0
    garment = np.where(new, GARMENTS + days, rng.integers(0, GARMENTS, len(days)))
    table = {
        "user_id": rng.permutation(len(days)).tolist(),
        "item_id": garment.tolist(),
        "review_date": [date(2017, 1, 1) + timedelta(int(day)) for day in days],
        "category": ["dress"] * len(days),
        "rented_for": rng.choice(OCCASIONS, len(days)).tolist(),
    }
    rows = measured(written(tmp_path, table))
    unseen = rows["spine.rtr_unseen_hr100"]
    assert unseen.value == 0.0
    assert unseen.note.startswith("100 test rows")
    overall = rows["spine.rtr_hr100"].value
    assert overall is not None
    assert overall <= 0.5
