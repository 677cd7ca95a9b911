"""Roundings that are not measured are named."""

from __future__ import annotations

import onnx
import pytest

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.formats import parse_cast
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto
from onnxbf.recipe import Recipe, Rule
from onnxbf.training.unobserved import Unobserved, find_unobserved

PRODUCTS = """<ir_version: 8, opset_import: ["" : 18]>
g (float[2,2] x) => (float[2,2] y) { [first] h = MatMul (x, x) [second] y = Gemm (h, x) }"""
BRANCH = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2,2] x, bool c) => (float[2,2] y) {
  [branch] y = If (c) <
    then_branch = t () => (float[2,2] p) { [inner] p = MatMul (x, x) },
    else_branch = e () => (float[2,2] q) { q = Identity (x) }
  >
}"""


def _under(text: str, recipe: str | Recipe) -> Unobserved:
    converted, _ = convert(onnx.parser.parse_model(text), recipe)
    return find_unobserved(from_proto(converted))


def test_what_is_measured_is_not_named() -> None:
    for recipe in ("bf16", "none"):
        found = _under(PRODUCTS, recipe)
        assert found == Unobserved((), (), ())
        assert str(found) == ""


def test_what_products_round_is_measured() -> None:
    assert _under(PRODUCTS, "avx512-bf16") == Unobserved((), (), ())


def test_what_operators_round_within() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[2,2] x) => (float[2,2] y) { [first] h = MatMul (x, x) [second] y = Softmax (h) }"""
    everywhere = Rule(inputs=parse_cast("bf16"), arithmetic=parse_arithmetic("arm_bf16"))
    found = _under(text, Recipe("all", "", (everywhere,)))
    assert found == Unobserved(("second",), (), ())
    assert "within operators that sum as an arithmetic says ('second')." in str(found)
    assert found.record() == {
        "kind": "unobserved",
        "products": ("second",),
        "quantizers": (),
        "inner": (),
    }


@pytest.mark.parametrize("recipe", ["mxfp8", "fqt-psq"])
def test_quantizers(recipe: str) -> None:
    found = _under(PRODUCTS, recipe)
    assert len(found.quantizers) >= 2 and not found.products
    assert "by quantizers over ranges and in blocks (" in str(found)
    assert all(name.endswith("_quantize") for name in found.quantizers)


def test_roundings_in_a_branch() -> None:
    found = _under(BRANCH, "bf16")
    (name,) = found.inner  # of what the product gives: its operand is rounded outside
    assert found.products == ()
    assert str(found).endswith(f"in branches of If, bodies of loops or functions ({name!r}).")


def test_many_names_are_counted() -> None:
    found = Unobserved(("a", "b", "c", "d", "e"), (), ("f",))
    assert "('a', 'b', 'c' and 2 more) and in branches" in str(found)
