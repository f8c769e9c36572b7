"""Network: two hidden layers fitted by AdamW under the listwise softmax, in numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heirloom.ranking.examples import starts_of
from heirloom.ranking.ranker import Examples

Floats = NDArray[np.float32]
Shapes = tuple[tuple[int, ...], ...]

_WARM_UP = 100
_BETAS = (0.9, 0.999)
_LEAST_STEPS = 400
"""With few groups there are more epochs than asked for, up to so many steps."""
_GROUPS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Network:
    """One member: score = x · direct + out · relu(relu(x · first + bias) · second + bias).

    first [inputs, hidden], second [hidden, hidden], the rest [hidden]; direct [inputs]. `place`
    [1] is the weight of log(1 + position) in training.
    """

    direct: Floats
    first: Floats
    first_bias: Floats
    second: Floats
    second_bias: Floats
    out: Floats
    place: Floats

    def arrays(self) -> list[Floats]:
        """All of them, in the order of `shapes`."""
        return [getattr(self, name) for name in self.__slots__]


@dataclass(frozen=True, slots=True)
class Training:
    """Passes over the groups, groups a step, the highest rate, the share that weights shrink."""

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of some groups: x [rows, inputs], place [rows], target [rows] summing to 1 a group."""

    x: Floats
    place: Floats
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    target: Floats

    @classmethod
    def of(cls, x: Floats, examples: Examples) -> "Groups":
        """The groups of examples whose rows, as the network sees them, are x."""
        starts = starts_of(examples.groups)
        sizes = np.diff(np.append(starts, len(examples.groups)))
        total = np.repeat(np.add.reduceat(examples.gains, starts), sizes)
        return cls(
            x=x,
            place=np.log1p(examples.positions.astype(np.float32)),
            starts=starts,
            sizes=sizes,
            target=examples.gains / total,
        )

    def of_groups(self, groups: NDArray[np.intp]) -> "Groups":
        """Some groups, by number."""
        sizes = self.sizes[groups]
        starts = np.cumsum(sizes) - sizes
        rows = np.repeat(self.starts[groups] - starts, sizes) + np.arange(sizes.sum())
        return Groups(self.x[rows], self.place[rows], starts, sizes, self.target[rows])


def shapes(inputs: int, hidden: int) -> Shapes:
    """Of the arrays of a network, in their order."""
    square = (hidden, hidden)
    return (inputs,), (inputs, hidden), (hidden,), square, (hidden,), (hidden,), (1,)


def cut(flat: Floats, wanted: Shapes) -> list[Floats]:
    """Arrays of these shapes from their numbers in a row."""
    ends = np.cumsum([int(np.prod(shape)) for shape in wanted])
    parts = np.split(flat, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, wanted, strict=True)]


def first_weights(inputs: int, hidden: int, rng: np.random.Generator) -> list[Floats]:
    """He et al., "Delving deep into rectifiers", ICCV 2015, equation 10; the linear part is 0."""
    weights = [np.zeros(shape, np.float32) for shape in shapes(inputs, hidden)]
    for at, width in ((1, inputs), (3, hidden), (5, hidden)):
        drawn = rng.standard_normal(weights[at].shape) * np.sqrt(2 / width)
        weights[at] = drawn.astype(np.float32)
    return weights


def forward(weights: list[Floats], data: Groups) -> tuple[Floats, Floats, Floats]:
    """Scores [rows] with the place's part, and both hidden layers [rows, hidden]."""
    direct, first, first_bias, second, second_bias, out, place = weights
    one = np.maximum(data.x @ first + first_bias, 0)
    two = np.maximum(one @ second + second_bias, 0)
    return data.x @ direct + two @ out + data.place * place, one, two


def softmax(scores: Floats, data: Groups) -> Floats:
    """[rows] float32, each group's softmax of its scores."""
    top = np.repeat(np.maximum.reduceat(scores, data.starts), data.sizes)
    powers = np.exp(scores - top)
    chances: Floats = powers / np.repeat(np.add.reduceat(powers, data.starts), data.sizes)
    return chances


def gradient(weights: list[Floats], data: Groups) -> list[Floats]:
    """Of the mean over groups of -sum target · log softmax, by each array of the network."""
    scores, one, two = forward(weights, data)
    of_score = (softmax(scores, data) - data.target) / np.float32(len(data.starts))
    of_two = of_score[:, None] * weights[5] * (two > 0)
    of_one = (of_two @ weights[3].T) * (one > 0)
    return [
        of_score @ data.x,
        data.x.T @ of_one,
        of_one.sum(axis=0),
        one.T @ of_two,
        of_two.sum(axis=0),
        of_score @ two,
        (of_score @ data.place)[None],
    ]


def loss(weights: list[Floats], data: Groups) -> float:
    """Mean over groups of -sum target · log softmax."""
    groups, total = len(data.starts), 0.0
    for at in range(0, groups, _GROUPS_AT_ONCE):
        some = data.of_groups(np.arange(at, min(at + _GROUPS_AT_ONCE, groups)))
        chances = np.maximum(softmax(forward(weights, some)[0], some), 1e-30)
        total -= float((some.target * np.log(chances)).sum(dtype=np.float64))
    return total / groups


def fitted(
    learn: Groups, judge: Groups, hidden: int, settings: Training, rng: np.random.Generator
) -> Network:
    """A network fitted on `learn`, as it was after its best epoch on `judge`."""
    weights = first_weights(learn.x.shape[1], hidden, rng)
    steps = _AdamW(weights, settings)
    batches = -(-len(learn.starts) // settings.batch)
    epochs = max(settings.epochs, -(-_LEAST_STEPS // batches))
    chosen, least = [each.copy() for each in weights], np.inf
    for epoch in range(epochs):
        order = rng.permutation(len(learn.starts))
        for i, part in enumerate(np.array_split(order, batches)):
            done = (epoch * batches + i) / (epochs * batches)
            steps.step(gradient(weights, learn.of_groups(part)), done)
        came_to = loss(weights, judge)
        if came_to < least:
            chosen, least = [each.copy() for each in weights], came_to
    return Network(*chosen)


class _AdamW:
    """Steps on a list of arrays, in place."""

    def __init__(self, weights: list[Floats], settings: Training) -> None:
        self._weights = weights
        self._settings = settings
        self._mean = [np.zeros_like(each) for each in weights]
        self._square = [np.zeros_like(each) for each in weights]
        self._done = 0

    def step(self, gradient: list[Floats], share_done: float) -> None:
        """One step down the gradient; `share_done` of all steps lie behind."""
        self._done += 1
        rate = self._settings.learning_rate * min(1, self._done / _WARM_UP) * (1 - share_done)
        unbiased = [1 - beta**self._done for beta in _BETAS]
        for i, slope in enumerate(gradient):
            self._mean[i] += (1 - _BETAS[0]) * (slope - self._mean[i])
            self._square[i] += (1 - _BETAS[1]) * (slope**2 - self._square[i])
            self._weights[i] *= 1 - rate * self._settings.weight_decay
            stretch = np.sqrt(self._square[i] / unbiased[1]) + 1e-8
            self._weights[i] -= rate * (self._mean[i] / unbiased[0]) / stretch
