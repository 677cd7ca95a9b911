"""Which mantissa bits the elements of values use, as the graph shows."""

from __future__ import annotations

import onnx
import pytest

from onnxbf.passes.mantissas import mantissa_bits
from onnxbf.protos import from_proto

HEAD = """<ir_version: 10, opset_import: ["" : 20, "ai.onnxbf" : 1, "com.microsoft" : 1]>
g (float[2,4,6,6] x, float[2,4,6,6] z, float[6] v, float[6,6] w, int64[2] i) => (float[n] y) {
   r = ai.onnxbf.QuantizeDequantize (x)
   s = ai.onnxbf.QuantizeDequantize <exponent_bits = 4, mantissa_bits = 3, specials = "nan"> (z)
"""


def _bits(*nodes: str) -> int | None:
    """Of y."""
    model = from_proto(onnx.parser.parse_model(HEAD + "\n".join(nodes) + "}"))
    found = mantissa_bits(model.graph)
    return {value.name: bits for value, bits in found.items()}.get("y")


@pytest.mark.parametrize(
    ("node", "bits"),
    [
        ("y = Identity (r)", 7),
        ("y = Identity (s)", 3),
        ("y = Transpose (r)", 7),
        ("y = Relu (r)", 7),
        ("y = ai.onnxbf.ReluGrad (r, x)", 7),
        ("y = com.microsoft.ReluGrad (r, x)", 7),
        ("y = Gather (s, i)", 3),
        ("y = Concat <axis = 0> (r, s)", 7),
        ("y = Concat <axis = 0> (r, x)", None),
        ("y = Add (r, r)", None),
        ("y = Identity (x)", None),
        # Of NaNs alone it gives the least float32 number, which has all bits.
        ("y = MaxPool <kernel_shape = [2, 2]> (r)", None),
        ("y, p = ai.onnxbf.MaxPool <kernel_shape = [2, 2], program = 'bf16:rne y0 x0'> (x)", None),
        ("y = ai.onnxbf.QuantizeDequantize <mantissa_bits = 10, rounding = 'sr'> (r)", 10),
        ("y, o = ai.onnxbf.QuantizeDequantizeObserved (x)", 7),
        ("y = ai.onnxbf.MatMul <arithmetic = 'fp32'> (r, r)", None),
        ("y = ai.onnxbf.MatMul <arithmetic = 'fp32', cast_y = 'bf16'> (x, x)", 7),
        ("y = ai.onnxbf.Gemm <arithmetic = 'fp32', cast_y = 'tf32:rtz'> (w, w, v)", 10),
        ("y, m = ai.onnxbf.LayerNormalization <cast_y = 'bf16'> (x, v)", 7),
        ("m, y = ai.onnxbf.LayerNormalization <cast_y = 'bf16'> (x, v)", None),
    ],
)
def test_what_nodes_give(node: str, bits: int | None) -> None:
    assert _bits(node.replace("'", '"')) == bits


@pytest.mark.parametrize(
    ("program", "bits"),
    [
        ("Add t0 x0 x1; bf16:rne y0 t0", 7),
        ("bf16:rne t0 x0; Add y0 t0 t0", None),
        ("e4m3fn:rtz t0 x0; Relu t0 t0; Neg t0 t0; Abs y0 t0", 3),
        ("bf16:rne t0 x0; ReluGrad y0 t0 x1", 7),
        ("bf16:rne t0 x0; ReluGrad y0 x1 t0", None),
        ("bf16:rne t0 x0; Max y0 t0 x1", None),
        ("bf16:rne t0 x0; fp16:rne t1 x1; Min y0 t0 t1", 10),
        ("bf16:rne t0 x0; bf16:rne t0 t0; Mul t0 t0 x1; Relu y0 t0", None),
    ],
)
def test_what_programs_give(program: str, bits: int | None) -> None:
    text = f'program = "{program}"'
    assert _bits(f"y = ai.onnxbf.Elementwise <{text}> (x, z)") == bits
    assert _bits(f"o, y = ai.onnxbf.ElementwiseObserved <{text}> (x, z)") == bits
    product = f'y = ai.onnxbf.MatMulElementwise <arithmetic = "fp32", {text}> (w, w, v)'
    assert _bits(product) == bits


@pytest.mark.parametrize(("outputs", "bits"), [("a, y", 7), ("y, b", None)])
def test_each_group_of_a_program_has_its_own(outputs: str, bits: int | None) -> None:
    text = 'program = "Max y0 x0 s0"'
    nodes = [
        "one = Constant <value_floats = [1.0]> ()",
        "n = ai.onnxbf.QuantizeDequantize (one)",
        f"{outputs} = ai.onnxbf.Elementwise <{text}> (x, r, n)",
    ]
    assert _bits(*nodes) == bits
    assert _bits(nodes[0], nodes[2].replace("n)", "one)")) is None


def test_a_product_is_rounded_before_its_program() -> None:
    node = 'y = ai.onnxbf.MatMulElementwise <arithmetic = "fp32", program = "Relu y0 x0"{}> (w, w)'
    assert _bits(node.format("")) is None
    assert _bits(node.format(', cast_y = "bf16"')) == 7
