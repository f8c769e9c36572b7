"""The person encoder on a GPU: tokens a second in training, and the share of the card's peak.

Run as the part `cuda` of `benchmarks.encoders`. The product's own loop (`training.fit`) learns in
bfloat16 from synthetic people of 51 events each, at rising batch sizes; the best counts. A token is
an event read. Its floating-point operations, a multiplication and an addition each being one:

    forward  = layers · (24 dim² + 2 (events + 1) dim) + 2 negatives · dim
    training = 3 · forward

A layer's matrices hold 12 dim² weights (query, key, value 3, out 1, gates 2, SwiGLU 4 + 2), two
operations each; an event attends to (events + 1) / 2 events on average, with dim multiplications
for the logit and dim for the sum; and is compared with each negative. Tables and norms, the
optimiser and the items' tower count for time and not for operations.
"""

import msgspec
import numpy as np
import torch

from benchmarks.record import Row
from heirloom.encoders.history import Histories
from heirloom.encoders.training.fit import Recipe, fit
from heirloom.encoders.training.objective import Sampling
from heirloom.encoders.training.person import PersonModel, Shape
from heirloom.encoders.training.towers import AttributeBag

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}
"""Dense bfloat16 operations a second by the makers' data sheets, of the boards for servers."""
SHAPES = {"served": Shape(dim=64), "wide": Shape(dim=512, layers=4, heads=8)}
ROWS = (256, 1_024, 4_096)
ITEMS = 100_000
BATCHES = 12
NEGATIVES = 1_024


def flops_per_token(shape: Shape, negatives: int) -> int:
    """Of learning from one event, forward and backward; the formula stands above.

    >>> flops_per_token(Shape(dim=64, layers=1, events=50), 1024)
    707712
    """
    layer = 24 * shape.dim**2 + 2 * (shape.events + 1) * shape.dim
    return 3 * (shape.layers * layer + 2 * negatives * shape.dim)


def tokens_per_s(shape: Shape, rows: int, *, device: str, batches: int = BATCHES) -> float:
    """Of the better of two epochs, after one to warm up."""
    rng = np.random.default_rng(0)
    histories = Histories.of_items(
        list(rng.integers(1, ITEMS, (rows * batches, shape.events + 1)))
    )  # fmt: skip
    torch.manual_seed(0)
    nothing = np.zeros(ITEMS + 1, np.int64)
    tower = AttributeBag(nothing, np.zeros(0, np.int64), shape.dim, ids=True)
    recipe = Recipe(
        rows=rows, epochs=3, patience=3, device=device, bfloat16=True,
        sampling=Sampling(uniform=NEGATIVES),
    )  # fmt: skip
    epochs = fit(PersonModel(shape), tower, histories, recipe, lambda: 0.0)
    return max(epoch.tokens / epoch.wall_s for epoch in epochs[1:])


def cuda_rows() -> list[Row]:
    """Tokens a second and share of the peak, of the shape that is served and of a wide one."""
    found = []
    for name, shape in SHAPES.items():
        tokens = Row(
            id=f"models.cuda_{name}_tokens_s", value=None, unit="tokens/s", better="higher",
            note="no CUDA device here",
        )  # fmt: skip
        share = msgspec.structs.replace(
            tokens, id=f"models.cuda_{name}_peak_share", unit="of bf16 peak"
        )
        if torch.cuda.is_available():
            tokens, share = _measured(shape, tokens, share)
        found += [tokens, share]
    return found


def _measured(shape: Shape, tokens: Row, share: Row) -> tuple[Row, Row]:
    speeds = {rows: tokens_per_s(shape, rows, device="cuda") for rows in ROWS}
    rows, best = max(speeds.items(), key=lambda of: of[1])
    card = torch.cuda.get_device_name()
    flops = flops_per_token(shape, NEGATIVES)
    peak = next((peak for name, peak in PEAKS.items() if name in card), None)
    note = (
        f"{card}, training in bfloat16, {rows} windows of {shape.events} events in a batch, dim "
        f"{shape.dim}, {shape.layers} layers, {NEGATIVES} negatives, {flops:,} operations a token"
    )
    told = msgspec.structs.replace(tokens, value=round(best), note=note)
    if peak is None:
        return told, msgspec.structs.replace(share, note=f"the peak of {card} is not known")
    part = round(best * flops / peak, 4)
    return told, msgspec.structs.replace(
        share, value=part, note=f"{note}, peak {peak / 1e12:.0f} TFLOP/s"
    )
