"""Passes that bring a model into the form in which it can be differentiated."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.errors import UnsupportedError
from onnxbf.passes.base import GraphPass
from onnxbf.passes.explicit_padding import ExplicitPadding
from onnxbf.passes.fit_gradients import FitGradients
from onnxbf.passes.forget_symbols import ForgetSymbols
from onnxbf.passes.train_batch_norm import TrainBatchNorm
from onnxbf.passes.untie_constants import UntieConstants
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report

_HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def parse(text: str) -> ir.Model:
    return from_proto(onnx.parser.parse_model(_HEAD + text))


def apply(graph_pass: type[GraphPass], model: ir.Model) -> Report:
    report = Report("none")
    graph_pass(report)(model)
    return report


def test_outputs_that_gradients_read_are_added() -> None:
    model = parse("""g (float[2,1,4,4] x) => (float[2,1,2,2] y) {
        y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    }""")
    apply(FitGradients, model)
    (node,) = model.graph
    assert len(node.outputs) == 2
    assert node.outputs[1].name
    onnx.checker.check_model(to_proto(model), full_check=True)


def test_an_addend_times_zero_is_dropped() -> None:
    model = parse("""g (float[2,2] x, float[2,2] w, float[2] b) => (float[2,2] y) {
        y = Gemm <beta = 0.0> (x, w, b)
    }""")
    apply(FitGradients, model)
    (node,) = model.graph
    assert len(node.inputs) == 2
    assert "beta" not in node.attributes


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "MaxPool"])
def test_padding_as_numbers_is_the_padding_that_was_meant(
    operator: str, mode: str, size: int, stride: int
) -> None:
    pool = operator == "MaxPool"
    weights = "" if pool else ", w"
    kernel = "kernel_shape = [4, 3], " if pool else ""
    model = parse(f"""g (float[1,2,{size},{size}] x, float[2,2,4,3] w) => (float y) {{
        y = {operator} <{kernel}auto_pad = "{mode}", strides = [{stride}, {stride}]> (x{weights})
    }}""")
    model.graph.outputs[0].shape = None
    before = to_proto(model)
    ShapeInferencePass()(model)
    apply(ExplicitPadding, model)
    after = to_proto(model)
    assert "auto_pad" not in {a.name for node in after.graph.node for a in node.attribute}
    generator = np.random.default_rng(0)
    feeds = {
        "x": generator.standard_normal((1, 2, size, size), np.float32),
        "w": generator.standard_normal((2, 2, 4, 3), np.float32),
    }
    session = pytest.importorskip("onnxruntime").InferenceSession
    results = [session(m.SerializeToString()).run(None, feeds)[0] for m in (before, after)]
    np.testing.assert_array_equal(*results)


def test_padding_by_unknown_sizes_is_refused_by_name() -> None:
    model = parse("""g (float[1,1,H,W] x, float[1,1,3,3] w) => (float[1,1,H,W] y) {
        [first] y = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (x, w)
    }""")
    with pytest.raises(UnsupportedError, match="Node 'first' pads by SAME_UPPER"):
        apply(ExplicitPadding, model)


def test_equal_constants_are_untied_and_tied_weights_are_not() -> None:
    model = parse("""g (float[2] x) => (float[2] y)
    <float[2] zeros = {0, 0}, float[2] tied = {1, 2}> {
        [one] a = Add (x, zeros)
        [two] b = Add (a, zeros)
        [three] c = Mul (b, tied)
        [four] y = Mul (c, tied)
    }""")
    before = ReferenceEvaluator(to_proto(model)).run(None, {"x": np.float32([3, 4])})
    report = apply(UntieConstants, model)
    assert list(model.graph.initializers) == ["zeros", "tied", "zeros/two"]
    assert "zeros is read by 2 nodes" in report.notes[0]
    after = ReferenceEvaluator(to_proto(model)).run(None, {"x": np.float32([3, 4])})
    assert before[0].tolist() == after[0].tolist()


def test_batch_norm_in_training_form_gives_next_statistics() -> None:
    model = parse("""g (float[4,2] x) => (float[4,2] y)
    <float[2] s = {1, 1}, float[2] b = {0, 0}, float[2] m = {0, 0}, float[2] v = {1, 1}> {
        [norm] y = BatchNormalization <momentum = 0.75> (x, s, b, m, v)
    }""")
    batch_norm = TrainBatchNorm(Report("none"))
    batch_norm(model)
    assert batch_norm.buffers == ["m", "v"]
    assert [value.name for value in model.graph.outputs] == ["y", "m.next", "v.next"]
    session = pytest.importorskip("onnxruntime").InferenceSession
    x = np.float32([[1, 2], [3, 4], [5, 6], [7, 10]])
    try:
        made = session(to_proto(model).SerializeToString())
    except Exception:  # only the runtime for training has the operator's kernel
        pytest.skip("this ONNX Runtime cannot train")
    y, mean, _ = made.run(None, {"x": x})
    np.testing.assert_allclose(mean, 0.25 * x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-5)


def test_computed_statistics_are_left_alone_with_a_warning() -> None:
    model = parse("""g (float[4,2] x, float[2] m, float[2] v) => (float[4,2] y)
    <float[2] s = {1, 1}, float[2] b = {0, 0}> { [norm] y = BatchNormalization (x, s, b, m, v) }""")
    report = apply(TrainBatchNorm, model)
    assert report.warnings[0].startswith("norm: the running statistics are computed")
    assert [node.op_type for node in model.graph] == ["BatchNormalization"]


def test_symbols_that_inputs_do_not_declare_are_forgotten() -> None:
    model = parse("g (float[N,4] x) => (float[M,4] y) <float[M,4] h> { h = Relu (x) y = Relu (h) }")
    apply(ForgetSymbols, model)
    assert [str(value.shape) for value in model.graph.inputs] == ["[N,4]"]
    assert [node.outputs[0].shape[0].value for node in model.graph] == [None, None]  # type: ignore


def test_symbols_that_meet_are_all_forgotten() -> None:
    model = parse("g (float[N,4] x, float[M,4] z) => (float[N,4] y) { y = Add (x, z) }")
    apply(ForgetSymbols, model)
    assert [value.shape[0].value for value in model.graph.inputs] == [None, None]  # type: ignore
