"""Under recipe bf16 a normalization is one operation, however it is written for differentiation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.files import load_model, save_model
from onnxbf.graph import PHASE_KEY, ROLE_KEY, Phase, phase_of
from onnxbf.operators import Role
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import build_graphs
from tests.runtime import needs_training

pytestmark = needs_training
MODELS = Path(__file__).parents[1] / "models"
SHAPE = [2, 4, 3, 3]
FOUR, THREE, TWO = (np.arange(1, size + 1, dtype=np.float32) / 2 for size in (4, 3, 2))


def network(op_type: str, opset: int, options: dict[str, int]) -> onnx.ModelProto:
    """A normalization ``norm`` between two convolutions: it reads c, and gives n."""
    wide = {"s": FOUR, "b": FOUR[::-1].copy()}
    arrays = {
        "LayerNormalization": {"s": THREE, "b": THREE[::-1].copy()},
        "RMSNormalization": {"s": THREE},
        "GroupNormalization": wide if opset >= 21 else {"s": TWO, "b": TWO[::-1].copy()},
        "InstanceNormalization": wide,
        "BatchNormalization": {**wide, "m": FOUR, "v": FOUR + 1},
    }.get(op_type, {})
    generator = np.random.default_rng(0)
    weights = {k: generator.standard_normal((4, 4, 1, 1)).astype(np.float32) for k in ("w", "u")}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "first"),
        helper.make_node(op_type, ["c", *arrays], ["n"], "norm", **options),
        helper.make_node("Conv", ["n", "u"], ["y"], "second"),
    ]
    values = [helper.make_tensor_value_info(k, onnx.TensorProto.FLOAT, SHAPE) for k in "xy"]
    tensors = [numpy_helper.from_array(v, k) for k, v in {**weights, **arrays}.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize(
    ("op_type", "opset", "options", "inside"),
    [
        ("BatchNormalization", 17, {}, set()),
        # What a Reshape takes apart and puts together is rounded on its other side.
        ("GroupNormalization", 18, {"num_groups": 2}, {"norm/Add:0", "norm/Reshape:0_grad"}),
        ("GroupNormalization", 21, {"num_groups": 2}, {"norm/Reshape:0_grad"}),
        ("InstanceNormalization", 17, {}, {"norm/Reshape:0_grad"}),
        ("LayerNormalization", 17, {}, set()),
        ("LpNormalization", 17, {"axis": 1}, set()),
        ("LpNormalization", 17, {"axis": 1, "p": 1}, set()),
        ("MeanVarianceNormalization", 17, {}, set()),
        ("RMSNormalization", 23, {}, set()),
    ],
)
def test_nothing_is_rounded_between_what_goes_in_and_what_comes_out(
    op_type: str, opset: int, options: dict[str, int], inside: set[str]
) -> None:
    model = from_proto(network(op_type, opset, options))
    graph = build_graphs(model, "mse", "sgd").under(load_recipe("bf16")).gradient.graph
    rounded = [n.inputs[0].name for n in graph if n.op_type == "QuantizeDequantize"]  # type: ignore[union-attr]
    assert {name for name in rounded if name and name.startswith("norm/")} == inside
    assert {"c", "n_grad", "x", "w", "u"} <= {*rounded}
    assert {"n", "norm/Add:0"} & {*rounded} and {"c_grad", "norm/Reshape:0_grad"} & {*rounded}
    assert len({*rounded}) == len(rounded)


@pytest.mark.parametrize("name", ["torch_cnn_unoptimized", "sklearn_mlp"])
def test_every_node_carries_its_phase_and_every_rounding_its_role(
    name: str, tmp_path: Path
) -> None:
    model = load_model(MODELS / f"{name}.onnx")
    graphs = build_graphs(model, "mse", "sgd").under(load_recipe("bf16"))
    save_model(graphs.gradient, tmp_path / "gradient.onnx")
    nodes = [*load_model(tmp_path / "gradient.onnx").graph]
    assert all(PHASE_KEY in node.metadata_props for node in nodes)
    assert {phase_of(node) for node in nodes} == {*Phase} - {Phase.UPDATE}
    rounding = [node for node in nodes if node.domain == DOMAIN]
    roles = {
        (phase_of(n).value, n.metadata_props[ROLE_KEY])
        for n in rounding
        if ROLE_KEY in n.metadata_props
    }
    assert roles >= {
        (Phase.FORWARD.value, Role.INPUT.value),
        (Phase.FORWARD.value, Role.WEIGHT.value),
        (Phase.INPUT_GRADIENT.value, Role.GRADIENT.value),
        (Phase.WEIGHT_GRADIENT.value, Role.WEIGHT_GRADIENT.value),
    }
    assert {phase_of(node) for node in graphs.update.graph} == {Phase.UPDATE}
