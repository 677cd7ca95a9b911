"""Update graphs whose elementwise arithmetic is fused compute the bits that their nodes define."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.training.optimizers import OPTIMIZERS, Optimizer
from onnxbf.training.options import build
from onnxbf.training.weight_update import WEIGHT_UPDATES
from tests.updates import SHAPES, Run, draw

Array = NDArray[Any]

PLAIN = [
    *OPTIMIZERS,
    "sgd{momentum=0.9,dampening=0.1,weight_decay=0.01}",
    "adamw{clip_value=0.5,decay_exclude=vector}",
    "rmsprop{centered=true,momentum=0.9,weight_decay=0.1,decoupled=true}",
    "adagrad{initial=0.1,weight_decay=0.01,decay_min_rank=2}",
]
WITH_NORM = ["clip_norm=0.5", "clip_norm=100", "clip_norm=0.5,clip_value=0.1"]
EXACT_IN_ORT = ["sgd", "momentum", "nesterov", "lion"]  # no square roots of tensors
LARGE = {**SHAPES, "large": (300, 257)}  # several slices, the last vector of which is short


def _optimizer(text: str) -> Optimizer:
    made: Optimizer = build(text, OPTIMIZERS, "optimizer")
    return made


def _same(got: Mapping[str, Array], wanted: Mapping[str, Array]) -> None:
    """Bit by bit; NaN is NaN."""
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        assert got[name].shape == array.shape
        nan = np.isnan(array)
        np.testing.assert_array_equal(np.isnan(got[name]), nan, err_msg=name)
        bits = (np.where(nan, np.float32(0), each).view(np.uint32) for each in (got[name], array))
        np.testing.assert_array_equal(*bits, err_msg=name)


def _agree(one: Run, other: Run, compared: Callable[[str], bool], shapes: Any = LARGE) -> None:
    """Both take the same steps; all that the graphs give is compared, where ``compared`` says."""
    for seed in range(4):
        gradients = draw(seed + 1, shapes)
        for run in (one, other):
            run.step(gradients, rate=0.1 / (seed + 1), scale=0.25)
        got, wanted = (
            {name: array for name, array in run.last.items() if compared(name)}
            for run in (one, other)
        )
        assert got
        _same(got, wanted)


@pytest.mark.parametrize("text", [*PLAIN, *(f"{n}{{{o}}}" for n in OPTIMIZERS for o in WITH_NORM)])
def test_the_fused_graph_defines_the_same_bits(text: str) -> None:
    """Both in ONNX's evaluator: what is computed, apart from who computes it."""
    optimizer, weights = _optimizer(text), draw(0)
    fused = Run(optimizer, weights, reference=True, fused=True)
    assert any(node.op_type == "Elementwise" for node in fused.proto.graph.node)
    _agree(fused, Run(optimizer, weights, reference=True), lambda _: True, SHAPES)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("text", [text for text in PLAIN if not text.startswith("lamb")])
def test_the_kernels_compute_them(text: str, threads: int) -> None:
    """The plain nodes in ONNX's evaluator, the fused ones in ONNX Runtime.

    Norms are summed in other orders there; scalars are not fused, and it rounds their square roots
    in its own way.
    """
    optimizer, weights = _optimizer(text), draw(0, LARGE)
    fused = Run(optimizer, weights, threads=threads, fused=True)
    wanted = Run(optimizer, weights, reference=True)
    _agree(fused, wanted, lambda name: name != "gradient_norm" and not name.startswith("scalar"))


@pytest.mark.parametrize("rule", sorted({*WEIGHT_UPDATES} - {"fp32_master"}))
@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_rules_that_round_weights_and_slots(name: str, rule: str) -> None:
    """Their casts are steps of programs; those that are stochastic stay nodes."""
    shapes = {name: shape for name, shape in LARGE.items() if shape}
    optimizer, weights = _optimizer(name), draw(0, shapes)
    fused = Run(optimizer, weights, threads=2, fused=True, rule=rule)
    wanted = Run(optimizer, weights, reference=True, rule=rule)
    fused_nodes = [node for node in fused.proto.graph.node if node.op_type == "Elementwise"]
    assert any(b"bf16:" in node.attribute[0].s for node in fused_nodes)
    _agree(fused, wanted, lambda name: name != "gradient_norm", shapes)


@pytest.mark.parametrize("options", WITH_NORM)
@pytest.mark.parametrize("name", EXACT_IN_ORT)
def test_norms_take_part(name: str, options: str) -> None:
    """Against ONNX Runtime's own kernels, which are exact but for square roots of tensors."""
    optimizer, weights = _optimizer(f"{name}{{{options}}}"), draw(0, LARGE)
    fused, plain = (Run(optimizer, weights, threads=2, fused=fused) for fused in (True, False))
    _agree(fused, plain, lambda _: True)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_number_of_threads_changes_nothing(name: str) -> None:
    """ONNX Runtime's own square roots do; its norms, which go into every weight here, do not."""
    shapes = {**LARGE, "matrix": (700, 300), "vector": (150001,)}
    optimizer, weights = _optimizer(f"{name}{{clip_norm=0.5,weight_decay=0.1}}"), draw(0, shapes)
    one, three = (Run(optimizer, weights, threads=count, fused=True) for count in (1, 3))
    _agree(one, three, lambda _: True, shapes)


def test_lamb_stays_close_to_its_definition() -> None:
    optimizer, weights = _optimizer("lamb{weight_decay=0.1}"), draw(0, LARGE)
    fused = Run(optimizer, weights, fused=True)
    reference = Run(optimizer, weights, reference=True)
    for seed in range(3):
        for run in (fused, reference):
            run.step(draw(seed, LARGE))
    for name, wanted in reference.state.items():
        np.testing.assert_allclose(fused.state[name], wanted, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e-45, -1e-39, 3e38, 0.0, -0.0])
@pytest.mark.parametrize("name", ["adamw", "adagrad", "rmsprop", "lion", "nesterov"])
def test_special_gradients(name: str, value: float) -> None:
    optimizer, weights = _optimizer(name), draw(0)
    gradients = {k: np.full_like(array, value) for k, array in weights.items()}
    runs = Run(optimizer, weights, threads=1, fused=True), Run(optimizer, weights, reference=True)
    for run in runs:
        run.step(gradients)
    got, wanted = ({k: v for k, v in run.state.items() if "scalar" not in k} for run in runs)
    _same(got, wanted)


@pytest.mark.parametrize(
    ("text", "nodes"), [("adamw", 1), ("adamw{clip_norm=1}", 2), ("lamb", 2), ("lion", 1)]
)
def test_one_node_for_all_tensors_between_two_norms(text: str, nodes: int) -> None:
    shapes = {name: shape for name, shape in SHAPES.items() if shape}
    run = Run(_optimizer(text), draw(0, shapes), fused=True)
    assert [node.op_type for node in run.proto.graph.node].count("Elementwise") == nodes
