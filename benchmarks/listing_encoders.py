"""Listing and person encoders on a simulated marketplace: is the listing acted on next found?

    python -m benchmarks.listing_encoders --folder FOLDER [--epochs 30]

FOLDER is a system's, filled by `heirloom simulate`. The latest fifth of the actions are to be
foretold: each from what the person had done before, among all listings live at that moment.
Listings written in that fifth are cold: no encoder has learned from them, nor from any action in
it. Said for `Hashed` with the taste of `retrieval.content` (vectors of the three heaviest
categories), for the trained listing encoder with the same taste, and for both encoders.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from heirloom.apps.parts import open_log
from heirloom.core.event import KIND_CODE
from heirloom.encoders.encoder import Encoder
from heirloom.encoders.hashed import Hashed
from heirloom.evaluation.split import moment
from heirloom.pipelines.train_encoders import (
    Asked,
    Captured,
    EncoderRecipe,
    capture,
    train_encoders,
)
from heirloom.retrieval.content import HALF_LIFE_MS, INTEREST, MAX_INTERESTS

LATEST = 0.2
ASKED = 2_000
_WEIGHTS = np.zeros(32)
for _kind, _weight in INTEREST.items():
    _WEIGHTS[KIND_CODE[_kind]] = _weight


def taste(captured: Captured, asked: Asked, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[actions, interests, dim], as `ContentIndex.interests` makes them, in floats."""
    categories = np.array(["", *(one.category for one in captured.listings)])
    out = np.zeros((len(asked.targets), MAX_INTERESTS, vectors.shape[1]), np.float32)
    histories = asked.histories
    for i, t in enumerate(asked.t.tolist()):
        part = slice(*histories.starts[i : i + 2])
        rows = histories.items[part]
        weights = _WEIGHTS[histories.kinds[part]]
        weights = weights * np.exp2(-(t - histories.t[part]) / HALF_LIFE_MS)
        names, member = np.unique(categories[rows], return_inverse=True)
        shares = np.bincount(member, weights, minlength=len(names))
        for place, which in enumerate(np.argsort(-shares, kind="stable")[:MAX_INTERESTS]):
            inside = member == which
            total = weights[inside] @ vectors[rows[inside]]
            out[i, place] = total / max(float(np.linalg.norm(total)), 1e-12)
    return out


def encoded(encoder: Encoder, captured: Captured) -> NDArray[np.float32]:
    """[rows, dim] of all that was written; row 0 is nothing."""
    none = np.zeros((1, encoder.dim), np.float32)
    return np.concatenate([none, encoder.listings(captured.written)])


def main() -> None:
    """Fit and say."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--folder", type=Path, required=True, help="of `heirloom simulate`")
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--checkpoint", type=Path, default=None)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with open_log(chosen.folder, read_only=True) as log:
        captured = capture(log.read())
    t = captured.histories.t
    cut, end = moment(t, 1 - LATEST), int(t.max()) + 1
    print(
        f"{len(captured.listings):,} rows of listings, {len(captured.people):,} people, "
        f"{len(t):,} actions, {int((captured.begin[1:] < cut).sum()):,} rows before the cut"
    )
    recipe = EncoderRecipe()
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=chosen.epochs))
    cpu = time.process_time()
    listings, person, epochs = train_encoders(
        captured, cut, recipe, file=chosen.checkpoint, progress=print
    )
    cpu = time.process_time() - cpu
    asked = captured.actions(cut, end, ASKED)
    cold = captured.begin[asked.targets] >= cut
    hashed, trained = encoded(Hashed(64), captured), encoded(listings, captured)
    people = {
        "hashed, taste": (taste(captured, asked, hashed), hashed),
        "trained listings, taste": (taste(captured, asked, trained), trained),
        "trained listings, person encoder": (
            person.encode(asked.histories, trained[asked.histories.items]), trained
        ),
    }  # fmt: skip
    found = {}
    for name, (vectors, of) in people.items():
        places = captured.places(asked, vectors, of)
        found[name] = {
            f"recall@{k}{suffix}": round(float((places[which] <= k).mean()), 4)
            for k in (10, 100)
            for suffix, which in (("", cold | ~cold), (" cold", cold))
        }
        print(f"{name}: {found[name]}")
    print(json.dumps({"asked": len(cold), "cold": int(cold.sum()), "cpu_s": round(cpu, 1),
                      "epochs": len(epochs), "found": found}))  # fmt: skip


if __name__ == "__main__":
    main()
