"""Blocks lie along the axis that a product adds up, in the forward and the backward pass."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxbf.block_cast import parse_block_cast
from onnxbf.block_quantizer import quantize_blocks
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import UnsupportedError
from onnxbf.passes.pipeline import convert

RNG = np.random.default_rng(0)
# Numbers of very different magnitudes: blocks along a wrong axis give another result.
A, B, V = (
    (RNG.normal(size=shape) * np.exp2(RNG.integers(-9, 9, shape))).astype(np.float32)
    for shape in ((6, 40), (40, 5), (40,))
)
X, W = A.reshape(2, 3, 5, 8), B[:9].reshape(3, 3, 5, 1)
Y_GRAD = np.exp2(RNG.integers(-9, 9, (2, 3, 1, 8))).astype(np.float32)

_HEAD = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]> g '


def _run(text: str, recipe: str, feeds: dict[str, np.ndarray]) -> np.ndarray:
    converted, _ = convert(onnx.parser.parse_model(_HEAD + text), recipe)
    (result,) = Evaluator(converted).run(None, feeds)
    return np.asarray(result)


def _blocks(x: np.ndarray, axis: int) -> np.ndarray:
    return quantize_blocks(x, parse_block_cast("mxfp4").along(axis)).astype(np.float64)


@pytest.mark.parametrize(
    ("body", "a", "b"),
    [
        ("MatMul (a, b)", A, B),
        ("MatMul (a, b)", A, V),
        ("MatMul (a, b)", V, B),
        ("Gemm (a, b)", A, B),
        ("Gemm <transA = 1> (a, b)", A.T, B),
        ("Gemm <transB = 1> (a, b)", A, B.T),
        ("Gemm <transA = 1, transB = 1> (a, b)", A.T, B.T),
    ],
)
def test_products(body: str, a: np.ndarray, b: np.ndarray) -> None:
    sizes = [",".join(map(str, each.shape)) for each in (a, b)]
    text = f"(float[{sizes[0]}] a, float[{sizes[1]}] b) => (float[%s] y) {{ y = {body} }}"
    left, right = (a.T if "transA" in body else a), (b.T if "transB" in body else b)
    expected = _blocks(left, -1) @ _blocks(right, 0)
    text = text.replace("%s", ",".join(map(str, expected.shape)))
    found = _run(text, "mxfp4", {"a": a.copy(), "b": b.copy()})
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5 * np.abs(expected).max())


def test_convolution() -> None:
    text = "(float[2,3,5,8] x, float[3,3,5,1] w) => (float[2,3,1,8] y) { y = Conv (x, w) }"
    expected = np.einsum("nchw,ochk->nokw", _blocks(X, 1), _blocks(W, 1))
    found = _run(text, "mxfp4", {"x": X, "w": W})
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5 * np.abs(expected).max())


def _axes(text: str) -> dict[str, list[str]]:
    """For each output of a product, the tensors it reads, and along which axes in blocks."""
    converted, _ = convert(onnx.parser.parse_model(_HEAD + text), "mxfp8")
    quantized = {
        node.output[0]: f"{node.input[0]} {[a.i for a in node.attribute if a.name == 'axis'] or -1}"
        for node in converted.graph.node
        if node.op_type == "QuantizeBlocks"
    }
    return {
        " ".join(filter(None, node.output)): [
            quantized[name] for name in node.input if name in quantized
        ]
        for node in converted.graph.node
        if node.op_type in ("FusedMatMul", "Gemm", "Conv", "ConvGrad")
    }


def test_gradients_have_axes_of_their_own() -> None:
    text = """(float[2,3] x, float[3,4] w, float[2,4] y_grad) => (float[2,4] y, float[3,4] w_grad,
    float[2,3] x_grad) {
      [dense] y = Gemm (x, w)
      ["dense_Grad/0"] x_grad = com.microsoft.FusedMatMul <transB = 1> (y_grad, w)
      ["dense_Grad/1"] w_grad = com.microsoft.FusedMatMul <transA = 1> (x, y_grad)
    }"""
    assert _axes(text) == {
        "y": ["x -1", "w [-2]"],
        "x_grad": ["y_grad -1", "w -1"],
        "w_grad": ["x [-2]", "y_grad [-2]"],
    }


def test_gradients_of_a_convolution() -> None:
    text = """(float[2,3,5,8] x, float[3,3,5,1] w, float[2,3,1,8] y_grad) => (float[2,3,1,8] y,
    float[2,3,5,8] z_grad, float[3,3,5,1] w_grad) {
      [conv] y = Conv (x, w)
      ["conv_Grad/0"] x_grad, w_grad = com.microsoft.ConvGrad (y_grad, x, w)
      ["act_Grad/0"] z_grad = Mul (x_grad, x)
    }"""
    found = _axes(text)
    assert found["y"] == ["x [1]", "w [1]"]
    assert found["x_grad"][0] == "y_grad [1]" and found["x_grad"][-1] == "w [0]"
    assert found["w_grad"][:2] == ["y_grad [0]", "x [0]"]


def test_a_bias_is_in_blocks_along_its_last_axis(tmp_path: object) -> None:
    text = """(float[2,3,5,8] x, float[3,3,5,1] w, float[3] b) => (float[2,3,1,8] y) {
      y = Conv (x, w, b)
    }"""
    path = f"{tmp_path}/own.toml"
    with open(path, "w", encoding="utf-8") as file:
        file.write('[[rules]]\nops = ["gemm"]\nbias = "mxfp4"\n')
    b = np.array([1, 5.1, 0.01], np.float32)
    y = _run(text, path, {"x": 0 * X, "w": W, "b": b})
    assert y[0, :, 0, 0].tolist() == _blocks(b, 0).tolist()


def test_a_constant_weight_is_folded_to_the_same() -> None:
    model = onnx.parser.parse_model(
        _HEAD + "(float[6,40] a) => (float[6,5] y) { y = MatMul (a, b) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(B, "b"))
    converted, _ = convert(model, "mxfp4")
    (found,) = Evaluator(converted).run(None, {"a": A})
    expected = _blocks(A, 1) @ _blocks(B, 0)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5 * np.abs(expected).max())


def test_an_operator_whose_axis_is_not_known() -> None:
    text = """(float[6,40] a, float[40,5] b) => (float[6,5] y) {
      [sum] y = Einsum <equation = "ij,jk->ik"> (a, b)
    }"""
    with pytest.raises(UnsupportedError, match=r"Einsum node 'sum' cannot have operands in mxfp8"):
        convert(onnx.parser.parse_model(_HEAD + text), "mxfp8")
    convert(onnx.parser.parse_model(_HEAD + text), "mxfp8", exclude="sum")
