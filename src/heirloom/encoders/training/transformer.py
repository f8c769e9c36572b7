"""Transformer: causal layers over a person's events, the earliest first.

The layer is LiGR's: pre-norm attention and a SwiGLU feed-forward part, each let into the residual
stream through a gate of the stream itself (Borisyuk et al., "From Features to Transformers", 2025,
as used by eSASRec, Tikhonovich et al., RecSys 2025). Padding stands on the right: a causal layer
never looks there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """One gated layer: [rows, events, dim] → the same shape.

    Args:
        dim: width, a multiple of `heads`.
        heads: of attention.
        dropout: on what each part adds to the stream.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.attention_gate = nn.Linear(dim, dim)
        self.forward_norm = nn.LayerNorm(dim)
        self.forward_in = nn.Linear(dim, 4 * dim)
        self.forward_out = nn.Linear(2 * dim, dim)
        self.forward_gate = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, stream: Tensor, asking: Tensor | None = None) -> Tensor:
        """[rows, events, dim]; each event sees itself and those before it.

        Where `asking` [rows, events, dim] is given, that is what looks at the stream, and is
        added to.
        """
        attended = self.dropout(self._attend(stream, asking))
        stream = stream if asking is None else asking
        stream = stream + torch.sigmoid(self.attention_gate(stream)) * attended
        gate, value = self.forward_in(self.forward_norm(stream)).chunk(2, dim=-1)
        fed = self.dropout(self.forward_out(self.dropout(functional.silu(gate) * value)))
        out: Tensor = stream + torch.sigmoid(self.forward_gate(stream)) * fed
        return out

    def _attend(self, stream: Tensor, asking: Tensor | None) -> Tensor:
        rows, events, dim = stream.shape
        made = self.query_key_value(self.attention_norm(stream))
        split = made.view(rows, events, 3, self.heads, dim // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        if asking is not None:
            weight, bias = self.query_key_value.weight[:dim], self.query_key_value.bias[:dim]
            made = functional.linear(self.attention_norm(asking), weight, bias)
            query = made.view(rows, events, self.heads, dim // self.heads).transpose(1, 2)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.attention_out(attended.transpose(1, 2).reshape(rows, events, dim))
        return out


def start(module: nn.Module) -> None:
    """Small weights and no biases: at the start the stream passes through nearly unchanged."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=0.5 / part.in_features**0.5)
            nn.init.zeros_(part.bias)
