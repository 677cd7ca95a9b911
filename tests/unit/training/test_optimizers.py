"""Optimizers against the formulas of their papers in float64, and against PyTorch's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.errors import NameUnknown, SpecError
from onnxbf.training.optimizers import OPTIMIZERS, Optimizer
from onnxbf.training.options import build
from tests.updates import Run, distance, draw, parameters_of, trained

Array = NDArray[np.float64]
Steps = Sequence[Array]
TORCH = np.load(Path(__file__).parents[2] / "models" / "torch_optimizers.npz")
RATE, STEPS, TOLERANCE = 0.0625, 20, 1e-6


def make(text: str) -> Optimizer:
    made = build(text, OPTIMIZERS, "optimizer")
    assert isinstance(made, Optimizer)
    return made


# Each of these gives the parameter after the last step: w is the parameter, g the gradients of all
# steps, t the number of a step from 1.


def sgd(w: Array, g: Steps, decay: float = 0, momentum: float = 0, nesterov: bool = False) -> Array:
    v = np.zeros_like(w)
    for gradient in g:
        gradient = gradient + decay * w
        v = momentum * v + gradient
        w = w - RATE * (gradient + momentum * v if nesterov else v)
    return w


def dampened(w: Array, g: Steps, momentum: float, dampening: float) -> Array:
    v = g[0]
    w = w - RATE * v
    for gradient in g[1:]:
        v = momentum * v + (1 - dampening) * gradient
        w = w - RATE * v
    return w


def shrunk_sgd(w: Array, g: Steps, decay: float) -> Array:
    for gradient in g:
        w = w - RATE * decay * w - RATE * gradient
    return w


def adagrad(w: Array, g: Steps, initial: float = 0, eps: float = 1e-10) -> Array:
    s = np.full_like(w, initial)
    for gradient in g:
        s = s + gradient**2
        w = w - RATE * gradient / (np.sqrt(s) + eps)
    return w


def rmsprop(
    w: Array, g: Steps, alpha: float = 0.99, momentum: float = 0, centered: bool = False
) -> Array:
    s, mean, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for gradient in g:
        s = alpha * s + (1 - alpha) * gradient**2
        mean = alpha * mean + (1 - alpha) * gradient
        power = s - mean**2 if centered else s
        v = momentum * v + gradient / (np.sqrt(power) + 1e-8)
        w = w - RATE * v
    return w


def adam_directions(g: Steps, beta1: float, beta2: float, eps: float) -> Iterator[Array]:
    m, v = np.zeros_like(g[0]), np.zeros_like(g[0])
    for t, gradient in enumerate(g, 1):
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        yield (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def adam(w: Array, g: Steps, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Array:
    return w - RATE * sum(adam_directions(g, beta1, beta2, eps))


def adamw(w: Array, g: Steps, decay: float = 0.01) -> Array:
    for direction in adam_directions(g, 0.9, 0.999, 1e-8):
        w = w - RATE * (direction + decay * w)
    return w


def lamb(w: Array, g: Steps, decay: float = 0) -> Array:
    for direction in adam_directions(g, 0.9, 0.999, 1e-6):
        u = direction + decay * w
        sizes = np.sqrt((w**2).sum()), np.sqrt((u**2).sum())
        w = w - RATE * u * (sizes[0] / sizes[1] if min(sizes) > 0 else 1)
    return w


def lion(w: Array, g: Steps, beta1: float = 0.9, beta2: float = 0.99, decay: float = 0) -> Array:
    m = np.zeros_like(w)
    for gradient in g:
        u = np.sign(beta1 * m + (1 - beta1) * gradient)
        m = beta2 * m + (1 - beta2) * gradient
        w = w - RATE * (u + decay * w)
    return w


FORMULAS: dict[str, tuple[Callable[..., Array], dict[str, Any]]] = {
    "sgd": (sgd, {}),
    "sgd{weight_decay=0.5}": (sgd, {"decay": 0.5}),
    "sgd{weight_decay=0.5,decoupled=true}": (shrunk_sgd, {"decay": 0.5}),
    "sgd{momentum=0.8,dampening=0.4}": (dampened, {"momentum": 0.8, "dampening": 0.4}),
    "momentum": (sgd, {"momentum": 0.9}),
    "nesterov{weight_decay=0.1}": (sgd, {"momentum": 0.9, "nesterov": True, "decay": 0.1}),
    "adagrad": (adagrad, {}),
    "adagrad{initial=0.5,eps=0.01}": (adagrad, {"initial": 0.5, "eps": 0.01}),
    "rmsprop": (rmsprop, {}),
    "rmsprop{alpha=0.8,momentum=0.5}": (rmsprop, {"alpha": 0.8, "momentum": 0.5}),
    "rmsprop{centered=true}": (rmsprop, {"centered": True}),
    "adam": (adam, {}),
    "adam{beta1=0,beta2=0.5,eps=0.1}": (adam, {"beta1": 0, "beta2": 0.5, "eps": 0.1}),
    "adamw": (adamw, {}),
    "adamw{weight_decay=0.5}": (adamw, {"decay": 0.5}),
    "lamb": (lamb, {}),
    "lamb{weight_decay=0.5}": (lamb, {"decay": 0.5}),
    "lion": (lion, {}),
    "lion{beta1=0.5,beta2=0.8,weight_decay=0.5}": (
        lion,
        {"beta1": 0.5, "beta2": 0.8, "decay": 0.5},
    ),
}


def test_every_optimizer_has_a_formula() -> None:
    assert {text.partition("{")[0] for text in FORMULAS} == set(OPTIMIZERS)


@pytest.mark.parametrize("text", FORMULAS)
def test_the_formula_of_the_paper(text: str) -> None:
    weights, gradients = draw(), [draw(seed) for seed in range(1, STEPS + 1)]
    got = trained(make(text), weights, gradients, rate=RATE)
    formula, options = FORMULAS[text]
    for name, first in weights.items():
        rows = [np.asarray(each[name], np.float64) for each in gradients]
        wanted = formula(first.astype(np.float64), rows, **options)
        assert distance(got[name], wanted) < TOLERANCE, name


TEXTS = sorted({key.rpartition("/")[0] for key in TORCH.files} - {"initial", "gradient", ""})


def test_torch_has_results_of_every_optimizer_that_it_has() -> None:
    assert {text.partition("{")[0] for text in TEXTS} == set(OPTIMIZERS) - {"lamb", "lion"}


@pytest.mark.parametrize("text", TEXTS)
def test_torch_agrees_at_every_step(text: str) -> None:
    names = [key.partition("/")[2] for key in TORCH.files if key.startswith("initial/")]
    update = Run(make(text), {name: TORCH[f"initial/{name}"] for name in names})
    gradients = {name: TORCH[f"gradient/{name}"] for name in names}
    wanted = {name: TORCH[f"{text}/{name}"] for name in names}
    sizes = {name: float(np.abs(array).max()) for name, array in wanted.items()}  # some cross zero
    for step, rate in enumerate(TORCH["rate"]):
        got = update.step({name: gradients[name][step] for name in names}, rate)
        for name in names:
            assert distance(got[name], wanted[name][step], sizes[name]) < TOLERANCE, (name, step)


@pytest.mark.parametrize("text", FORMULAS)
def test_onnx_own_evaluator_agrees(text: str) -> None:
    """From a state of several steps, one step more, in both."""
    weights, gradients = draw(), [draw(seed) for seed in range(1, 5)]
    fast, slow = (Run(make(text), weights, reference=reference) for reference in (False, True))
    for each in gradients:
        fast.step(each)
    slow.state, slow.steps = dict(fast.state), fast.steps
    for update in (fast, slow):
        update.step(gradients[0])
    assert fast.last.keys() == slow.last.keys()
    for name, array in fast.last.items():
        assert array.shape == slow.last[name].shape
        assert distance(array, slow.last[name]) < TOLERANCE, name


def test_adams_correction_holds_for_many_steps() -> None:
    """From empty slots, what the first update is at step t, in float64."""
    gradient, rate, beta1, beta2 = 0.7, 0.5, 0.9, 0.999
    update = Run(make("adam"), {"w": np.zeros(1, np.float32)})
    empty = dict(update.state)
    for step in range(0, 10_001, 13):
        update.state, update.steps = empty, step
        got = update.step({"w": np.float32([gradient])}, rate)["w"]
        m, v = (1 - beta1) * gradient, (1 - beta2) * gradient**2
        m, v = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
        assert distance(got, np.array([-rate * m / (math.sqrt(v) + 1e-8)])) < TOLERANCE, step


def test_centered_rmsprop_stays_finite_for_gradients_that_do_not_change() -> None:
    weights = draw(0, {"w": (64,)})
    update, gradient = Run(make("rmsprop{centered=true,alpha=0.5}"), weights), draw(1, {"w": (64,)})
    for _ in range(60):
        update.step(gradient)
    assert np.isfinite(update.state["w"]).all()


def test_a_parameter_of_zeros_can_leave_zero_under_lamb() -> None:
    got = trained(make("lamb"), {"w": np.zeros(3, np.float32)}, [draw(1, {"w": (3,)})])
    assert np.abs(got["w"]).min() > 0.05


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("adamm", NameUnknown, "adam"),
        ("adam{beta3=0.9}", NameUnknown, "beta3"),
        ("sgd{lr=0.1}", NameUnknown, "lr"),
        ("adam{beta1=high}", SpecError, "beta1"),
        ("adam{beta1=1}", SpecError, "'beta1' of the optimizer is 1.0: it must be at least 0"),
        ("sgd{momentum=-0.1}", SpecError, "'momentum'"),
        ("adam{eps=nan}", SpecError, "'eps'"),
        ("sgd{weight_decay=-1}", SpecError, "'weight_decay'"),
        ("sgd{weight_decay=inf}", SpecError, "'weight_decay'"),
        ("sgd{clip_norm=0}", SpecError, "'clip_norm' of the optimizer is 0.0: it must be above 0"),
        ("sgd{clip_value=nan}", SpecError, "'clip_value'"),
        ("sgd{decay_min_rank=-1}", SpecError, "'decay_min_rank'"),
        ("sgd{decay_exclude=(}", SpecError, "not a regular expression"),
        ("sgd{nesterov=true}", SpecError, "'nesterov' needs momentum"),
        ("nesterov{dampening=0.1}", SpecError, "'nesterov' needs momentum"),
    ],
)
def test_what_is_wrong_is_named(text: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as raised:
        make(text)
    assert told in str(raised.value)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_rate_of_zero_leaves_parameters_as_they_are(text: str) -> None:
    weights = draw()
    got = trained(make(text), weights, [draw(seed) for seed in range(1, 4)], rate=0.0)
    for name, first in weights.items():
        assert got[name].tobytes() == first.tobytes(), name


@pytest.mark.parametrize("exponent", [-60, -8, 8, 60])
@pytest.mark.parametrize("text", FORMULAS)
def test_scaling_by_a_power_of_two_changes_no_bit(text: str, exponent: int) -> None:
    weights, gradients = draw(), [draw(seed) for seed in range(1, 4)]
    scaled = [{k: np.ldexp(v, exponent) for k, v in each.items()} for each in gradients]
    wanted = trained(make(text), weights, gradients)
    got = trained(make(text), weights, scaled, scale=2.0**-exponent)
    assert all(got[name].tobytes() == array.tobytes() for name, array in wanted.items())


@pytest.mark.parametrize("text", FORMULAS)
def test_all_parameters_are_updated_as_each_would_be_alone(text: str) -> None:
    weights, gradients = draw(), [draw(seed) for seed in range(1, 4)]
    together = trained(make(text), weights, gradients)
    for parameter in parameters_of(weights):
        name = parameter.name
        alone = trained(
            make(text), {name: weights[name]}, [{name: each[name]} for each in gradients]
        )
        for key, array in alone.items():
            assert array.tobytes() == together[key].tobytes(), key
