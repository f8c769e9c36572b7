"""What the stock stack is given: the same listings, vectors, people and examples, as files."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import record, serving_stock
from heirloom.apps.build import System
from heirloom.apps.parts import recipe_of
from heirloom.core.query import Query
from heirloom.pipelines.live import Live
from heirloom.pipelines.train import examples_of_impressions

PYTHON = record.ROOT / "var" / "naive" / "env" / "bin" / "python"
"""`uv venv var/naive/env`, and into it benchmarks/naive_requirements.txt."""
PEER = "FastAPI 0.165, pydantic 2.14, dict features, LightGBM 4.7 predict 500 x 63, faiss 1.15 HNSW"
SLATES = 3_000
"""So many slates of the log it learns from: 24 rows each, enough for 500 trees."""
_TOLD = ("listing_id", "title", "brand", "category", "size", "seller", "price_minor", "currency")


def command(world: Path, port: int) -> list[str]:
    """What serves a folder that `written` gave."""
    return [str(PYTHON), str(Path(__file__).with_name("naive_stack.py")), str(world), str(port)]


def written(folder: Path) -> Path:
    """The folder of files for a stock; written where it is missing."""
    world = folder.with_name(f"naive-{folder.name}")
    if not world.exists():
        draft = world.with_name(f".{world.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _write_examples(draft)
        system = System(serving_stock.settings_of(folder))
        try:
            _write_world(system.live, system.now_ms(), draft)
        finally:
            system.close()
        draft.rename(world)
    return world


def _write_examples(draft: Path) -> None:
    system = System(serving_stock.settings_of(serving_stock.trained()), answering=False)
    try:
        recipe = dataclasses.replace(recipe_of(system.settings), max_slates=SLATES)
        live = system.empty_live(retrievers=False)
        examples, _ = examples_of_impressions(system.log, live, recipe, lambda *_: None)
    finally:
        system.close()
    np.savez(draft / "examples.npz", values=examples.values, gains=examples.gains)


def _write_world(live: Live, now: int, draft: Path) -> None:
    slots = np.flatnonzero(live.catalogue.live).astype(np.int32)
    place = {slot: i for i, slot in enumerate(slots.tolist())}
    nobody = live.look_up(live.request(Query(t=now)), slots)
    columns = [name.partition(".")[2] for name in nobody.columns]
    missing: NDArray[np.bool_] = np.isnan(nobody.values).all(axis=0)
    of_listing = ~missing
    listings = []
    for slot in slots.tolist():
        listing = live.catalogue.listing(slot)
        listings.append({**{name: getattr(listing, name) for name in _TOLD}, "image": "/x.png"})
    people, of_person = _people(live, now, slots, place, columns, of_listing)
    cross = [
        name for name, own in zip(columns, of_listing, strict=True)
        if not own and name not in of_person
    ]  # fmt: skip
    np.save(draft / "features.npy", nobody.values)
    np.save(draft / "vectors.npy", live.content.vectors[slots])
    told = {
        "columns": columns, "cross": cross, "listings": listings, "people": people,
        "of_listing": [name for name, own in zip(columns, of_listing, strict=True) if own],
    }  # fmt: skip
    (draft / "world.json").write_text(json.dumps(told))


def _people(
    live: Live,
    now: int,
    slots: NDArray[Any],
    place: dict[int, int],
    columns: list[str],
    of_listing: NDArray[Any],
) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Each person's history and features; and the columns that are the same for all candidates."""
    people: dict[str, dict[str, Any]] = {}
    of_person = set(columns)
    for code, name in enumerate(live.vocabulary.texts("person")):
        if not name or name.startswith("session:"):
            continue
        request = live.request(Query(t=now, user=name))
        values = live.look_up(request, slots[:40]).values
        varies = np.nan_to_num(values, nan=-1e9).std(axis=0) > 0
        of_person -= {columns[i] for i in np.flatnonzero(varies | of_listing)}
        recent = [slot for slot in request.recent.tolist() if slot in place]
        acted = [live.catalogue.listing(slot) for slot in recent]
        people[name] = {
            "history": [place[slot] for slot in recent[:50]],
            "hidden": [place[slot] for slot in live.people.hidden(code) if slot in place],
            "features": dict(zip(columns, map(float, values[0]), strict=True)),
            "brands": Counter(each.brand for each in acted),
            "categories": Counter(each.category for each in acted),
            "sizes": Counter(each.size for each in acted),
            "price": float(np.mean([each.price_minor for each in acted])) if acted else 0.0,
        }
    for person in people.values():
        person["features"] = {name: person["features"][name] for name in sorted(of_person)}
    return people, of_person
