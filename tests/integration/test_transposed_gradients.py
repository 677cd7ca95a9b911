"""Gradients of ConvTranspose: convolutions, as the runtime sums them and under a profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.passes.lower_gradients import LowerGradients
from onnxbf.passes.pipeline import convert
from onnxbf.passes.split_gradients import SplitGradients
from onnxbf.protos import from_proto, to_proto
from onnxbf.recipe import Recipe, Rule
from onnxbf.report import Report
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from onnxbf.training.prepare import prepare
from tests.conv_cases import TRANSPOSED, TRANSPOSED_SHAPES, Case, single
from tests.conv_definition import convolution_sums
from tests.runtime import needs_training
from tests.small_models import model, node, value

pytestmark = needs_training
Arrays = dict[str, NDArray[Any]]
PROFILED = Recipe("exact", "", (Rule(ops=("gemm",), arithmetic=parse_arithmetic("exact")),))


def _normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _gradients(name: str, recipe: Recipe | None) -> tuple[Arrays, Arrays, list[str]]:
    """Of the sum of its results times ``dy``, by all that it reads; what that is; and operators."""
    x_shape, w_shape, attributes = TRANSPOSED_SHAPES[name]
    maps = w_shape[1] * attributes.get("group", 1)
    weights = {"x": _normal(0, *x_shape), "w": _normal(1, *w_shape), "b": _normal(2, maps)}
    forward = single(Case(TRANSPOSED, name, {"arithmetic": "exact"}))
    dy = _normal(3, *run(make_session(forward.SerializeToString()), weights)["y"].shape)
    # ONNX Runtime's builder differentiates by parameters alone.
    proto = model(
        [
            node("Add", ["zero", "x"], "moved"),
            helper.make_node(TRANSPOSED, ["moved", "w", "b"], ["y"], name="up", **attributes),
            node("Mul", ["y", "dy"], "weighted"),
            node("ReduceSum", ["weighted"], "loss", keepdims=0),
        ],
        [value("zero", shape=x_shape), value("dy", shape=dy.shape)],
        [value("loss", shape=[])],
        weights=weights,
        opsets={"": 17},
        ir_version=8,
    )
    gradient = differentiate(prepare(from_proto(proto)).model, "loss", [*weights])
    for graph_pass in (SplitGradients(Report("none")), LowerGradients(Report("none"))):
        graph_pass(gradient)
    if recipe is not None:
        gradient, _ = convert(gradient, recipe)
    given = {**weights, "zero": np.zeros_like(weights["x"]), "dy": dy}
    session = make_session(to_proto(gradient).SerializeToString())
    found = run(session, {**given, "loss_scale": np.ones((), np.float32)})
    return found, given, sorted(f"{each.domain}:{each.op_type}" for each in gradient.graph)


@pytest.mark.parametrize("recipe", [None, PROFILED], ids=["runtime", "exact"])
@pytest.mark.parametrize("name", [n for n in TRANSPOSED_SHAPES if not n.startswith("no ")])
def test_gradients_are_those_of_the_definition(name: str, recipe: Recipe | None) -> None:
    found, given, operators = _gradients(name, recipe)
    wide, w, narrow = (given[key].astype(np.float64) for key in ("dy", "w", "x"))
    _, dw, dx = convolution_sums(wide, w, narrow, TRANSPOSED_SHAPES[name][2])
    wanted = {"x": dx, "w": dw, "b": wide.sum((0, *range(2, wide.ndim)))}
    for key, sums in wanted.items():
        np.testing.assert_allclose(found[f"{key}.gradient"], sums, rtol=1e-5, atol=1e-5)
    ours = {"ai.onnxbf:Conv", "ai.onnxbf:ConvTranspose", "ai.onnxbf:ConvWeightGrad"}
    assert (ours <= {*operators}) is (recipe is not None)
