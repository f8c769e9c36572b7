"""Objective: a batch of windows into one loss, with its negatives drawn.

Negatives are the same for all rows of a batch, so each item's vector is computed once. Uniform ones
are the ground; the batch's own targets, a queue of earlier ones and mined ones are added by
`Sampling`. Where listings come and go, one that was not live when a row's next event happened does
not count against it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from heirloom.core.errors import ConfigError, ShapeError
from heirloom.encoders.history import Histories
from heirloom.encoders.question import QuestionRows
from heirloom.encoders.training.asked import AskedRows
from heirloom.encoders.training.losses import (
    accidental_hits,
    best_logits,
    corrected_logq_softmax,
    mixture_log_q,
    sampled_softmax,
)
from heirloom.encoders.training.negatives import Queue, hardest
from heirloom.encoders.training.person import PersonModel
from heirloom.encoders.training.processes import Processes
from heirloom.encoders.training.towers import Tower
from heirloom.encoders.training.windows import Batch, Windows, batches

_POOL = 8
"""Mined negatives are the likeliest of so many times their number, drawn evenly."""
_USUAL_TARGETS = 512
"""Targets in a batch, about: how much of the negatives' mixture comes from the batch itself."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which items a positive is set against.

    Attributes:
        uniform: so many drawn evenly from all items.
        in_batch: the other targets of the batch too, with the corrected logQ.
        queue: so many targets of earlier batches too, as the vectors they had then, after the
            first epoch; needs `in_batch`.
        mined: so many too that the model takes for likely, after the second epoch.
        ahead: besides the next event so many after it are positives, the k-th with weight
            `fade`^k. Where order within a day is chance, the next but one is as good a witness.
        fade: see `ahead`.
        weights: worth of a positive by code of its kind; none given: all 1. At 0 it is no label.
    """

    uniform: int = 1024
    in_batch: bool = False
    queue: int = 0
    mined: int = 0
    ahead: int = 0
    fade: float = 0.5
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("uniform", "queue", "mined", "ahead")}
        problems = [f"{name} is {n}; wanted at least 0" for name, n in counts.items() if n < 0]
        if self.uniform < 1:
            problems.append(f"uniform is {self.uniform}; wanted at least 1, as the ground")
        if self.queue and not self.in_batch:
            problems.append("queue is set without in_batch; it holds the batches' targets")
        if not 0 <= self.fade <= 1:
            problems.append(f"fade is {self.fade}; wanted 0 … 1")
        if problems:
            raise ConfigError("sampling", problems)


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """When each item could be found: from `begin` on, before `end`; [rows] int64, ms."""

    begin: NDArray[np.int64]
    end: NDArray[np.int64]


class Objective:
    """The loss of a batch under a model and a tower.

    Args:
        model, tower: as they are fitted.
        histories: what the batches are cut from.
        sampling: which negatives.
        lifetimes: when items were live; None: always.
        questions: what was asked at each event of `histories`, for a model that reads it.

    Raises:
        ShapeError: if lifetimes are not one for each row of the tower, questions not one for each
            event, or the model reads none.
    """

    def __init__(
        self,
        model: PersonModel,
        tower: Tower,
        histories: Histories,
        sampling: Sampling,
        lifetimes: Lifetimes | None = None,
        questions: QuestionRows | None = None,
    ) -> None:
        if lifetimes is not None and len(lifetimes.begin) != tower.rows:
            raise ShapeError(f"lifetimes of {len(lifetimes.begin)} items; wanted {tower.rows}")
        if model.shape.questions != (questions is not None):
            raise ShapeError(
                f"training: {model.shape} and questions {'came' if questions else 'lacking'}; a "
                "model reads questions if its shape says so, and then they must be given"
            )
        if questions is not None and len(questions) != len(histories.items):
            raise ShapeError(f"{len(questions)} questions of {len(histories.items)} events")
        self._model, self._tower, self._sampling = model, tower, sampling
        self._questions = questions
        self._items = tower.rows if questions is None else questions.items
        device = model.places.device
        self._t = torch.from_numpy(histories.t).to(device)
        self._kinds = torch.from_numpy(histories.kinds.astype(np.int64)).to(device)
        self._lifetimes: tuple[Tensor, Tensor] | None = None
        if lifetimes is not None:
            begin, end = torch.from_numpy(lifetimes.begin), torch.from_numpy(lifetimes.end)
            self._lifetimes = begin.to(device), end.to(device)
        counts = np.bincount(histories.items, minlength=tower.rows)
        share = torch.from_numpy(counts / max(len(histories.items), 1)).float()
        drawn_again = sampling.queue + _USUAL_TARGETS if sampling.in_batch else 0
        log_q = mixture_log_q(share.log(), drawn_again, sampling.uniform, self._items - 1)
        self._log_q = log_q.to(device)
        self._queue = Queue(sampling.queue)
        self._processes = Processes.here()

    def begin(self) -> None:
        """Forget earlier batches, before an epoch: it is then the same after an interruption."""
        self._queue.clear()

    def batches(
        self, windows: Windows, rows: int, rng: np.random.Generator, *, reverse: float
    ) -> Iterator[Batch]:
        """Windows in batches, as the model wants them."""
        return batches(
            windows, rows, rng, reverse=reverse, from_nothing=self._questions is not None
        )

    def __call__(self, batch: Batch, rng: np.random.Generator, epoch: int) -> Tensor:
        """The mean loss of the batch's labels; of several processes each gives its share of it.

        Args:
            batch: on the CPU; it is moved to where the model is.
            rng: draws the negatives.
            epoch: from 1; queue and mining wait for their own.
        """
        device, part = self._model.places.device, self._processes.part()
        whole, targets = batch.targets.to(device), batch.targets[part].to(device)
        events, foretold = batch.events.taken(part).to(device), batch.foretold[part]
        uniform = self._draw(rng, self._sampling.uniform).to(device)
        asked = None
        if self._questions is not None:
            asked = AskedRows.of(self._questions, foretold).to(device)
        after = whole if self._sampling.in_batch else targets
        read, drawn, vectors, answered = self._vectors(
            events.items.flatten(), uniform, after.flatten(),
            uniform[:0] if asked is None else asked.rows(),
        )  # fmt: skip
        question = asked and asked.question(answered)
        people = self._model(read.view(*events.items.shape, self._tower.dim), events, question)
        vectors = vectors.view(*after.shape, self._tower.dim)
        there = targets > 0
        people, label = people[there], foretold.to(device)[there]
        negatives = [(uniform, drawn)]
        if self._sampling.in_batch:
            negatives += self._again(whole[whole > 0], vectors[whole > 0], epoch)
            vectors = vectors[part]
        if self._sampling.mined and epoch > 2:
            negatives.append(self._mined(people, rng))
        losses = self._losses(
            people, label, self._ahead(targets, there), self._ahead(vectors, there),
            torch.cat([items for items, _ in negatives]),
            torch.cat([of for _, of in negatives]),
        )  # fmt: skip
        worth = self._weights(self._ahead(targets, there), label).to(losses.dtype)
        of_all = self._weights(self._ahead(whole, whole > 0), batch.foretold.to(device)[whole > 0])
        return (losses * worth).sum() / of_all.sum().clamp(min=1e-6)

    def _vectors(self, *rows: Tensor) -> tuple[Tensor, ...]:
        """[..., dim] of each of several [...] rows of the tower; each row is computed once."""
        every, places = torch.unique(torch.cat(rows), return_inverse=True)
        vectors = functional.embedding(places, self._tower(every))
        return torch.split(vectors, [len(some) for some in rows])

    def _draw(self, rng: np.random.Generator, items: int) -> Tensor:
        return torch.from_numpy(rng.integers(1, self._items, items))

    def _ahead(self, of: Tensor, there: Tensor) -> Tensor:
        """[1 + ahead, labels, …], what [rows, places, …] says of each label and of those after it.

        0 where the window has ended.
        """
        told = [of[there]]
        for steps in range(1, self._sampling.ahead + 1):
            later = torch.zeros_like(of)
            later[:, : max(of.shape[1] - steps, 0)] = of[:, steps:]
            told.append(later[there])
        return torch.stack(told)

    def _again(self, items: Tensor, vectors: Tensor, epoch: int) -> list[tuple[Tensor, Tensor]]:
        """The batch's own targets, and those of earlier batches, as negatives."""
        queued = self._queue.items_and_vectors(items.device) if epoch > 1 else []
        self._queue.put(items, vectors)
        return [(items, vectors), *queued]

    def _mined(self, people: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The likeliest of a pool drawn evenly, with their vectors, to be learned through."""
        pool = torch.unique(self._draw(rng, _POOL * self._sampling.mined)).to(people.device)
        with torch.no_grad():
            logits = best_logits(people, self._tower(pool))
            none = torch.full((1, len(pool)), -torch.inf, device=pool.device, dtype=logits.dtype)
            likely = self._processes.greatest(torch.cat([none, logits]).amax(dim=0, keepdim=True))
        items = pool[hardest(likely, self._sampling.mined)]
        return items, self._tower(items)

    def _losses(
        self,
        people: Tensor,
        label: Tensor,
        positives: Tensor,
        positive_vectors: Tensor,
        negatives: Tensor,
        negative_vectors: Tensor,
    ) -> Tensor:
        """[1 + ahead, labels], of each positive."""
        scale = self._model.scale()
        positive = scale * (people * positive_vectors.unsqueeze(-2)).sum(-1).amax(-1)
        negative = scale * best_logits(people, negative_vectors)
        mask = self._live(negatives, label)
        for items in positives:
            mask = mask & accidental_hits(negatives, items)
        if not self._sampling.in_batch:
            return sampled_softmax(positive, negative, mask)
        log_q = self._log_q
        return corrected_logq_softmax(
            positive, negative, mask, log_q[negatives], log_q[positives]
        )  # fmt: skip

    def _live(self, negatives: Tensor, label: Tensor) -> Tensor:
        """[labels, negatives] bool, whether each could be found when the label happened."""
        if self._lifetimes is None:
            return torch.ones(1, 1, dtype=torch.bool, device=negatives.device)
        begin, end = (moments[negatives] for moments in self._lifetimes)
        t = self._t[label].unsqueeze(1)
        return (begin <= t) & (t < end)

    def _weights(self, positives: Tensor, label: Tensor) -> Tensor:
        """[1 + ahead, labels], worth of each positive; 0 where there is none."""
        steps = torch.arange(len(positives), device=positives.device).unsqueeze(1)
        weights = self._sampling.fade**steps * (positives > 0)
        if self._sampling.weights:
            worth = torch.tensor(self._sampling.weights, device=positives.device)
            weights = weights * worth[self._kinds[label]]
        return weights
