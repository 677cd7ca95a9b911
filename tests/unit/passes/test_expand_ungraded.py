"""Expanded operators: outputs and gradients against the operators themselves in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from onnxbf.errors import UnsupportedError
from tests.gradient_check import Arrays, check, gradients, with_loss
from tests.runtime import needs_training

pytestmark = needs_training


def normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def one(op_type: str, arrays: Arrays, opset: int = 18, **attributes: Any) -> onnx.ModelProto:
    node = helper.make_node(op_type, [*arrays], ["y"], "node", **attributes)
    return with_loss([node], arrays, opset)


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Celu", {"alpha": 0.7}),
        ("Elu", {"alpha": 0.7}),
        ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
        ("HardSwish", {}),
        ("Mish", {}),
        ("Selu", {}),
        ("Selu", {"alpha": 1.2, "gamma": 0.9}),
        ("Shrink", {"lambd": 0.4, "bias": 0.1}),
        ("Softplus", {}),
        ("Softsign", {}),
        ("Tan", {}),
        ("ThresholdedRelu", {"alpha": 0.3}),
    ],
)
def test_activations(op_type: str, attributes: dict[str, Any]) -> None:
    check(one(op_type, {"x": normal(4, 5)}, **attributes), ["x"])


def test_swish_of_opset_24() -> None:
    check(one("Swish", {"x": normal(4, 5)}, 24, alpha=1.3), ["x"])


@pytest.mark.parametrize("shape", [(5,), (1,), (4, 5)])
def test_prelu(shape: tuple[int, ...]) -> None:
    check(one("PRelu", {"x": normal(4, 5), "slope": normal(*shape, seed=1)}), ["x", "slope"])


# Slopes at 0 are those of PyTorch's functions of these names.
@pytest.mark.parametrize(
    ("op_type", "at_zero"),
    [("Softplus", 0.5), ("Softsign", 1), ("Elu", 1), ("Celu", 1), ("Mish", 0.6), ("Selu", 1.7581)],
)
def test_activations_stay_finite(op_type: str, at_zero: float) -> None:
    """And their slopes: at 0, and where e^x overflows."""
    x = np.array([0, 1e4, -1e4, 88.8, -104], np.float32)
    node = helper.make_node(op_type, ["x"], ["y"], "node")
    model = with_loss([node], {"x": x})
    model.graph.node[1].CopyFrom(helper.make_node("Identity", ["y"], ["sin"], "sin"))
    model.graph.node[2].CopyFrom(helper.make_node("Identity", ["sin"], ["curved"], "curved"))
    found = gradients(model, ["x"])
    assert np.isfinite(found["y"]).all()
    slopes = found["x.gradient"]
    assert slopes[0] == pytest.approx(at_zero, abs=1e-4)
    assert np.isfinite(slopes).all()


REDUCED = ["L1", "LogSum", "Max", "Min", "Prod", "SumSquare"]


@pytest.mark.parametrize("kind", REDUCED)
@pytest.mark.parametrize(("axes", "keep"), [([1], 1), ([0, -1], 0), (None, 1), (None, 0)])
@pytest.mark.parametrize("opset", [17, 18])
def test_reductions(kind: str, axes: list[int] | None, keep: int, opset: int) -> None:
    x = normal(2, 3, 4)
    arrays = {"x": np.abs(x) + 0.1 if kind == "LogSum" else x}
    if opset < 18:
        stated = {} if axes is None else {"axes": axes}
        model = one(f"Reduce{kind}", arrays, opset, keepdims=keep, **stated)
    else:
        listed = {} if axes is None else {"axes": np.array(axes)}
        model = one(f"Reduce{kind}", {**arrays, **listed}, opset, keepdims=keep)
    check(model, ["x"])


def test_reduction_of_no_axes() -> None:
    arrays = {"x": normal(2, 3), "axes": np.zeros(0, np.int64)}
    check(one("ReduceMax", arrays, noop_with_empty_axes=1), ["x"])


def test_the_first_of_equal_elements_has_the_gradient() -> None:
    arrays = {"x": np.array([1, 3, 3, 2], np.float32), "axes": np.array([0])}
    greatest = gradients(one("ReduceMax", arrays), ["x"])["x.gradient"]
    assert greatest[2] == 0 != greatest[1]


def test_products_with_zeros() -> None:
    arrays = {"x": np.array([2, 0, 3, 4], np.float32), "axes": np.array([0])}
    model = one("ReduceProd", arrays)
    model.graph.node[1].CopyFrom(helper.make_node("Identity", ["y"], ["sin"], "sin"))
    model.graph.node[2].CopyFrom(helper.make_node("Identity", ["sin"], ["curved"], "curved"))
    np.testing.assert_array_equal(gradients(model, ["x"])["x.gradient"], [0, 24, 0, 0])


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("op_type", ["Sum", "Mean"])
def test_variadic(op_type: str, count: int) -> None:
    arrays = {"a": normal(2, 3), "b": normal(3, seed=1), "c": normal(2, 1, seed=2)}
    chosen = dict([*arrays.items()][:count])
    check(one(op_type, chosen), [*chosen])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("exclusive", "reverse"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_cumulative_sums(axis: int, exclusive: int, reverse: int) -> None:
    arrays = {"x": normal(2, 3, 4), "axis": np.array(axis)}
    check(one("CumSum", arrays, exclusive=exclusive, reverse=reverse), ["x"])


def test_global_max_pool() -> None:
    check(one("GlobalMaxPool", {"x": normal(2, 3, 4, 5)}), ["x"])


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 3, 2)])
def test_instance_normalization(shape: tuple[int, ...]) -> None:
    arrays = {"x": normal(*shape), "scale": normal(4, seed=1), "bias": normal(4, seed=2)}
    check(one("InstanceNormalization", arrays, epsilon=1e-3), [*arrays])


@pytest.mark.parametrize(("opset", "count"), [(18, 2), (21, 4)])
@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 3, 2)])
def test_group_normalization(opset: int, count: int, shape: tuple[int, ...]) -> None:
    arrays = {"x": normal(*shape), "scale": normal(count, seed=1), "bias": normal(count, seed=2)}
    check(one("GroupNormalization", arrays, opset, num_groups=2, epsilon=1e-3), [*arrays])


def test_root_mean_square_normalization() -> None:
    arrays = {"x": normal(2, 3, 4), "scale": normal(4, seed=1)}
    check(one("RMSNormalization", arrays, 23, epsilon=1e-3), [*arrays])


@pytest.mark.parametrize("p", [1, 2])
def test_unit_norms(p: int) -> None:
    check(one("LpNormalization", {"x": normal(2, 3, 4)}, p=p, axis=1), ["x"])


def test_mean_variance_normalization() -> None:
    check(one("MeanVarianceNormalization", {"x": normal(2, 3, 4, 2)}), ["x"])


SIZES = {"a": 2, "b": 3, "c": 4, "i": 2, "j": 3, "k": 4, "l": 5}


@pytest.mark.parametrize(
    "equation",
    [
        "ij,jk->ik",
        "ij,jk",
        "ij,kj->ki",
        "bij,bjk->bik",
        "abij,bjk->abik",
        "abij,jk->abik",
        "aibj,akbj->abik",
        "ijk,jkl->il",
        "ijk,ijk->",
        "ij,ij->ij",
        "i,j->ij",
        "i,i",
        "ijk->ki",
        "ijk->",
        "ij->j",
        "ij,jk,kl->il",
        "ij,kj,kl->i",
        "...ij,...jk->...ik",
        "...ij,jk->...ik",
        "...ij,...jk",
        "b...i,ij->b...j",
    ],
)
def test_einsum(equation: str) -> None:
    operands = equation.split("->")[0].split(",")
    arrays = {}
    for index, letters in enumerate(operands):
        sizes = [SIZES[letter] for letter in letters.replace("...", "ac")]
        arrays[f"x{index}"] = normal(*sizes, seed=index)
    check(one("Einsum", arrays, equation=equation), [*arrays])


@pytest.mark.parametrize("op_type", ["Mul", "Add", "MatMul"])
@pytest.mark.parametrize("before", ["Identity", "Exp"])
def test_one_value_read_twice(op_type: str, before: str) -> None:
    nodes = [
        helper.make_node(before, ["x"], ["h"], "before"),
        helper.make_node(op_type, ["h", "h"], ["y"], "node"),
    ]
    check(with_loss(nodes, {"x": normal(3, 3)}), ["x"])
    check(
        with_loss([helper.make_node(op_type, ["x", "x"], ["y"], "node")], {"x": normal(3, 3)}),
        ["x"],
    )


def test_split_of_which_the_loss_reads_one_part() -> None:
    nodes = [
        helper.make_node("Split", ["x"], ["a", "y", "c"], "node", axis=1, num_outputs=3),
        helper.make_node("Exp", ["c"], ["unused"], "exp"),
    ]
    found = check(with_loss(nodes, {"x": normal(2, 6)}), ["x"])
    assert found["x.gradient"].shape == (2, 6)


def test_a_diagonal_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"Einsum node 'node' .* takes a diagonal"):
        gradients(one("Einsum", {"x": normal(3, 3)}, equation="ii->i"), ["x"])


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_of_opset_23(causal: int) -> None:
    arrays = {name: normal(2, 3, 4, 5, seed=seed) for seed, name in enumerate("qkv")}
    check(one("Attention", arrays, 23, is_causal=causal), [*arrays])
