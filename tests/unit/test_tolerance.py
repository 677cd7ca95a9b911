"""The bound from the formats: what is counted, and that it holds where it is rigorous."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.casts import parse_any_cast
from onnxbf.custom_ops.quantizers import quantizer
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import BFLOAT16, FLOAT8_E4M3FN, FLOAT32, parse_cast
from onnxbf.passes.pipeline import convert
from onnxbf.rounding import round_array
from onnxbf.tolerance import Bounds, Path, gamma

_U = BFLOAT16.unit_roundoff


def _bounds(text: str) -> Bounds:
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 19, "ai.onnxbf" : 1]>{text}'
    )
    return Bounds(ir.from_proto(model))


def test_each_rounding_counts_once_along_the_worst_path() -> None:
    bounds = _bounds(
        """g (float[2] x) => (float[2] y) {
          a = ai.onnxbf.QuantizeDequantize (x)
          b = Relu (a)
          c = ai.onnxbf.QuantizeDequantize (b)
          y = Max (c, x)
        }"""
    )
    assert bounds.paths["a"] == bounds.paths["b"] == Path(_U, 0, _U**2)
    assert bounds.paths["y"] == Path(2 * _U, 0, 2 * _U**2)
    assert bounds.tolerance("y") == gamma(2 * _U)
    assert bounds.coarsest == BFLOAT16


@pytest.mark.parametrize(
    ("text", "name", "error", "biased"),
    [
        ("psq{bits=4}", "4-bit integers", 1 / 15, False),
        ("mxfp4", "mxfp4", 0.5, False),
        ("mxfp8{format=e5m2,rounding=rtz}", "mxfp8{format=e5m2,rounding=rtz}", 0.25, True),
        ("e4m3fn:rne{scaling=current}", "scaled e4m3fn", 2.0**-4, False),
        ("e5m2:rup{scaling=delayed,history=3}", "scaled e5m2", 0.25, True),
        ("e4m3fn:rne", "e4m3fn", 2.0**-4, False),
    ],
)
def test_every_operator_that_rounds_says_to_what(
    text: str, name: str, error: float, biased: bool
) -> None:
    op_type, attributes = quantizer(parse_any_cast(text))
    inputs = ["x", "x"] if op_type == "QuantizeDelayed" else ["x"]
    node = ir.node(op_type, [ir.Value(name=each) for each in inputs], attributes, domain=DOMAIN)
    node.outputs[0].name = "y"
    graph = ir.Graph([], node.outputs, nodes=[node], opset_imports={DOMAIN: 1})
    bounds = Bounds(ir.Model(graph, ir_version=10))
    assert bounds.coarsest.name == name
    assert bounds.paths["y"] == Path(error, error * biased, error**2 * (not biased))


def test_directed_rounding_counts_twice_and_cast_pairs_count() -> None:
    bounds = _bounds(
        """g (float[2] x) => (float[2] y, float[2] z) {
          y = ai.onnxbf.QuantizeDequantize <rounding = "rtz"> (x)
          e = Cast <to = 17> (x)
          z = Cast <to = 1> (e)
        }"""
    )
    assert bounds.paths["y"] == Path(2 * _U, 2 * _U, 0)
    assert bounds.paths["z"].total == FLOAT8_E4M3FN.unit_roundoff


def test_matrix_products_count_the_terms_that_they_add() -> None:
    bounds = _bounds(
        """g (float[2,3] x) => (float[2,4] y) <float[3,4] w, float[4,3] v> {
          a = MatMul (x, w)
          y = Gemm <transB = 1> (x, v)
        }"""
    )
    assert bounds.paths["a"].total == bounds.paths["y"].total == 3 * FLOAT32.unit_roundoff
    assert bounds.coarsest == FLOAT32


def test_a_dot_product_of_rounded_positive_numbers_stays_within() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,64] x) => (float[1,1] y) <float[64,1] w = {NUMBERS}> { y = MatMul (x, w) }
        """.replace("NUMBERS", ",".join(["1.3"] * 64))
    )
    converted, _ = convert(model)
    tolerance = Bounds(ir.from_proto(converted)).tolerance("y")
    generator = np.random.default_rng(0)
    cast = parse_cast("bf16")
    w = round_array(np.full(64, 1.3, np.float32), cast)
    for _ in range(100):
        x = generator.uniform(1, 2, 64).astype(np.float32)
        exact = float(x.astype(np.float64) @ np.full(64, np.float32(1.3), np.float64))
        rounded = round_array(np.float32([round_array(x, cast) @ w]), cast)[0]
        assert abs(rounded - exact) <= 2 * tolerance * exact


def test_gamma() -> None:
    assert gamma(0) == 0
    assert gamma(0.5) == 1
    assert gamma(1) == math.inf


def test_many_unbiased_roundings_partly_cancel() -> None:
    """100 roundings move random numbers by less than the likely bound, below the sure one."""
    path, one = Path(), Path(_U, 0.0, _U**2)
    for _ in range(100):
        path = path.then(one)
    assert path.tolerance == pytest.approx(40 * _U) and path.tolerance < gamma(100 * _U)
    generator = np.random.default_rng(1)
    values = exact = np.ones(1000)
    for _ in range(100):
        factors = generator.uniform(0.9, 1.1, 1000)
        exact = exact * factors
        values = round_array((values * factors).astype(np.float32), parse_cast("bf16"))
    moved = np.abs(values - exact) / exact
    assert np.mean(moved <= path.tolerance) > 0.999
    assert Path(100 * _U, 100 * _U, 0.0).tolerance == gamma(100 * _U)


@pytest.mark.parametrize("name", ["x", "nowhere"])
def test_inputs_are_exact(name: str) -> None:
    assert _bounds("g (float[2] x) => (float[2] y) { y = Relu (x) }").tolerance(name) == 0
