"""Asked: what is asked at each label of a batch, first as rows of the tower, then as vectors."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from heirloom.encoders.question import QuestionRows
from heirloom.encoders.training.person import Question


@dataclass(frozen=True, slots=True)
class AskedRows:
    """Rows of the tower that a batch asks with.

    Attributes:
        surfaces: [rows, places] int64, code of the surface asked.
        texts, anchors: [rows, places] int64, row of the tower; 0 for none.
        wishes: [rows, places] int64, row of `wished`.
        wished: [wishes, MOST_WISHED] int64, those that the batch asks with; 0 for none.
    """

    surfaces: Tensor
    texts: Tensor
    anchors: Tensor
    wishes: Tensor
    wished: Tensor

    @classmethod
    def of(cls, questions: QuestionRows, foretold: Tensor) -> "AskedRows":
        """What was asked at the events [rows, places] of `foretold`; -1: nothing."""
        there = foretold >= 0

        def column(values: Tensor) -> Tensor:
            return torch.where(there, values.long()[foretold], 0)

        surfaces, texts, anchors, wishes = (
            column(torch.from_numpy(values))
            for values in (
                questions.surfaces, questions.texts, questions.anchors, questions.wishes
            )
        )  # fmt: skip
        used, wishes = torch.unique(wishes, return_inverse=True)
        return cls(surfaces, texts, anchors, wishes, torch.from_numpy(questions.wished)[used])

    def to(self, device: torch.device) -> "AskedRows":
        """The same on a device."""
        return AskedRows(
            self.surfaces.to(device), self.texts.to(device), self.anchors.to(device),
            self.wishes.to(device), self.wished.to(device),
        )  # fmt: skip

    def rows(self) -> Tensor:
        """[asked] int64, all rows of the tower that are wanted."""
        return torch.cat([rows.flatten() for rows in (self.texts, self.anchors, self.wished)])

    def question(self, vectors: Tensor) -> Question:
        """What is asked, from the vectors [asked, dim] of `rows`."""
        sizes = [self.texts.numel(), self.anchors.numel(), self.wished.numel()]
        texts, anchors, wished = torch.split(vectors, sizes)
        there = (self.wished > 0).to(vectors.dtype).unsqueeze(-1)
        wished = (wished.view(*self.wished.shape, -1) * there).sum(1)
        wished = wished / there.sum(1).clamp(min=1)
        parts = [
            texts.view(*self.texts.shape, -1) * (self.texts > 0).unsqueeze(-1),
            functional.embedding(self.wishes, wished),
            anchors.view(*self.anchors.shape, -1) * (self.anchors > 0).unsqueeze(-1),
        ]
        return Question(self.surfaces, torch.stack(parts, dim=2))
