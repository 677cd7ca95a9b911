"""Rules of weight update against their published steps, in ml_dtypes' bfloat16 arithmetic."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from onnxbf.errors import NameUnknown
from onnxbf.formats import parse_cast
from onnxbf.protos import to_proto
from onnxbf.rounding import round_array
from onnxbf.session import make_session, run
from onnxbf.training.emitter import Parameter
from onnxbf.training.optimizers import OPTIMIZERS
from onnxbf.training.update import make_update
from onnxbf.training.weight_update import WEIGHT_UPDATES, parse_weight_update
from tests.implementations import same_bits

Array = NDArray[Any]
RATE, STEPS, SIZE = np.float32(0.01), 30, 257
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=SIZE).astype(np.float32)
GRADIENTS = RNG.normal(size=(STEPS, SIZE)).astype(np.float32)


def q(x: Array) -> Array:
    """Rounded to bfloat16 by ml_dtypes."""
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def cut(x: Array) -> Array:
    return (x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


class Updates:
    """An update graph of one parameter, run step by step in ONNX Runtime."""

    def __init__(self, optimizer: str, rule: str) -> None:
        chosen = parse_weight_update(rule)
        update = make_update([Parameter("w", (SIZE,))], optimizer, chosen)
        self.notes = update.notes
        self.state = {s.name: np.full(s.shape, s.fill, np.float32) for s in update.slots}
        self.state |= chosen.initial("w", WEIGHT)
        self._session = make_session(to_proto(update.model).SerializeToString(), optimize=False)

    def step(self, index: int) -> dict[str, Array]:
        given = {
            **self.state,
            "w.gradient": GRADIENTS[index],
            "learning_rate": RATE,
            "step": np.array(index, np.int64),
            "gradient_scale": np.float32(1),
        }
        feeds = {name: np.asarray(array) for name, array in given.items()}
        wanted = {value.name for value in self._session.get_inputs()}
        found = run(self._session, {name: feeds[name] for name in wanted})
        self.state = {name: found[f"{name}.next"] for name in self.state}
        return self.state


def nearest(state: dict[str, Array], u: Array) -> None:
    state["w"] = q(state["w"] - q(u))


def kahan(state: dict[str, Array], u: Array) -> None:
    w, y = state["w"], q(q(-u) - state["w.compensation"])
    total = q(w + y)
    state.update({"w": total, "w.compensation": q(q(total - w) - y)})


def split_sgd(state: dict[str, Array], u: Array) -> None:
    whole = (state["w"] + state["w.low"]) - u
    state.update({"w": cut(whole), "w.low": whole - cut(whole)})


def mcf_light(state: dict[str, Array], u: Array) -> None:
    m, low, v = state["w"], state["w.low"], q(-u)
    r = q(m + v)
    low = q(low + q(v - q(r - m)))
    state["w"] = q(r + low)
    state["w.low"] = q(low - q(state["w"] - r))


PUBLISHED = {f.__name__: f for f in (nearest, kahan, split_sgd, mcf_light)}


@pytest.mark.parametrize("rule", PUBLISHED)
def test_sgd_takes_the_published_steps(rule: str) -> None:
    updates = Updates("sgd", rule)
    state = {name: array.copy() for name, array in updates.state.items()}
    for index in range(STEPS):
        PUBLISHED[rule](state, GRADIENTS[index] * RATE)
        for name, array in updates.step(index).items():
            assert same_bits(array, state[name]), (name, index)


def test_stochastic_rounding_is_of_the_float32_difference() -> None:
    updates = Updates("sgd", "stochastic")
    for index in range(STEPS):
        exact = updates.state["w"] - GRADIENTS[index] * RATE
        found = updates.step(index)["w"]
        down, up = (round_array(exact, parse_cast(f"bf16:{r}")) for r in ("rdn", "rup"))
        assert ((found == down) | (found == up)).all()
        assert 0.2 < np.mean(found == up) < 0.8


def test_decay_and_momentum_are_rounded_where_they_are_kept() -> None:
    updates = Updates("sgd{momentum=0.9,weight_decay=0.1,decoupled=true}", "nearest")
    w, v = q(WEIGHT), np.zeros(SIZE, np.float32)
    for index in range(STEPS):
        v = q(v * q(np.float32(0.9)) + GRADIENTS[index])
        w = q(q(w * (1 - RATE * np.float32(0.1))) - q(v * RATE))
        state = updates.step(index)
        assert same_bits(state["w.momentum"], v) and same_bits(state["w"], w)


@pytest.mark.parametrize("rule", WEIGHT_UPDATES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_keeps_what_the_rule_says(optimizer: str, rule: str) -> None:
    updates, master = Updates(optimizer, rule), Updates(optimizer, "fp32_master")
    for index in range(STEPS):
        state, exact = updates.step(index), master.step(index)
    narrow = rule != "fp32_master"
    for name, array in state.items():
        kept = narrow and not (rule == "split_sgd" and name != "w")
        assert same_bits(array, q(array)) or not kept, name
    if rule in ("nearest", "stochastic") or optimizer == "lion":  # they lose more; signs flip
        return
    scale = np.abs(exact["w"] - WEIGHT).max()
    lost = state.get("w.compensation", np.float32(0))
    whole = state["w"] + state.get("w.low", np.float32(0)) - lost
    assert np.abs(whole - exact["w"]).max() < 0.2 * scale


def test_split_weights_are_float32_weights_in_two_parts() -> None:
    split, master = Updates("adam", "split_sgd"), Updates("adam", "fp32_master")
    for index in range(STEPS):
        state, exact = split.step(index), master.step(index)
        assert same_bits(state["w"] + state["w.low"], exact["w"])
        assert same_bits(state["w"], cut(exact["w"]))


def test_an_average_of_squares_in_two_parts_forgets() -> None:
    plus, light = Updates("adam", "mcf_plus"), Updates("adam", "mcf_light")
    exact, before = np.zeros(SIZE), np.zeros(SIZE, np.float32)
    for index in range(STEPS):
        exact = 0.999 * exact + 0.001 * GRADIENTS[index].astype(np.float64) ** 2
        before = light.state["w.second_moment"]
        two, one = plus.step(index), light.step(index)
    found = two["w.second_moment"] + two["w.second_moment_low"]
    assert np.abs(found / exact - 1).max() < 0.02
    assert (one["w.second_moment"] >= before).all()  # 0.999 rounds to 1: it only grows


def test_what_rounds_to_one_is_told() -> None:
    (note,) = Updates("adam", "nearest").notes
    assert "0.999 rounds to 1 in bf16" in note and "second_moment" in note
    for rule in ("mcf_plus", "split_sgd", "nearest{states=fp32}", "fp32_master"):
        assert not Updates("adam", rule).notes
    assert not Updates("adam{beta2=0.997}", "nearest").notes


def test_other_formats() -> None:
    state = Updates("sgd", "nearest{format=fp16}").step(0)
    assert same_bits(state["w"], state["w"].astype(np.float16).astype(np.float32))
    wide = Updates("momentum", "kahan{states=fp32}").step(0)
    assert not same_bits(wide["w.momentum"], q(wide["w.momentum"]))
    for text in ("nearst", "kahan{format=bf17}", "kahan{state=fp32}"):
        with pytest.raises(NameUnknown, match="did you mean"):
            parse_weight_update(text)
