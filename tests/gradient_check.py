"""One operator's gradient against finite differences in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxbf.protos import from_proto, to_proto
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from onnxbf.training.prepare import prepare
from tests.doubles import directional, evaluator

Arrays = Mapping[str, NDArray[Any]]


def with_loss(nodes: Sequence[onnx.NodeProto], arrays: Arrays, opset: int = 18) -> onnx.ModelProto:
    """The nodes, which make ``y`` of ``arrays``, and as loss the sum of y sin(y)."""
    after = [
        helper.make_node("Sin", ["y"], ["sin"], "sin"),
        helper.make_node("Mul", ["y", "sin"], ["curved"], "curved"),
        helper.make_node("ReduceSum", ["curved"], ["loss"], "sum", keepdims=0),
    ]
    graph = helper.make_graph(
        [*nodes, *after],
        "g",
        [],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("loss", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def gradients(model: onnx.ModelProto, parameters: Sequence[str]) -> dict[str, NDArray[Any]]:
    """What the prepared and differentiated model computes, outputs and gradients by name."""
    prepared = prepare(from_proto(model)).model
    made = differentiate(prepared, "loss", parameters)
    session = make_session(to_proto(made).SerializeToString(), threads=1)
    initial = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    feeds = {name: initial[name] for name in parameters}
    return run(session, {**feeds, "loss_scale": np.ones((), np.float32)})


def check(
    model: onnx.ModelProto,
    parameters: Sequence[str],
    *,
    tolerance: float = 1e-5,
    reference: onnx.ModelProto | None = None,
) -> dict[str, NDArray[Any]]:
    """Hold outputs and gradients against ``reference``, by default the model, in float64."""
    found = gradients(model, parameters)
    copied = reference or model
    reference = onnx.ModelProto()
    reference.CopyFrom(copied)
    for name in parameters:
        info = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        reference.graph.input.append(info)
    forward = evaluator(reference)
    initial = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    feeds = {name: initial[name].astype(np.float64) for name in parameters}
    y = forward.run(["y"], feeds)[0]
    np.testing.assert_allclose(found["y"], y, rtol=tolerance, atol=tolerance)
    generator = np.random.default_rng(0)
    for name in parameters:
        computed = found[f"{name}.gradient"].astype(float)
        direction = generator.standard_normal(computed.shape)
        difference = directional(forward, "loss", feeds, name, direction, 1e-6)
        bound = tolerance * (np.linalg.norm(computed) + 1e-2)
        assert abs(np.sum(computed * direction) - difference) <= bound, name
    return found
