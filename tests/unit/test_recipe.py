"""Recipes: matching, files, and what is wrong with a file said in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbf.errors import NameUnknown, OnnxbfError, SpecError
from onnxbf.formats import parse_cast
from onnxbf.graph import Phase
from onnxbf.operators import Kind, Role
from onnxbf.recipe import RECIPES, Recipe, Rule, load_recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda recipe: recipe.name)
def test_a_recipe_prints_the_file_that_makes_it(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(str(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_first_match_wins() -> None:
    first = Rule(ops=("Conv",), name="stem", inputs=parse_cast("fp16"))
    second = Rule(ops=("gemm",), phase=Phase.FORWARD)
    third = Rule()
    recipe = Recipe("r", "", (first, second, third))
    assert recipe.match("net.stem.0", "Conv", Kind.GEMM, Phase.FORWARD) is first
    assert recipe.match("net.body", "Conv", Kind.GEMM, Phase.FORWARD) is second
    assert recipe.match("net.body", "Conv", Kind.GEMM, Phase.UPDATE) is third
    assert first.cast(Role.INPUT) == parse_cast("fp16")
    assert first.cast(Role.WEIGHT) is None


def test_the_bf16_recipe_is_the_studys_data_flow() -> None:
    gemm, other = RECIPES["bf16"].rules
    assert gemm.ops == ("gemm",)
    assert gemm.bias is None and other.bias is None and other.outputs is None
    assert {gemm.inputs, gemm.weights, gemm.outputs, gemm.gradients} == {parse_cast("bf16:rne")}


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(NameUnknown, match="did you mean 'bf16-gemm'"):
        load_recipe("bf16-gem")


def test_a_ready_made_recipe_with_other_casts() -> None:
    recipe = load_recipe("bf16{weight_gradients=fp32,gradients=e5m2:sr{bits=8}}")
    assert recipe.name == "bf16{weight_gradients=fp32,gradients=e5m2:sr{bits=8}}"
    for rule, given in zip(recipe.rules, RECIPES["bf16"].rules, strict=True):
        assert rule.weight_gradients is None and given.weight_gradients is not None
        assert rule.gradients == parse_cast("e5m2:sr{bits=8}")
        assert (rule.inputs, rule.outputs) == (given.inputs, given.outputs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bf16{weight_gradient=fp32}", "did you mean 'weight_gradients'"),
        ("bf16{bias=bf16}", "'bf16' does not round bias"),
        ("bf16{inputs=bf17}", "Unknown"),
        ("bf{inputs=bf16}", "Unknown recipe"),
        ("bf16{input=bf16}", "Recipe 'bf16' has no option 'input': did you mean 'inputs'"),
        ("bf16{inputs", "Cannot read"),
    ],
)
def test_bad_changes(text: str, message: str) -> None:
    with pytest.raises(OnnxbfError, match=message):
        load_recipe(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is not TOML"),
        ("colour = 'red'", "A recipe has no key 'colour': known: name, rules, summary"),
        ("rules = 3", r"\[\[rules\]\]"),
        ("[[rules]]\ninput = 'bf16'", "did you mean 'inputs'"),
        ("[[rules]]\ninputs = 'bf17'", "did you mean 'bf16'"),
        ("[[rules]]\ninputs = 'bf16:rnd'", "Unknown rounding 'rnd'"),
        ("[[rules]]\ninputs = 16", "a cast is text"),
        ("[[rules]]\nops = ['Matmul']", "did you mean 'MatMul'"),
        ("[[rules]]\nops = 5", "ops must be a list"),
        ("[[rules]]\nname = '('", "not a regular expression"),
        ("[[rules]]\nphase = 'fwd'", "Unknown phase"),
    ],
)
def test_bad_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match=message) as error:
        load_recipe(path)
    assert "bad.toml" in str(error.value)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="is not TOML"):
        load_recipe(path)
