"""Train the encoders from a system's log, in one process or in many.

    python -m heirloom.apps.train_encoders --folder FOLDER --out ENCODERS
    python -m torch.distributed.run --nproc-per-node 2 -m heirloom.apps.train_encoders …

The second is torchrun: each process reads the log and learns from its share of every batch, by
gloo on CPUs and by nccl on GPUs (`--device cuda`, one process for each). The first writes: a
checkpoint after each epoch, and the encoders at the end. What was killed goes on when the same
command is given again. OUT then holds listing.onnx, listing.json, person.onnx and person.json.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from heirloom.apps.parts import open_log
from heirloom.encoders.training.processes import joined
from heirloom.pipelines.train_encoders import EncoderRecipe, capture, train_encoders

CHECKPOINT = "training.safetensors"


def train_into(
    folder: Path, out: Path, recipe: EncoderRecipe, *, until_t: int | None = None
) -> None:
    """Train on a folder's log up to a moment, its end by default, and write both encoders.

    Raises:
        InputError: if too little was done.
        BundleError: if a checkpoint in `out` is of another run.
    """
    with joined(recipe.fit.device) as processes:
        with open_log(folder, read_only=True) as log:
            captured = capture(log.read())
        end = int(captured.histories.t.max()) + 1
        out.mkdir(parents=True, exist_ok=True)
        listings, person, _ = train_encoders(
            captured, until_t or end, recipe, file=out / CHECKPOINT, progress=print
        )
        if processes.first:
            listings.save(out)
            person.save(out)
            (out / CHECKPOINT).unlink(missing_ok=True)
            print(f"{out}: {listings.model_id}, {person.model_id}")


def main(
    folder: Annotated[Path, typer.Option(help="Of a system: where its log is.")],
    out: Annotated[Path, typer.Option(help="Where the encoders go.")],
    epochs: Annotated[int, typer.Option(min=1, help="At most.")] = 30,
    vectors: Annotated[int, typer.Option(min=1, help="Of a person.")] = 1,
    seed: Annotated[int, typer.Option(help="Of everything drawn.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda: in bfloat16.")] = "cpu",
) -> None:
    """Train and say which encoders came of it."""
    recipe = EncoderRecipe(vectors=vectors)
    recipe = replace(recipe, fit=replace(recipe.fit, epochs=epochs, seed=seed, device=device))
    train_into(folder, out, recipe)


if __name__ == "__main__":
    typer.run(main)
