"""Which gradient nodes our kernels take over, and that nothing else about a graph changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnxbf.custom_ops.registry import TRAINING_OPS
from onnxbf.files import load_model
from onnxbf.graph import phase_of
from onnxbf.passes.pipeline import convert
from onnxbf.passes.replace_gradients import ReplaceGradients, restore_gradients
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.training.graphs import build_graphs

MODELS = Path(__file__).parents[2] / "models"
NAMES = {"LayerNormalization", "ReduceSum", *(op.name for op in TRAINING_OPS)}


def replaced(model: ir.Model) -> ir.Model:
    made = model.clone()
    ReplaceGradients(Report("none"))(made)
    return made


def parsed(body: str) -> ir.Model:
    text = f"""<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1, "ai.onnxbf" : 1]>
    g ({body}"""
    return from_proto(onnx.parser.parse_model(text))


def domains(model: ir.Model) -> dict[str | None, str]:
    return {node.name: node.domain for node in model.graph}


@pytest.fixture(scope="module", params=["torch_cnn_unoptimized", "torch_gpt2"])
def gradient(request: pytest.FixtureRequest) -> ir.Model:
    binding = pytest.importorskip("onnxruntime.capi._pybind_state")
    if not hasattr(binding, "GradientGraphBuilder"):
        pytest.skip("this ONNX Runtime cannot train")
    model = load_model(MODELS / f"{request.param}.onnx")
    return build_graphs(model, "cross-entropy", "sgd").gradient


def test_only_domains_change(gradient: ir.Model) -> None:
    def rest(model: ir.Model) -> list[tuple[object, ...]]:
        return [
            (n.name, n.op_type, phase_of(n), [v and v.name for v in n.inputs], {*n.attributes})
            for n in model.graph
        ]

    found = replaced(gradient)
    assert any(node.domain == "ai.onnxbf" for node in found.graph)
    assert {node.op_type for node in found.graph if node.domain == "ai.onnxbf"} <= NAMES
    assert [row[:4] for row in rest(found)] == [row[:4] for row in rest(gradient)]
    before = domains(gradient)
    restore_gradients(found)
    assert domains(found) == before
    assert rest(found) == rest(gradient)


@pytest.mark.parametrize("recipe", ["bf16", "fp8"])
def test_recipes_round_the_same_tensors(gradient: ir.Model, recipe: str) -> None:
    _, wanted = convert(gradient, recipe)
    _, found = convert(replaced(gradient), recipe)
    assert wanted.changes
    assert found.changes == wanted.changes
    assert Counter(skipped.reason for skipped in found.skipped) == Counter(
        skipped.reason for skipped in wanted.skipped
    )


def test_portable_graphs_have_none(gradient: ir.Model) -> None:
    converted, _ = convert(replaced(gradient), "bf16", portable=True)
    assert {node.domain for node in converted.graph} <= {"", "com.microsoft"}
    assert "ai.onnxbf" not in to_proto(converted).SerializeToString().decode(errors="ignore")


def test_gradients_alone_are_no_sign_of_a_conversion() -> None:
    model = parsed("""float[2] dy, float[2] x) => (float[2] dx) {
        [a_Grad] dx = com.microsoft.ReluGrad (dy, x)
    }""")
    found = replaced(model)
    assert domains(found) == {"a_Grad": "ai.onnxbf"}
    _, report = convert(found, "bf16")
    assert not report.already_converted


def test_other_operators_of_ours_are_one() -> None:
    model = parsed("""float[2, 2] x) => (float[2, 2] y) {
        [product] y = ai.onnxbf.MatMul <arithmetic = "exact"> (x, x)
    }""")
    assert convert(model, "bf16")[1].already_converted


@pytest.mark.parametrize("arithmetic", ["", '<arithmetic = "exact">'])
def test_a_layer_normalization_of_ours_is_one_under_a_profile(arithmetic: str) -> None:
    model = parsed(f"""float[2, 4] x, float[4] scale) => (float[2, 4] y) {{
        [norm] y = ai.onnxbf.LayerNormalization {arithmetic} (x, scale)
    }}""")
    assert convert(model, "bf16")[1].already_converted is bool(arithmetic)
    restore_gradients(model)
    assert domains(model) == {"norm": "ai.onnxbf" if arithmetic else ""}


@pytest.mark.parametrize(
    "node",
    [
        "y = MaxPool <kernel_shape = [2, 2]> (x)",
        "y, at = MaxPool <kernel_shape = [2, 2], ceil_mode = 1> (x)",
        'y, at = MaxPool <kernel_shape = [2, 2], auto_pad = "VALID"> (x)',
        "y, at = MaxPool <kernel_shape = [2, 2], dilations = [1, 2]> (x)",
        "y = SoftmaxCrossEntropyLoss (x, labels)",
        "y, p = SoftmaxCrossEntropyLoss (x, labels)",
        "y, p = SoftmaxCrossEntropyLoss (rows, label, weights)",
        "y = com.microsoft.SoftmaxCrossEntropyLossGrad (dy, rows, label, weights)",
        "y = MaxPoolGrad <kernel_shape = [2, 2]> (x, places)",
        "y = com.microsoft.SoftmaxGrad_13 <axis = 1> (x, x)",
        "y = LayerNormalization (x, double_scale)",
    ],
)
def test_what_our_kernels_do_not_offer_is_left_alone(node: str) -> None:
    model = parsed(f"""float[1, 4, 6, 6] x, int64[1, 6, 6] labels, int64[1, 4, 6, 6] places,
        float[2, 3] rows, int64[2] label, float[3] weights, double[6] double_scale,
        float dy) => (float[n] y) {{
        [node] {node}
    }}""")
    assert domains(replaced(model)) == domains(model)


@pytest.mark.parametrize(
    ("shape", "axes", "replaced_"),
    [
        ("2, 3, 4", [0, 1], True),
        ("2, n, 4", [-2, -3], True),
        ("2, 3, 4", [0], True),
        ("2, 3, 4", [1], False),
        ("2, 3, 4", [0, 2], False),
        ("2, 3, 4", [0, 1, 2], False),
        ("2, 3, 4", [], False),
    ],
)
def test_sums_over_the_first_dimensions_are_ours(
    shape: str, axes: list[int], replaced_: bool
) -> None:
    model = parsed(f"""float[{shape}] x) => (float[m] y)
        <int64[{len(axes)}] axes = {{{", ".join(map(str, axes))}}}> {{
        [sum] y = ReduceSum <keepdims = 0> (x, axes)
    }}""")
    found = replaced(model)
    assert domains(found) == {"sum": "ai.onnxbf" if replaced_ else ""}
    assert not convert(found, "bf16")[1].already_converted
    restore_gradients(found)
    assert domains(found) == domains(model)


def test_sums_over_axes_that_nobody_knows_or_under_a_profile_are_left_alone() -> None:
    model = parsed("""float[2, 3] x, int64[1] axes) => (float[n] y, float[m] z)
        <int64[1] first = {0}> {
        [unknown] y = ReduceSum (x, axes)
        [profiled] z = ai.onnxbf.ReduceSum <arithmetic = "fp32"> (x, first)
    }""")
    found = replaced(model)
    assert domains(found) == domains(model)
    restore_gradients(found)
    assert domains(found) == domains(model)


def test_other_types_are_left_alone() -> None:
    model = parsed("""double[2] dy, double[2] x) => (double[2] dx) {
        [relu] dx = com.microsoft.ReluGrad (dy, x)
    }""")
    assert domains(replaced(model)) == domains(model)
