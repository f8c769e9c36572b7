"""Photo: a small convolutional network that learns to see what is written of a listing.

Photo and writing get vectors of one space, near where they agree: of category, colour and material
some are left out at random, so that a photo is near "red" and near "dress", whoever asks.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from heirloom.core.errors import ConfigError, InputError
from heirloom.core.listing import Listing
from heirloom.encoders.photo import HEIGHT, WIDTH

ATTRIBUTES = ("category", "colour", "material")
"""What a photo can show."""
_CHANNELS = (16, 32, 64, 128)
_FIRST_SCALE = 10.0
_MAX_SCALE = 50.0


@dataclass(frozen=True, slots=True)
class PhotoRecipe:
    """How to fit a photo network.

    Attributes:
        dim: of its vectors.
        rows: photos in a batch.
        epochs: all are run; there is nothing to stop by.
        learning_rate: of AdamW at its highest, after a tenth of the steps; then it falls to zero.
        drop: share of the written attributes left out at random.
        seed: of everything drawn.
    """

    dim: int = 64
    rows: int = 128
    epochs: int = 8
    learning_rate: float = 3e-3
    drop: float = 0.4
    seed: int = 0

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("dim", "rows", "epochs")}
        problems = [f"{name} is {n}; wanted at least 1" for name, n in counts.items() if n < 1]
        if not 0 <= self.drop < 1:
            problems.append(f"drop is {self.drop}; wanted 0 up to 1")
        if not 0 < self.learning_rate < 1:
            problems.append(f"learning_rate is {self.learning_rate}; wanted between 0 and 1")
        if problems:
            raise ConfigError("photo recipe", problems)


@dataclass(frozen=True, slots=True)
class PhotoEpoch:
    """What is told after each epoch: its number from 1, mean loss, photos, CPU seconds."""

    number: int
    loss: float
    photos: int
    cpu_s: float


class PhotoNet(nn.Module):
    """Four convolutions of stride two, then all that is left into a unit vector.

    Args:
        dim: of the vectors.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        channels = (3, *_CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in zip(channels, _CHANNELS, strict=False)
        )
        shrinks = 2 ** len(_CHANNELS)
        self.out = nn.Linear(_CHANNELS[-1] * (HEIGHT // shrinks) * (WIDTH // shrinks), dim)
        for convolution in self.convolutions:
            nn.init.kaiming_normal_(convolution.get_parameter("weight"), nonlinearity="relu")

    def forward(self, photos: Tensor) -> Tensor:
        """[photos, HEIGHT, WIDTH, 3] uint8 → [photos, dim] float32 of unit length."""
        seen = photos.permute(0, 3, 1, 2).float() / 127.5 - 1
        for convolution in self.convolutions:
            seen = functional.relu(convolution(seen))
        return functional.normalize(self.out(seen.flatten(1)), dim=-1)


class Writing(nn.Module):
    """Attributes as vectors of the photos' space; needed to train alone.

    Args:
        codes: [listings, ATTRIBUTES, steps] int64, codes of values, a category's with each of its
            beginnings; 0: nothing.
        dim: of the vectors.
    """

    def __init__(self, codes: Tensor, dim: int) -> None:
        super().__init__()
        self.codes: Tensor
        self.register_buffer("codes", codes, persistent=False)
        self.table = nn.Parameter(torch.randn(int(codes.max()) + 1, dim) * dim**-0.5)

    def forward(self, rows: Tensor, kept: Tensor) -> Tensor:
        """[rows] and [rows, ATTRIBUTES] bool, which attributes to read → [rows, dim], unit."""
        codes = self.codes[rows] * kept.unsqueeze(-1)
        found = functional.embedding(codes, self.table) * (codes > 0).unsqueeze(-1)
        return functional.normalize(found.sum((1, 2)), dim=-1)


def fit_photos(
    photos: NDArray[np.uint8],
    listings: Sequence[Listing],
    recipe: PhotoRecipe,
    progress: Callable[[PhotoEpoch], None] = lambda _: None,
) -> PhotoNet:
    """A network fitted to photos and what is written of their listings.

    Args:
        photos: [listings, HEIGHT, WIDTH, 3], as `encoders.photo.shrunk` makes them.
        listings: whose they are.
        recipe: how.
        progress: told after each epoch.

    Raises:
        InputError: if there is not one photo for each listing, or fewer than two have a category,
            colour or material to learn from.
    """
    if photos.shape != (len(listings), HEIGHT, WIDTH, 3):
        raise InputError(
            f"fit_photos: photos {photos.shape} came for {len(listings)} listings; wanted "
            f"({len(listings)}, {HEIGHT}, {WIDTH}, 3)"
        )
    codes = _codes(listings)
    rows = np.flatnonzero(codes.any(axis=(1, 2)))
    if len(rows) < 2:
        raise InputError(
            f"fit_photos: {len(rows)} of {len(listings)} listings have a category, colour or "
            "material; wanted two at least, better thousands"
        )
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    net, writing = PhotoNet(recipe.dim), Writing(torch.from_numpy(codes), recipe.dim)
    scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())
    weights = [*net.parameters(), *writing.parameters(), scale]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.01)
    batches = -(-len(rows) // recipe.rows)
    # Falls as a cosine after a short rise (arXiv 1608.03983, equation 5, without restarts).
    steps = recipe.epochs * batches
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, steps + 1, pct_start=0.1
    )
    for number in range(1, recipe.epochs + 1):
        cpu, total = time.process_time(), 0.0
        for some in np.array_split(rng.permutation(rows), batches):
            kept = _kept(codes[some], recipe.drop, rng)
            loss = _disagreement(net, writing, scale, some, _seen(photos[some], rng), kept)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
            total += loss.item()
        cpu = time.process_time() - cpu
        progress(PhotoEpoch(number, total / batches, len(rows), cpu))
    return net.eval()


def _codes(listings: Sequence[Listing]) -> NDArray[np.int64]:
    """[listings, ATTRIBUTES, steps] int64; the first step is the whole value."""
    known: dict[tuple[int, str], int] = {}
    found = []
    for listing in listings:
        for which, name in enumerate(ATTRIBUTES):
            steps = [step for step in getattr(listing, name).casefold().split("/") if step]
            values = ["/".join(steps[:i]) for i in range(len(steps), 0, -1)]
            found.append([known.setdefault((which, value), len(known) + 1) for value in values])
    codes = np.zeros((len(found), max((len(one) for one in found), default=1) or 1), np.int64)
    for row, one in zip(codes, found, strict=True):
        row[: len(one)] = one
    return codes.reshape(len(listings), len(ATTRIBUTES), codes.shape[1])


def _kept(codes: NDArray[np.int64], drop: float, rng: np.random.Generator) -> Tensor:
    """[rows, ATTRIBUTES] bool; where all that is written were left out, all is kept."""
    there = codes[:, :, 0] > 0
    kept = there & (rng.random(there.shape) >= drop)
    none = ~kept.any(axis=1)
    kept[none] = there[none]
    return torch.from_numpy(kept)


def _seen(photos: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
    """Half of the photos from the other side: a thing is the same in a mirror."""
    turned = rng.random(len(photos)) < 0.5
    seen = np.where(turned[:, None, None, None], photos[:, :, ::-1], photos)
    return torch.from_numpy(seen)


def _disagreement(
    net: PhotoNet,
    writing: Writing,
    scale: Tensor,
    rows: NDArray[np.int64],
    seen: Tensor,
    kept: Tensor,
) -> Tensor:
    """Softmax both ways, as CLIP (arXiv 2103.00020, figure 3), with all that agree as positives.

    Writing i agrees with photo j where j's listing has each attribute that i keeps: the mean over
    positives stands outside the logarithm (arXiv 2004.11362, equation 2).
    """
    of = torch.from_numpy(rows)
    whole = writing.codes[of, :, 0]
    same = whole.unsqueeze(1) == whole.unsqueeze(0)
    agree = (same | ~kept.unsqueeze(1)).all(2).float()
    cosines = writing(of, kept) @ net(seen).T
    logits = cosines * scale.exp().clamp(max=_MAX_SCALE)
    by_writing = (functional.log_softmax(logits, 1) * agree).sum(1) / agree.sum(1)
    by_photo = (functional.log_softmax(logits, 0) * agree).sum(0) / agree.sum(0)
    return -(by_writing.mean() + by_photo.mean()) / 2
