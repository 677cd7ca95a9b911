"""A linear layer is rounded alike, whether its bias is added by Gemm or by a node of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.formats import parse_cast
from onnxbf.passes.linear_bias import biased_products
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto
from onnxbf.recipe import Recipe, Rule, load_recipe

_HEAD = """<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>
g (float[5,7] x, float[3] given) => (float[N,M] y) <float[7,3] w, float[3,7] turned, float[3] b,
  float[1,3] row, float[5,3] whole, float one, float[2] pair> {"""
GEMM = "[layer] y = Gemm (x, w, b)"
SEPARATE = {
    "after": "[layer] a = MatMul (x, w) [bias] y = Add (a, b)",
    "before": "[layer] a = MatMul (x, w) [bias] y = Add (b, a)",
    "row": "[layer] a = MatMul (x, w) [bias] y = Add (a, row)",
    "turned": "t = Transpose (turned) [layer] a = MatMul (x, t) [bias] y = Add (a, b)",
    "fused": "[layer] a = com.microsoft.FusedMatMul <transB = 1> (x, turned) [bias] y = Add (a, b)",
}
APART = {
    "not a constant": "a = MatMul (x, w) y = Add (a, given)",
    "not a weight": "t = Transpose (x) a = MatMul (x, t) s = MatMul (a, x) "
    "r = MatMul (s, w) u = Relu (r) y = Add (u, b)",
    "read twice": "a = MatMul (x, w) c = Add (a, b) y = Mul (a, c)",
    "a number": "a = MatMul (x, w) y = Add (a, one)",
    "of each row, too": "a = MatMul (x, w) y = Add (a, whole)",
    "a difference": "a = MatMul (x, w) y = Sub (a, b)",
}
EVERY_ROLE = Recipe(
    "own", "", (Rule(ops=("gemm",), bias=parse_cast("e4m3"), outputs=parse_cast("bf16")),)
)


def _model(body: str) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    model = onnx.parser.parse_model(f"{_HEAD} {body} }}")
    w = rng.normal(size=(7, 3)).astype(np.float32)
    b = rng.normal(size=3).astype(np.float32)
    others = {"whole": np.ones((5, 3)), "one": np.array(1.1), "pair": np.ones(2)}
    arrays = {"w": w, "turned": w.T.copy(), "b": b, "row": b[None], **others}
    kept = [numpy_helper.from_array(np.asarray(a, np.float32), n) for n, a in arrays.items()]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def _run(body: str, recipe: Recipe, **options: Any) -> np.ndarray:
    proto, _ = convert(_model(body), recipe, **options)
    x = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    (y,) = Evaluator(proto).run(None, {"x": x, "given": np.ones(3, np.float32)})
    return np.asarray(y)


RECIPES = {
    name: load_recipe(name)
    for name in ("bf16", "bf16-gemm", "fp8", "fp16", "avx512-bf16", "amx-bf16", "arm-bf16", "none")
} | {"bias": EVERY_ROLE}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("body", [b for k, b in SEPARATE.items() if k != "fused"])
def test_both_forms_of_a_layer_give_the_same_bits(body: str, recipe: Recipe) -> None:
    np.testing.assert_array_equal(_run(body, recipe), _run(GEMM, recipe))


@pytest.mark.parametrize("option", [{"op_types": "gemm"}, {"include": "layer"}], ids=str)
def test_a_bias_goes_with_its_product(option: dict[str, Any]) -> None:
    recipe = RECIPES["bf16"]
    both = [_run(body, recipe, **option) for body in (SEPARATE["after"], GEMM)]
    np.testing.assert_array_equal(*both)
    assert not np.array_equal(both[0], _run(SEPARATE["after"], RECIPES["none"]))


def test_a_product_that_is_left_alone_leaves_its_bias_to_the_other_rules() -> None:
    _, report = convert(_model(SEPARATE["after"]), "bf16", exclude="layer")
    assert [change.tensor for change in report.changes] == ["a"]  # b is still a bias


@pytest.mark.parametrize("form", SEPARATE)
def test_what_is_found(form: str) -> None:
    found = biased_products(from_proto(_model(SEPARATE[form])))
    assert {a.name: b.name for a, b in found.items()} == {"bias": "layer"}


@pytest.mark.parametrize("form", APART)
def test_what_is_no_bias(form: str) -> None:
    assert biased_products(from_proto(_model(APART[form]))) == {}
