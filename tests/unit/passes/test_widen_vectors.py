"""Products of vectors become products of matrices, of the same values and gradients."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.widen_vectors import WidenVectors
from onnxbf.protos import from_proto
from onnxbf.report import Report
from tests.gradient_check import check, with_loss
from tests.runtime import needs_training


@pytest.mark.parametrize(
    ("left", "right"), [((3,), (3,)), ((3,), (3, 2)), ((5, 3), (3,)), ((2, 5, 3), (3,))]
)
@needs_training
def test_gradients_with_vectors(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    arrays = {
        name: generator.normal(size=shape).astype(np.float32)
        for name, shape in (("a", left), ("b", right))
    }
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["y"], "product")
    check(with_loss([node], arrays), ["a", "b"])


def test_products_of_matrices_stay_as_they_are() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,3] x, float[2,3] v) => (float[N,2] y) {
      t = Transpose (v)
      y = MatMul (x, t)
    }"""
    model = from_proto(onnx.parser.parse_model(text))
    assert not WidenVectors(Report("none"))(model).modified
