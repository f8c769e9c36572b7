"""Sentence: a published sentence transformer as an ONNX graph, and distilled to a table of tokens.

The graph is BERT (arXiv 1810.04805: layers with the norm after each sum, GELU) with its mean over
tokens and unit length, node by node from the weights: nothing is traced, no model library asked.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from heirloom.core.errors import BundleError, ConfigError
from heirloom.encoders.sentence import SentenceEncoder, StaticTable
from heirloom.encoders.training.graph import Graph

Weights = Mapping[str, NDArray[Any]]
SIF = 1e-4
"""`a` of smooth inverse frequency (Arora et al., ICLR 2017, equation 3)."""


class Bert(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's config.json says of its shape; the rest is in its weights."""

    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    layer_norm_eps: float
    model_type: str = "bert"
    position_embedding_type: str = "absolute"

    def problems(self) -> list[str]:
        """Why it cannot be exported."""
        wanted = {
            "hidden_act": "gelu", "model_type": "bert", "position_embedding_type": "absolute"
        }  # fmt: skip
        return [
            f"{name} is {getattr(self, name)!r}; only {value!r} is known here"
            for name, value in wanted.items()
            if getattr(self, name) != value
        ]


def sentence_graph(weights: Weights, shape: Bert) -> bytes:
    """A BERT model with mean pooling and unit length as ONNX.

    Inputs: tokens [texts, tokens] int64; read [texts, tokens] float32, 1 for a text's tokens and 0
    for what fills it up. Output: vectors [texts, dim] float32 of unit length.

    Args:
        weights: as the model's safetensors file names them.
        shape: its config.json.

    Raises:
        ConfigError: if the model is of another kind.
        BundleError: if a weight is missing.
    """
    if problems := shape.problems():
        raise ConfigError("sentence encoder", problems)
    try:
        return _graph(weights, shape)
    except KeyError as error:
        raise BundleError(
            f"sentence encoder: the weight {error} is missing; {len(weights)} came, such as "
            f"{[*weights][:2]}. Is it a BERT model's file, without a prefix?"
        ) from error


def _graph(weights: Weights, shape: Bert) -> bytes:
    graph = Graph()
    zero, one = graph.weight([0]), graph.weight([1])
    counted = graph.op("Slice", graph.op("Shape", "tokens"), one, graph.weight([2]))
    named = "embeddings.{}_embeddings.weight"
    # All is one sentence: each token is of the first of two kinds.
    places = weights[named.format("position")] + weights[named.format("token_type")][:1]
    stream = graph.op(
        "Add",
        graph.op("Gather", graph.weight(weights[named.format("word")]), "tokens"),
        graph.op("Slice", graph.weight(places), zero, counted),
    )
    stream = _norm(graph, weights, shape, "embeddings.LayerNorm", stream)
    masked = graph.op("Unsqueeze", "read", graph.weight([1, 2]))
    masked = graph.op("Mul", graph.op("Sub", masked, graph.weight(1.0)), graph.weight(1e9))
    for layer in range(shape.num_hidden_layers):
        stream = _layer(graph, weights, shape, f"encoder.layer.{layer}", stream, masked)
    total = graph.op("MatMul", graph.op("Unsqueeze", "read", one), stream)
    # The mean over tokens has the direction of their sum, and only that is kept.
    out = graph.unit(graph.op("Squeeze", total, one))
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("tokens", TensorProto.INT64, ["texts", "tokens"]),
        ("read", TensorProto.FLOAT, ["texts", "tokens"]),
    ]
    return graph.bytes("sentence", inputs, out, ["texts", places.shape[1]])


def _layer(graph: Graph, weights: Weights, shape: Bert, name: str, stream: str, masked: str) -> str:
    """One layer: attention and a fed part, each added to what came and brought to a norm."""
    heads = shape.num_attention_heads
    width = weights[f"{name}.attention.self.query.weight"].shape[0] // heads

    def part(which: str, *order: int) -> str:
        made = _linear(graph, weights, f"{name}.attention.self.{which}", stream)
        split = graph.op("Reshape", made, graph.weight([0, 0, heads, width]))
        return graph.op("Transpose", split, perm=list(order))

    query, key = part("query", 0, 2, 1, 3), part("key", 0, 2, 3, 1)
    value = part("value", 0, 2, 1, 3)
    logits = graph.op("Mul", graph.op("MatMul", query, key), graph.weight(width**-0.5))
    shares = graph.op("Softmax", graph.op("Add", logits, masked), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
    mixed = graph.op("Reshape", mixed, graph.weight([0, 0, heads * width]))
    attended = _linear(graph, weights, f"{name}.attention.output.dense", mixed)
    stream = graph.op("Add", stream, attended)
    stream = _norm(graph, weights, shape, f"{name}.attention.output.LayerNorm", stream)
    wide = _linear(graph, weights, f"{name}.intermediate.dense", stream)
    bent = graph.op("Erf", graph.op("Div", wide, graph.weight(2**0.5)))
    gelu = graph.op("Mul", wide, graph.op("Add", bent, graph.weight(1.0)))
    gelu = graph.op("Mul", gelu, graph.weight(0.5))
    fed = graph.op("Add", stream, _linear(graph, weights, f"{name}.output.dense", gelu))
    return _norm(graph, weights, shape, f"{name}.output.LayerNorm", fed)


def _linear(graph: Graph, weights: Weights, name: str, x: str) -> str:
    product = graph.op("MatMul", x, graph.weight(weights[f"{name}.weight"].T))
    return graph.op("Add", product, graph.weight(weights[f"{name}.bias"]))


def _norm(graph: Graph, weights: Weights, shape: Bert, name: str, x: str) -> str:
    scale, shift = (graph.weight(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=shape.layer_norm_eps)


def distilled(encoder: SentenceEncoder, dim: int = 128) -> StaticTable:
    """A table of the encoder's tokens: each read alone, on its main axes, frequent ones shorter.

    The axes are the principal components of all tokens, after Model2Vec. A token counts by
    a / (a + p) (Arora et al., ICLR 2017, equation 3), with p by Zipf's law from its place in the
    vocabulary, which word pieces have in the order of their frequency.

    Args:
        encoder: to be distilled; it runs once over its vocabulary.
        dim: of the table.

    Raises:
        ConfigError: if `dim` is more than the encoder's, or than there are tokens.
    """
    read = encoder.vocabulary()
    known = read.any(axis=1)
    if not 1 <= dim <= min(encoder.dim, int(known.sum())):
        raise ConfigError(
            "sentence table",
            [f"dim is {dim}; wanted 1 … {min(encoder.dim, int(known.sum()))}"],
        )
    centred = (read[known] - read[known].mean(axis=0)).astype(np.float64)
    # Of the covariance and not of the tokens: 384 by 384 and not 30,000 by 384.
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :dim]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(dim)])
    ranks = np.arange(1, int(known.sum()) + 1)
    frequency = (1 / ranks) / (1 / ranks).sum()
    table = np.zeros((len(read), dim), np.float32)
    table[known] = (centred @ axes) * (SIF / (SIF + frequency))[:, None]
    return StaticTable(table, encoder.tokenizer)
