"""Layers found from graphs, and those that a policy trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import pytest

from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.errors import ModelError, NameUnknown, SpecError  # noqa: E402
from onnxbf.files import load_model  # noqa: E402
from onnxbf.protos import from_proto  # noqa: E402
from onnxbf.studies.networks import digits_cnn  # noqa: E402
from onnxbf.training.graphs import build_graphs  # noqa: E402
from onnxbf.training.layers import Layer, choose_layers, find_layers  # noqa: E402
from onnxbf.training.layerwise import parse_layer_policy  # noqa: E402

MODELS = Path(__file__).parents[2] / "models"
LAYERS = tuple(Layer(name, (f"{name}.x", f"{name}.y")) for name in ("a", "b", "c", "d"))


def _layers(model: ir.Model, loss: str = "cross-entropy") -> tuple[Layer, ...]:
    graphs = build_graphs(model, loss, "sgd")
    return find_layers(graphs.gradient, graphs.trained)


def test_a_layer_is_a_product_and_its_bias() -> None:
    layers = _layers(digits_cnn(0))
    assert [layer.parameters for layer in layers] == [("p0", "p1"), ("p2", "p3"), ("p4", "p5")]
    assert ["Conv" in layer.name for layer in layers] == [True, True, False]


def test_norms_belong_to_the_layer_before_them() -> None:
    layers = _layers(load_model(MODELS / "torch_bert.onnx"), "mse")
    names = [name for layer in layers for name in layer.parameters]
    assert len({*names}) == len(names)
    assert "embeddings" in layers[0].parameters[0]
    norms = [layer for layer in layers if any("layer_norm" in name for name in layer.parameters)]
    assert norms and all("MatMul" in layer.name for layer in norms)


def test_weights_are_seen_through_nodes_that_move_them_and_norms_before_all_join_the_first() -> (
    None
):
    text = """<ir_version: 8, opset_import: ["": 17]>
    net (float[N, 4] x) => (float[N, 3] y)
    <float[4] s, float[3, 4] w, float[3] b> {
        scaled = Mul(x, s)
        wt = Transpose<perm = [1, 0]>(w)
        product = MatMul(scaled, wt)
        y = Add(product, b)
    }"""
    proto = onnx.parser.parse_model(text)
    for name, shape in (("s", [4]), ("w", [3, 4]), ("b", [3])):
        array = np.ones(shape, np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    (layer,) = _layers(from_proto(proto), "mse")
    assert layer.parameters == ("s", "w", "b")


def test_layers_by_name() -> None:
    assert choose_layers(LAYERS, ["c", r"^a\.x$"]) == (LAYERS[0], LAYERS[2])
    with pytest.raises(ModelError, match=r"'z' is found in the name of no layer.*'a', 'b'"):
        choose_layers(LAYERS, ["a", "z"])
    with pytest.raises(SpecError):
        choose_layers(LAYERS, ["("])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("static{top=1}", "d"),
        ("static{bottom=1,top=2}", "acd"),
        ("static{layers=[b],top=1}", "bd"),
        ("static{bottom=3,top=3}", "abcd"),
        ("probabilistic", "d"),
        ("probabilistic{top=0,layers=[a,c]}", "ac"),
    ],
)
def test_policies_choose_layers(text: str, names: str) -> None:
    expected = tuple(f"{name}.{part}" for name in names for part in "xy")
    assert parse_layer_policy(text).parameters(LAYERS) == expected


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("statik", NameUnknown, "did you mean 'static'"),
        ("static", SpecError, "which layers"),
        ("static{top=-1}", SpecError, "0 or more"),
        ("probabilistic{p=0}", SpecError, "between 0 and 1"),
        ("probabilistic{p=1}", SpecError, "between 0 and 1"),
        ("probabilistic{top=0}", SpecError, "which layers"),
    ],
)
def test_policies_that_are_none(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_layer_policy(text)


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ModelError, match="top=5 and bottom=0, but the network has 4 layers"):
        parse_layer_policy("static{top=5}").parameters(LAYERS)


def test_a_step_s_choice_depends_on_seed_and_step_alone() -> None:
    policy = parse_layer_policy("probabilistic{p=0.2}")
    chosen = [policy.is_full(3, step) for step in range(2000)]
    assert [policy.is_full(3, step) for step in reversed(range(2000))] == chosen[::-1]
    assert chosen != [policy.is_full(4, step) for step in range(2000)]
    assert sum(chosen) == pytest.approx(400, abs=4 * (2000 * 0.2 * 0.8) ** 0.5)
    assert not any(parse_layer_policy("static{top=1}").is_full(0, step) for step in range(10))
