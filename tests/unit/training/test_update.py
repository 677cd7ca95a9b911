"""The update graph: its names, its norm, its cost in nodes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxbf.errors import ModelError, NameUnknown
from onnxbf.graph import Phase, phase_of
from onnxbf.training.emitter import Parameter, Slot
from onnxbf.training.optimizers import OPTIMIZERS
from onnxbf.training.update import make_update
from tests.updates import Run, distance, draw

SCALARS = ["learning_rate", "step", "gradient_scale"]
NODES = {  # of one parameter, without what all share
    "sgd": 4,
    "momentum": 6,
    "nesterov": 8,
    "adagrad": 9,
    "rmsprop": 11,
    "adam": 14,
    "adamw": 15,
    "lamb": 22,
    "lion": 10,
}
SLOTS = {
    "sgd": [],
    "momentum": ["momentum"],
    "nesterov": ["momentum"],
    "adagrad": ["square_sum"],
    "rmsprop": ["square_average"],
    "adam": ["first_moment", "second_moment"],
    "adamw": ["first_moment", "second_moment"],
    "lamb": ["first_moment", "second_moment"],
    "lion": ["momentum"],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_inputs_and_outputs_are_called_as_the_trainer_expects(name: str) -> None:
    update = make_update([Parameter("a/b.weight", (2, 3)), Parameter("c", ())], OPTIMIZERS[name]())
    slots = [f"{parameter}.{slot}" for parameter in ("a/b.weight", "c") for slot in SLOTS[name]]
    assert [slot.name for slot in update.slots] == slots
    stored = ["a/b.weight", "c", *slots]
    gradients = ["a/b.weight.gradient", "c.gradient"]
    graph = update.model.graph
    inputs = {value.name: value for value in graph.inputs}
    outputs = {value.name: value for value in graph.outputs}
    assert len(inputs) == len(graph.inputs)
    assert inputs.keys() == {*stored, *gradients, *SCALARS}
    assert len(outputs) == len(graph.outputs)
    assert outputs.keys() == {*(f"{each}.next" for each in stored), "gradient_norm"}
    for each in stored:
        assert inputs[each].shape == outputs[f"{each}.next"].shape
    assert {phase_of(node) for node in graph} == {Phase.UPDATE}
    assert (update.model.ir_version, graph.opset_imports) == (10, {"": 20})


def test_slots_say_what_they_start_from() -> None:
    update = make_update([Parameter("w", (2, 3))], OPTIMIZERS["adagrad"](initial=0.5))
    assert update.slots == (Slot("w.square_sum", (2, 3), 0.5),)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_more_parameter_costs_few_nodes(name: str) -> None:
    """So that what is shared is emitted once."""
    parameters = [Parameter(f"w{index}", (4, 4)) for index in range(3)]
    two, three = (
        len(make_update(parameters[:count], OPTIMIZERS[name](clip_norm=1.0)).model.graph)
        for count in (2, 3)
    )
    clip = name != "sgd"  # there the factor is multiplied with the learning rate
    assert three - two == NODES[name] + clip


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_gradient_that_is_not_finite_shows_in_the_norm(name: str, bad: float) -> None:
    gradients = draw(1)
    gradients["kernel"][1, 0, 1, 0] = bad
    update = Run(OPTIMIZERS[name](clip_norm=1.0, clip_value=1.0), draw())
    update.step(gradients)
    assert not math.isfinite(update.norm)


@pytest.mark.parametrize("shape", [(70000,), (1024, 1030), (300, 8, 7, 7)])
def test_the_norm_of_large_tensors_is_precise(shape: tuple[int, ...]) -> None:
    """Where float32 accumulators would lose the small numbers at the end."""
    gradient = draw(1, {"w": shape})["w"] + np.float32(3)
    update = Run(OPTIMIZERS["sgd"](), {"w": np.zeros(shape, np.float32)})
    update.step({"w": gradient}, scale=0.5)
    exact = 0.5 * np.sqrt((gradient.astype(np.float64) ** 2).sum())
    assert distance(np.float32([update.norm]), np.array([exact])) < 1e-6


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "lion"])
def test_optimizers_without_roots_do_not_depend_on_the_number_of_threads(name: str) -> None:
    shapes = {"large": (701, 703), "long": (300_001,), "small": (3, 5)}
    optimizer = OPTIMIZERS[name](clip_norm=1.0, weight_decay=0.1)
    one, three = (Run(optimizer, draw(0, shapes), threads=threads) for threads in (1, 3))
    for seed in (1, 2):
        for update in (one, three):
            update.step(draw(seed, shapes))
        assert one.norm == three.norm
        for key, array in one.state.items():
            assert array.tobytes() == three.state[key].tobytes(), key


def test_an_optimizer_may_be_given_as_text() -> None:
    parameters = [Parameter("w", (2,))]
    update = make_update(parameters, "adagrad{initial=0.5}")
    assert update.slots == make_update(parameters, OPTIMIZERS["adagrad"](initial=0.5)).slots
    with pytest.raises(NameUnknown, match="did you mean 'adagrad'"):
        make_update(parameters, "adagrd")


def test_no_parameters_are_an_error() -> None:
    with pytest.raises(ModelError, match="no parameters"):
        make_update([], OPTIMIZERS["sgd"]())


@pytest.mark.parametrize(
    "names",
    [("w", "w"), ("w", "w.gradient"), ("w", "w.momentum"), ("w", "w.next"), ("step",)],
)
def test_names_that_collide_are_named(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError, match=repr(names[-1]).replace(".", r"\.")):
        make_update([Parameter(name, (2,)) for name in names], OPTIMIZERS["momentum"]())


def test_names_of_nodes_may_be_those_of_parameters() -> None:
    weights = {name: np.float32([1, 2]) for name in ("w", "update/w/Mul", "update/w/Mul:0")}
    got = Run(OPTIMIZERS["sgd"](), weights).step(weights, rate=0.5)
    assert all(got[name].tolist() == [0.5, 1.0] for name in weights)
