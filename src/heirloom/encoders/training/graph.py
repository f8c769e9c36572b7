"""Graph: fitted modules as ONNX, node by node.

Written by hand and not traced: the served graph may then do less than the trained one (the last
layer asks for the last event alone), and no exporter's version changes a model's bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from heirloom.core.errors import ConfigError
from heirloom.encoders.photo import HEIGHT, WIDTH
from heirloom.encoders.question import ASKED
from heirloom.encoders.tokens import NUMBERS, PARTS
from heirloom.encoders.training.listing import ListingTower
from heirloom.encoders.training.person import PersonModel
from heirloom.encoders.training.photo import PhotoNet
from heirloom.encoders.training.transformer import Layer

OPSET = 17
IR_VERSION = 8
"""Old enough for every onnxruntime of the last years."""


class Graph:
    """Nodes and weights as they are added; each call gives the name of what it computes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output, the others being NAME_1 and on."""
        name = f"{kind.lower()}{len(self._nodes)}"
        names = [name, *(f"{name}_{i}" for i in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return name

    def weight(self, value: Tensor | NDArray[Any] | Sequence[int] | float) -> str:
        """Add a constant: weights float32, indices int64."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int64)
        name = f"weight{len(self._weights)}"
        self._weights[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def linear(self, x: str, part: nn.Linear) -> str:
        """The product with the weights, and the bias."""
        product = self.op("MatMul", x, self.weight(part.weight.T))
        return self.op("Add", product, self.weight(part.bias))

    def norm(self, x: str, part: nn.LayerNorm) -> str:
        """Layer norm over the last dimension."""
        scale, shift = self.weight(part.weight), self.weight(part.bias)
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=part.eps)

    def unit(self, x: str) -> str:
        """Rows brought to unit length; zeros stay zeros."""
        length = self.op("ReduceL2", x, axes=[-1], keepdims=1)
        return self.op("Div", x, self.op("Max", length, self.weight(1e-12)))

    def bytes(
        self,
        name: str,
        inputs: Sequence[tuple[str, int, list[str | int]]],
        output: str,
        shape: Sequence[str | int],
    ) -> bytes:
        """The checked model; inputs as (name, TensorProto type, shape)."""
        graph = helper.make_graph(
            [*self._nodes, helper.make_node("Identity", [output], ["vectors"])],
            name,
            [helper.make_tensor_value_info(name, type_, of) for name, type_, of in inputs],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, shape)],
            initializer=list(self._weights.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        encoded: bytes = model.SerializeToString(deterministic=True)
        return encoded


def person_graph(*members: PersonModel) -> bytes:
    """A person encoder as ONNX, of one model or of several side by side.

    Several read an item as their vectors of it one after another, and answer in the same way: the
    dot product with an item is then the sum of their logits, and ranks as the mean of their
    log-softmaxes does (deep ensembles, Lakshminarayanan et al., NeurIPS 2017).

    Inputs: items [people, events, dim] float32; kinds, gaps, surfaces [people, events] int64, right
    of a person's last event anything; last [people] int64, the index of that event, -1 for none.
    Where questions are read: asked_surface [people] int64; asked [people, ASKED, dim] float32.
    Output: vectors [people, vectors, dim] float32. `dim` is the sum of the members'.

    Raises:
        ConfigError: if several have more than one vector each, unit length, or questions.
    """
    shapes = [model.shape for model in members]
    if len(shapes) > 1 and any(
        shape.vectors > 1 or shape.unit or shape.questions for shape in shapes
    ):
        problem = (
            f"{len(shapes)} side by side are {shapes}; wanted one vector of free length each, and "
            "no questions"
        )
        raise ConfigError("person encoder", [problem])
    graph = Graph()
    zero, one, two = (graph.weight([n]) for n in range(3))
    events = graph.op("Slice", graph.op("Shape", "items"), one, two)
    steps = graph.op("Range", *(graph.op("Squeeze", of, zero) for of in (zero, events, one)))
    window = _Window(events, steps, graph.op("Unsqueeze", "last", one))
    begin, answers = 0, []
    for model in members:
        ends = [graph.weight([n]) for n in (begin, begin + model.shape.dim)]
        answers.append(_answer(graph, model, graph.op("Slice", "items", *ends, two), window))
        begin += model.shape.dim
    out = graph.op("Concat", *answers, axis=-1)
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("items", TensorProto.FLOAT, ["people", "events", begin])
    ]
    inputs += [(name, TensorProto.INT64, ["people", "events"]) for name in _CODES]
    inputs.append(("last", TensorProto.INT64, ["people"]))
    if shapes[0].questions:
        inputs.append(("asked_surface", TensorProto.INT64, ["people"]))
        inputs.append(("asked", TensorProto.FLOAT, ["people", len(ASKED), begin]))
    return graph.bytes("person", inputs, out, ["people", shapes[0].vectors, begin])


_CODES = ("kinds", "gaps", "surfaces")


@dataclass(frozen=True, slots=True)
class _Window:
    """Names of what all members need: how many events, 0 … events - 1, and [people, 1] the last."""

    events: str
    steps: str
    index: str


def _answer(graph: Graph, model: PersonModel, items: str, window: _Window) -> str:
    """[people, vectors, dim], one model's vectors of people whose items it reads."""
    shape, zero, one = model.shape, graph.weight([0]), graph.weight([1])
    stream = graph.op("Mul", items, graph.weight(float(shape.dim) ** 0.5))
    places = graph.op("Slice", graph.weight(model.places), zero, window.events)
    stream = graph.op("Add", stream, places)
    for name in _CODES:
        added = graph.op("Gather", graph.weight(getattr(model, name)), name)
        stream = graph.op("Add", stream, added)
    last = window.index
    events, steps = window.events, window.steps
    if shape.questions:
        stream, last = _after_nobody(graph, model, stream), graph.op("Add", last, one)
        events = graph.op("Add", events, one)
        steps = graph.op("Range", *(graph.op("Squeeze", of, zero) for of in (zero, events, one)))
    causal = graph.op("LessOrEqual", steps, graph.op("Unsqueeze", steps, one))
    *earlier, last_layer = model.layers
    for layer in earlier:
        stream = _layer(graph, layer, stream, stream, causal)
    asking = graph.op("GatherND", stream, last, batch_dims=1)
    if shape.questions:
        asking = _asking(graph, model, asking)
    asking = graph.op("Unsqueeze", asking, one)
    reached = graph.op("LessOrEqual", steps, last)
    seen = graph.op("Unsqueeze", reached, graph.weight([1, 2]))
    out = _layer(graph, last_layer, asking, stream, seen)
    out = graph.norm(out, model.norm)
    if model.heads is not None:
        spread = graph.linear(out, model.heads)
        split = graph.op("Reshape", spread, graph.weight([0, shape.vectors, shape.dim]))
        out = graph.op("Add", out, split)
    return graph.unit(out) if shape.unit else out


def _after_nobody(graph: Graph, model: PersonModel, stream: str) -> str:
    """The stream [people, events, dim] with the vector of nobody before its first event."""
    people = graph.op("Slice", graph.op("Shape", stream), *map(graph.weight, ([0], [1])))
    shape = graph.op("Concat", people, graph.weight([1, model.shape.dim]), axis=0)
    nobody = graph.op("Expand", graph.weight(model.nobody), shape)
    return graph.op("Concat", nobody, stream, axis=1)


def _asking(graph: Graph, model: PersonModel, stream: str) -> str:
    """The places that ask [people, dim], with what is asked."""
    shares = graph.op("Gather", graph.weight(model.shares), "asked_surface")
    split = graph.op("Split", shares, graph.weight([1, len(ASKED)]), outputs=2, axis=1)
    counted = graph.op("Unsqueeze", f"{split}_1", graph.weight([1]))
    summed = graph.op("Squeeze", graph.op("MatMul", counted, "asked"), graph.weight([1]))
    asked = graph.op("Mul", summed, graph.weight(float(model.shape.dim) ** 0.5))
    surface = graph.op("Gather", graph.weight(model.asked), "asked_surface")
    asking = graph.op("Add", graph.op("Mul", stream, split), asked)
    return graph.op("Add", asking, surface)


def _layer(graph: Graph, layer: nn.Module, asking: str, stream: str, seen: str) -> str:
    """One LiGR layer for the places that ask, over all the stream as far as it is seen."""
    if not isinstance(layer, Layer):
        raise TypeError(f"person_graph: a layer is {type(layer).__name__}; wanted Layer")
    attended = _attention(graph, layer, asking, stream, seen)
    gate = graph.op("Sigmoid", graph.linear(asking, layer.attention_gate))
    asking = graph.op("Add", asking, graph.op("Mul", gate, attended))
    fed = graph.linear(graph.norm(asking, layer.forward_norm), layer.forward_in)
    left = graph.op("Split", fed, outputs=2, axis=-1)
    swish = graph.op("Mul", left, graph.op("Sigmoid", left))
    fed = graph.linear(graph.op("Mul", swish, f"{left}_1"), layer.forward_out)
    gate = graph.op("Sigmoid", graph.linear(asking, layer.forward_gate))
    return graph.op("Add", asking, graph.op("Mul", gate, fed))


def _attention(graph: Graph, layer: Layer, asking: str, stream: str, seen: str) -> str:
    weight, bias = layer.query_key_value.weight, layer.query_key_value.bias
    dim = weight.shape[1]
    width = dim // layer.heads
    asking, stream = (graph.norm(x, layer.attention_norm) for x in (asking, stream))

    def part(x: str, which: int, order: Sequence[int]) -> str:
        rows = slice(which * dim, (which + 1) * dim)
        made = graph.op("MatMul", x, graph.weight(weight[rows].T))
        made = graph.op("Add", made, graph.weight(bias[rows]))
        split = graph.op("Reshape", made, graph.weight([0, 0, layer.heads, width]))
        return graph.op("Transpose", split, perm=list(order))

    query, key = part(asking, 0, (0, 2, 1, 3)), part(stream, 1, (0, 2, 3, 1))
    value = part(stream, 2, (0, 2, 1, 3))
    logits = graph.op("Mul", graph.op("MatMul", query, key), graph.weight(width**-0.5))
    logits = graph.op("Where", seen, logits, graph.weight(-1e9))
    mixed = graph.op("MatMul", graph.op("Softmax", logits, axis=-1), value)
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    joined = graph.op("Reshape", mixed, graph.weight([0, 0, dim]))
    return graph.linear(joined, layer.attention_out)


def listing_graph(tower: ListingTower) -> bytes:
    """A listing tower as ONNX.

    Inputs: tokens [listings, tokens] int64; weights [listings, PARTS, tokens] float32, rows of a
    part's tokens summing to 1; numbers [listings, NUMBERS] float32; of each modality
    NAME_vectors [listings, its dim] float32, zeros where there is none.
    Output: vectors [listings, dim] float32 of unit length.
    """
    graph, parts = Graph(), len(PARTS) + len(tower.read)
    found = graph.op("Gather", graph.weight(tower.table), "tokens")
    means = graph.op("MatMul", "weights", found)
    if tower.read:
        beside = [
            graph.op("MatMul", f"{read.name}_vectors", graph.weight(projection))
            for read, projection in zip(tower.read, tower.projections, strict=True)
        ]
        raised = [graph.op("Unsqueeze", one, graph.weight([1])) for one in beside]
        means = graph.op("Concat", means, *raised, axis=1)
    weighed = graph.op("Mul", means, graph.weight(tower.weights.unsqueeze(-1)))
    priced = graph.linear("numbers", tower.numbers)
    flat = graph.op("Reshape", weighed, graph.weight([0, parts * tower.dim]))
    wide = graph.linear(graph.op("Concat", flat, priced, axis=1), tower.wide)
    half = graph.op("Mul", wide, graph.weight(0.5))
    bent = graph.op("Erf", graph.op("Mul", wide, graph.weight(0.5**0.5)))
    gelu = graph.op("Mul", half, graph.op("Add", bent, graph.weight(1.0)))
    deep = graph.linear(gelu, tower.narrow)
    summed = graph.op("ReduceSum", weighed, graph.weight([1]), keepdims=0)
    whole = graph.op("Add", graph.op("Add", summed, priced), deep)
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("tokens", TensorProto.INT64, ["listings", "tokens"]),
        ("weights", TensorProto.FLOAT, ["listings", len(PARTS), "tokens"]),
        ("numbers", TensorProto.FLOAT, ["listings", len(NUMBERS)]),
    ]
    inputs += [
        (f"{read.name}_vectors", TensorProto.FLOAT, ["listings", read.dim]) for read in tower.read
    ]
    return graph.bytes("listing", inputs, graph.unit(whole), ["listings", tower.dim])


def photo_graph(net: PhotoNet) -> bytes:
    """A photo network as ONNX.

    Input: photos [photos, HEIGHT, WIDTH, 3] uint8.
    Output: vectors [photos, dim] float32 of unit length.
    """
    graph = Graph()
    seen = graph.op("Transpose", "photos", perm=[0, 3, 1, 2])
    seen = graph.op("Cast", seen, to=TensorProto.FLOAT)
    seen = graph.op("Sub", graph.op("Div", seen, graph.weight(127.5)), graph.weight(1.0))
    for part in net.convolutions:
        weights = (
            graph.weight(part.get_parameter("weight")),
            graph.weight(part.get_parameter("bias")),
        )
        seen = graph.op("Relu", graph.op("Conv", seen, *weights, strides=[2, 2], pads=[1] * 4))
    flat = graph.op("Flatten", seen)
    inputs: list[tuple[str, int, list[str | int]]] = [
        ("photos", TensorProto.UINT8, ["photos", HEIGHT, WIDTH, 3])
    ]
    return graph.bytes(
        "photo", inputs, graph.unit(graph.linear(flat, net.out)), ["photos", net.dim]
    )
