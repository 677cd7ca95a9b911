"""Removing redundant rounding never changes a bit, on graphs drawn at random."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from onnxbf.custom_ops.reference import REFERENCE_OPS
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.eliminate_redundant import EliminateRedundant
from onnxbf.passes.infer_types import InferTypes
from onnxbf.passes.insert_quantize import InsertQuantize
from onnxbf.recipe import RECIPES, Recipe
from onnxbf.report import Report

_UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Transpose", "Identity", "Exp")
_BINARY = ("Add", "Mul", "MatMul", "Max", "Min", "Sub")


@st.composite
def graphs(draw: st.DrawFn) -> str:
    """A graph of up to 12 nodes over 3x3 tensors, every node free to read any earlier value."""
    values, lines = ["x", "w"], []
    for index in range(draw(st.integers(1, 12))):
        arity = draw(st.integers(1, 2))
        op = draw(st.sampled_from(_UNARY if arity == 1 else _BINARY))
        inputs = ", ".join(draw(st.sampled_from(values)) for _ in range(arity))
        lines.append(f"v{index} = {op} ({inputs})")
        values.append(f"v{index}")
    count = draw(st.integers(1, min(3, len(lines))))
    outputs = ", ".join(f"float[3,3] v{len(lines) - 1 - i}" for i in range(count))
    weights = ",".join(str(number) for number in np.linspace(-1.7, 1.9, 9))
    return (
        f'<ir_version: 8, opset_import: ["" : 17]> g (float[3,3] x) => ({outputs}) '
        f"<float[3,3] w = {{{weights}}}> {{ {'  '.join(lines)} }}"
    )


def _outputs(model: ir.Model, x: np.ndarray) -> list[np.ndarray]:
    evaluator = ReferenceEvaluator(ir.to_proto(model), new_ops=REFERENCE_OPS)
    with np.errstate(all="ignore"):
        return evaluator.run(None, {"x": x})


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from(["bf16", "fp16", "fp8"]), st.integers(0, 2**32 - 1))
def test_the_same_bits_with_fewer_nodes(text: str, recipe: str, seed: int) -> None:
    chosen: Recipe = RECIPES[recipe]
    model, report = ir.from_proto(onnx.parser.parse_model(text)), Report(recipe)
    for step in (Canonicalize(report), InferTypes(report), InsertQuantize(report, chosen)):
        step(model)
    x = np.random.default_rng(seed).standard_normal((3, 3)).astype(np.float32) * 4
    before, names = _outputs(model, x), [value.name for value in model.graph.outputs]
    changes = len(report.changes)
    EliminateRedundant(report)(model)
    for left, right in zip(before, _outputs(model, x)):
        np.testing.assert_array_equal(left.view(np.uint32), right.view(np.uint32))
    assert [value.name for value in model.graph.outputs] == names
    assert len(report.changes) <= changes
    assert not EliminateRedundant(report)(model).modified
