from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from heirloom.apps.build import System
from heirloom.apps.settings import load
from heirloom.apps.train_encoders import train_into
from heirloom.core.errors import InputError
from heirloom.core.event import Event, Kind
from heirloom.core.listing import Listing
from heirloom.encoders.listing import ListingEncoder
from heirloom.encoders.person import PersonEncoder
from heirloom.encoders.training.fit import Recipe
from heirloom.encoders.training.objective import Sampling
from heirloom.pipelines.train_encoders import EncoderRecipe

LAPTOP = Path(__file__).parents[2] / "systems" / "laptop.toml"
T0, HOUR = 1_750_000_000_000, 3_600_000


def events() -> Iterator[Event]:
    rng = np.random.default_rng(0)
    for i in range(12):
        listing = Listing(listing_id=f"l{i}", seller="mia", title="Coat", brand="ab"[i % 2])
        yield Event(event_id=f"e{i}", kind=Kind.LISTED, t=T0 + i, listing=f"l{i}", data=listing)
    for i in range(60):
        yield Event(event_id=f"c{i}", kind=Kind.CLICK, t=T0 + i * HOUR, user=f"p{i % 7}",
                    listing=f"l{rng.integers(12)}", surface="home")  # fmt: skip


def test_encoders_are_trained_from_a_log(tmp_path: Path) -> None:
    system = System(load(LAPTOP, folder=tmp_path / "shop"), answering=False)
    system.ingest_history(events(), source="test")
    system.close()
    out = tmp_path / "encoders"
    # Each of the negatives, losses and stops there are can be asked for here.
    recipe = EncoderRecipe(
        dim=8, buckets=64, vectors=2,
        fit=Recipe(rows=4, epochs=3, sampling=Sampling(uniform=4, in_batch=True, queue=8, mined=2)),
    )  # fmt: skip
    train_into(tmp_path / "shop", out, recipe)
    listings, person = ListingEncoder.load(out), PersonEncoder.load(out)
    person.meets(listings.model_id)
    assert person.about.vectors == 2
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".json", ".onnx", ".onnx"]
    with pytest.raises(InputError, match="people came"):
        train_into(tmp_path / "shop", out, recipe, until_t=T0 + HOUR)
