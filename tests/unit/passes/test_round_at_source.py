"""Rounding what products read where it is made: text in, text out, and the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.round_at_source import RoundAtSource
from tests.small_models import check_same_nodes, check_same_results, rewrite_text

HEAD = '<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1]>\n'
OBSERVED = "ai.onnxbf.QuantizeDequantizeObserved"
GRADIENT = "SoftmaxCrossEntropyLossGrad"
BLOCK = """block (float[2,3,8] x, float[8] g, float[8] b, float[8,4] v, float[6,5] d)
  => (float[2,3,4] y, float[8,5] dv) {
   normal = ai.onnxbf.LayerNormalization (x, g, b)
   rows = Constant <value_ints = [6, 8]> ()
   flat = Reshape (normal, rows)
   y = ai.onnxbf.MatMul <arithmetic = "avx512_bf16"> (normal, v)
   dv = ai.onnxbf.Gemm <arithmetic = "avx512_bf16", transA = 1> (flat, d)
}"""
CAST = "bf16:rne{subnormals=flush}"


def _round(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    return rewrite_text(HEAD + text, RoundAtSource)


def test_products_read_what_is_rounded_to_the_same_bits() -> None:
    before, after, modified = _round(BLOCK)
    assert modified
    (norm,) = (node for node in after.graph.node if node.op_type == "LayerNormalization")
    assert {a.name: a.s.decode() for a in norm.attribute} == {"cast_y": CAST}
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 3, 8), "g": (8,), "b": (8,), "v": (8, 4), "d": (6, 5)}
    feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    feeds["x"][1, 2] = 1e-42  # whose normalized numbers are 0 and subnormal
    feeds["g"][3], feeds["b"][3], feeds["x"][0, 1, 5] = 1e-41, 0, np.nan
    check_same_results(after, before, feeds)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"avx512_bf16"> (normal', '"arm_bf16"> (normal'),  # which keeps subnormals
        ('"avx512_bf16"> (normal', '"fp32"> (normal'),
        ('"avx512_bf16"> (normal', '"avx512_bf16", cast_a = "fp16"> (normal'),
        ('y = ai.onnxbf.MatMul <arithmetic = "avx512_bf16">', "y = MatMul"),
        ("LayerNormalization (", 'LayerNormalization <cast_y = "fp16"> ('),
        ("LayerNormalization (", 'LayerNormalization <arithmetic = "kahan"> ('),
        ("ai.onnxbf.LayerNormalization", "LayerNormalization"),
        ("float[8,5] dv)", "float[8,5] dv, float[2,3,8] normal)"),
    ],
)
def test_what_others_read_otherwise_stays(old: str, new: str) -> None:
    assert old in BLOCK
    before, after, modified = _round(BLOCK.replace(old, new))
    assert not modified
    check_same_nodes(after, before)


LOSS = """loss (float dy, float[6,8] p, int64[6] labels, float[8,4] v, float[6,5] d)
  => (float[2,3,4] y, float[8,5] dv) {
   dx = ai.onnxbf.SoftmaxCrossEntropyLossGrad (dy, p, labels)
   shape = Constant <value_ints = [2, 3, 8]> ()
   deep = Reshape (dx, shape)
   rounded = ai.onnxbf.QuantizeDequantize <subnormals = "flush"> (deep)
   flat = ai.onnxbf.QuantizeDequantize <subnormals = "flush"> (dx)
   y = MatMul (rounded, v)
   dv = ai.onnxbf.Gemm <arithmetic = "avx512_bf16", transA = 1> (flat, d)
}"""


def test_quantize_nodes_go_and_the_gradient_of_a_loss_rounds_to_the_same_bits() -> None:
    before, after, modified = _round(LOSS)
    assert modified
    assert "QuantizeDequantize" not in {node.op_type for node in after.graph.node}
    (gradient,) = (node for node in after.graph.node if node.op_type == GRADIENT)
    assert {a.name: a.s.decode() for a in gradient.attribute} == {"cast_y": CAST}
    rng = np.random.default_rng(0)
    shapes = {"dy": (), "p": (6, 8), "v": (8, 4), "d": (6, 5)}
    feeds = {key: np.asarray(rng.normal(size=s), np.float32) for key, s in shapes.items()}
    feeds["p"][2] = -100  # probabilities that are subnormal
    feeds["labels"] = np.arange(6)
    check_same_results(after, before, feeds)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('flush"> (deep)', 'keep"> (deep)'),
        ('flush"> (deep)', 'flush", rounding = "sr"> (deep)'),
        ('ai.onnxbf.QuantizeDequantize <subnormals = "flush"> (dx)', "Neg (dx)"),
        ("float[8,5] dv)", "float[8,5] dv, float[2,3,8] deep)"),
        ("float[8,5] dv)", "float[8,5] dv, float[2,3,8] rounded)"),
        (
            "rounded = ai.onnxbf.QuantizeDequantize",
            "m, rounded = ai.onnxbf.QuantizeDequantizeObserved",
        ),
        ("LossGrad (", 'LossGrad <cast_y = "fp16"> ('),
    ],
)
def test_roundings_that_are_others_as_well_stay(old: str, new: str) -> None:
    assert old in LOSS
    before, after, modified = _round(LOSS.replace(old, new))
    assert not modified
    check_same_nodes(after, before)
