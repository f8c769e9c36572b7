"""The person encoder on a simulated marketplace: what do questions and several vectors bring?

    python -m benchmarks.person_encoder --folder FOLDER [--epochs 30] [--seeds 0 1]

FOLDER is a system's, filled by `heirloom simulate`. The latest fifth of the actions are to be
foretold, first ones too, among all listings live at that moment: recall@100 by the surface asked,
and for newcomers, who had done nothing before; of these also those who had stated what they like.
`stated alone` is who asks with that and with neither words nor an anchor. Where nothing at all is
known of somebody the middle is foretold. No filter of a search is applied.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.listing_encoders import LATEST, encoded
from heirloom.apps.parts import open_log
from heirloom.core.event import SURFACE_CODE
from heirloom.encoders.encoder import Encoder
from heirloom.encoders.history import Histories
from heirloom.encoders.person import PersonEncoder
from heirloom.evaluation.split import moment
from heirloom.pipelines.train_encoders import (
    Asked,
    Captured,
    EncoderRecipe,
    capture,
    train_encoders,
)

ASKED = 3_000
RECIPES = {
    "what was done": EncoderRecipe(questions=False),
    "and what is asked": EncoderRecipe(),
    "and four vectors": EncoderRecipe(vectors=4),
}


def slices(captured: Captured, asked: Asked, cut: int) -> dict[str, NDArray[np.bool_]]:
    """[actions] each, which of them count."""
    new = np.diff(asked.histories.starts) == 0
    every = {"all": np.ones(len(new), np.bool_), "newcomers": new}
    every["newcomers, stated"] = new & (asked.questions.wishes > 0)
    every["newcomers, silent"] = new & (asked.questions.wishes == 0) & (asked.questions.texts == 0)
    silent = asked.questions.texts + asked.questions.anchors == 0
    every["stated alone"] = silent & (asked.questions.wishes > 0)
    for name, code in SURFACE_CODE.items():
        every[name] = asked.questions.surfaces == code
    every["cold"] = captured.begin[asked.targets] >= cut
    return every


def recalls(
    captured: Captured,
    asked: Asked,
    listings: Encoder,
    person: PersonEncoder,
    cut: int,
) -> dict[str, dict[str, float]]:
    """Recall@100 by slice: with the question told, with it kept back, and with the past kept back.

    The last makes newcomers of all.
    """
    vectors = encoded(listings, captured)
    told, past = asked.asked(vectors), asked.histories
    nobody = Histories.of_items([np.zeros(0, np.int64)] * len(past))
    found = {}
    for name, histories, questions in (
        ("told", past, told), ("kept back", past, None), ("asked alone", nobody, told)
    ):  # fmt: skip
        people = person.encode(histories, vectors[histories.items], questions)
        places = captured.places(asked, people, vectors)
        found[name] = {
            of: round(float((places[which] <= 100).mean()), 4)
            for of, which in slices(captured, asked, cut).items()
            if which.any()
        }
    return found


def main() -> None:
    """Fit and say."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("--folder", type=Path, required=True, help="of `heirloom simulate`")
    options.add_argument("--epochs", type=int, default=30)
    options.add_argument("--seeds", type=int, nargs="+", default=[0])
    options.add_argument("--recipe", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    chosen = options.parse_args()
    torch.set_num_threads(1)
    with open_log(chosen.folder, read_only=True) as log:
        captured = capture(log.read())
    t = captured.histories.t
    cut, end = moment(t, 1 - LATEST), int(t.max()) + 1
    asked = captured.actions(cut, end, ASKED, earlier=0)
    counts = {name: int(of.sum()) for name, of in slices(captured, asked, cut).items()}
    live = (captured.begin <= cut) & (cut < captured.end)
    print(f"{live.sum():,} listings live at the cut; actions asked: {counts}")
    for name in chosen.recipe:
        for seed in chosen.seeds:
            recipe = RECIPES[name]
            fit = replace(recipe.fit, epochs=chosen.epochs, seed=seed)
            cpu = time.process_time()
            listings, person, epochs = train_encoders(
                captured, cut, replace(recipe, fit=fit), progress=print
            )
            cpu = time.process_time() - cpu
            found = recalls(captured, asked, listings, person, cut)
            told = {"recipe": name, "seed": seed, "epochs": len(epochs), "cpu_s": round(cpu, 1)}
            print(json.dumps({**told, **found}), flush=True)


if __name__ == "__main__":
    main()
