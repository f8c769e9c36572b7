"""Graph: a fitted network with its inputs as ONNX, from features to scores in one run."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser
from torch import Tensor

from heirloom.ranking.training.inputs import Inputs
from heirloom.ranking.training.network import DeepCrossNetwork

# Sums run over the middle axis, number by number: over the last one their order, and so the last
# bit, would depend on how many rows there are. IR and opset are old enough for every onnxruntime
# of the last years.
_HEAD = """\
<ir_version: 8, opset_import: ["" : 17]>
deep_cross (float[rows, {features}] features) => (float[rows, {actions}] scores) {{
"""
_INPUTS = """\
  missing = IsNaN(features)
  each = Unsqueeze(features, one)
  from_low = Max(each, low)
  inside = Min(from_low, high)
  passed = Sub(inside, low)
  risen = Mul(passed, slope)
  summed = ReduceSum<keepdims = 0>(risen, one)
  lifted = Add(summed, base)
  known = Where(missing, zero, lifted)
"""
_FLAGS = """\
  watched = Gather<axis = 1>(missing, flagged)
  flags = Cast<to = 1>(watched)
  x0 = Concat<axis = 1>(known, flags)
"""
_CROSS = """\
  c{l} = MatMul(x{l}, cross{l})
  d{l} = Add(c{l}, cross_bias{l})
  e{l} = Mul(x0, d{l})
  x{next} = Add(e{l}, x{l})
"""
_EXPERTS = """\
  hidden = MatMul(x{l}, experts)
  biased = Add(hidden, experts_bias)
  units = Relu(biased)
  straight = MatMul(x{l}, direct)
  direct_logits = Add(straight, direct_bias)
"""
_SHARED = """\
  deep_logits = MatMul(units, towers)
"""
_GATED = """\
  gate_flat = MatMul(x{l}, gates)
  gate_biased = Add(gate_flat, gates_bias)
  gate_logits = Reshape(gate_biased, of_gates)
  gate = Softmax<axis = 1>(gate_logits)
  by_expert = Reshape(units, of_experts)
  voices = MatMul(by_expert, towers)
  weighed = Mul(gate, voices)
  deep_logits = ReduceSum<keepdims = 0>(weighed, one)
"""


def deep_cross_graph(network: DeepCrossNetwork, inputs: Inputs, *, chances: bool) -> bytes:
    """The checked model: features [rows, features] float32, NaN = missing → scores [rows, actions].

    Args:
        network: fitted.
        inputs: what it was fitted behind.
        chances: whether scores are probabilities; logits otherwise.
    """
    shape = network.shape
    crosses = "".join(_CROSS.format(l=i, next=i + 1) for i in range(shape.crosses))
    text = (
        _HEAD.format(features=len(inputs.base), actions=shape.actions)
        + _INPUTS
        + (_FLAGS if len(inputs.flagged) else "  x0 = Identity(known)\n")
        + crosses
        + (_EXPERTS + (_GATED if shape.experts > 1 else _SHARED)).format(l=shape.crosses)
        + "  logits = Add(direct_logits, deep_logits)\n"
        + f"  scores = {'Sigmoid' if chances else 'Identity'}(logits)\n}}"
    )
    model = parser.parse_model(text)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in _weights(network, inputs).items()
    )
    onnx.checker.check_model(model, full_check=True)
    encoded: bytes = model.SerializeToString(deterministic=True)
    return encoded


def _weights(network: DeepCrossNetwork, inputs: Inputs) -> dict[str, NDArray[Any]]:
    shape = network.shape
    found: dict[str, NDArray[Any]] = {
        "one": np.array([1]),
        "zero": np.zeros((), np.float32),
        "low": inputs.low.T.copy(),
        "high": inputs.high.T.copy(),
        "slope": inputs.slope.T.copy(),
        "base": inputs.base,
        "experts": _array(network.experts.weight.T),
        "experts_bias": _array(network.experts.bias),
        "direct": _array(network.direct.weight.T),
        "direct_bias": _array(network.direct.bias),
        "towers": _array(network.towers.T),
    }
    if len(inputs.flagged):
        found["flagged"] = inputs.flagged
    for i, cross in enumerate(network.crosses):
        found[f"cross{i}"] = _array(cross.get_parameter("weight").T)
        found[f"cross_bias{i}"] = _array(cross.get_parameter("bias"))
    if network.gates is not None:
        found["gates"] = _array(network.gates.weight.T)
        found["gates_bias"] = _array(network.gates.bias)
        found["of_gates"] = np.array([0, shape.experts, shape.actions])
        found["of_experts"] = np.array([0, shape.experts, shape.hidden])
    return found


def _array(weight: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(weight.detach().numpy())
