"""QuantizeScaled and QuantizeDelayed in ONNX Runtime: their oracle's bits; what they refuse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxbf.custom_ops.attributes import scaled_attributes
from onnxbf.custom_ops.observation import ROUNDING_FIELDS
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import ModelError
from onnxbf.scaled_cast import parse_scaled_cast
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.small_models import check_in_both, model, ours, value

STEP = value("step", TensorProto.INT64, [])
RANDOM = {"seed": 2**63 - 1, "node": 7}


def _health(name: str) -> onnx.ValueInfoProto:
    return value(name, TensorProto.DOUBLE, [len(ROUNDING_FIELDS)])


def _delayed(text: str, **attributes: object) -> onnx.NodeProto:
    named = {**scaled_attributes(parse_scaled_cast(text), **RANDOM), **attributes}
    outputs = ["y", "state.next", "health"]
    return helper.make_node(
        "QuantizeDelayed", ["x", "state", "step"], outputs, "make_y", domain=DOMAIN, **named
    )


@pytest.mark.parametrize("shape", [(2, 7), (33, 4, 5), (40, 3000), (2, 0), ()], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_current_scaling_gives_the_bits_of_its_oracle(shape: tuple[int, ...], threads: int) -> None:
    texts = ("e4m3fn:rne{scaling=current}", "e5m2:sr{scaling=current,margin=1}")
    nodes = [
        ours(
            "QuantizeScaled",
            ["x", "step"],
            f"y{index}",
            **scaled_attributes(parse_scaled_cast(text), **RANDOM),
        )
        for index, text in enumerate(texts)
    ]
    for node in nodes:
        node.output.append(f"{node.output[0]}_health")
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = [each for n in nodes for each in (value(n.output[0]), _health(n.output[1]))]
    proto = model(nodes, [value("x", shape=shape), STEP], outputs)
    check_in_both(proto, {"x": x, "step": np.array(5, np.int64)}, threads=threads)


@pytest.mark.parametrize("rounding", ["rne", "sr"])
@pytest.mark.parametrize("threads", [1, 3])
def test_delayed_scaling_gives_the_bits_of_its_oracle_step_by_step(
    rounding: str, threads: int
) -> None:
    states = [value("state", shape=[5]), value("state.next", shape=[5])]
    proto = model(
        [_delayed(f"e4m3fn:{rounding}{{scaling=delayed,history=4}}")],
        [value("x", shape=["n", 300]), states[0], STEP],
        [value("y", shape=["n", 300]), states[1], _health("health")],
    )
    session, oracle = make_session(proto.SerializeToString(), threads=threads), Evaluator(proto)
    state = np.array([1, 0, 0, 0, 0], np.float32)
    for step in range(7):
        x = np.random.default_rng(step).standard_normal((200, 300)) * 10.0**-step
        feeds = {"x": x.astype(np.float32), "state": state, "step": np.array(step, np.int64)}
        found = run(session, feeds)
        wanted = dict(zip(("y", "state.next", "health"), oracle.run(None, feeds)))
        assert all(same_bits(found[name], wanted[name]) for name in wanted)
        state = found["state.next"]
    assert state[0] == np.float32(448) / np.abs(state[1:]).max()


def test_a_frozen_factor_needs_no_next_state() -> None:
    node = ours("QuantizeDelayed", ["x", "state"], "y", history=2)
    x, state = value("x", shape=[2, 3]), value("state", shape=[3])
    proto = model([node], [x, state], [value("y")])
    feeds = {"x": np.float32([[1, 2, 300], [0, -1, -7]]), "state": np.float32([2, 9, 9])}
    found = check_in_both(proto, feeds)["y"]
    assert found.tolist() == [[1, 2, 224], [0, -1, -7]]


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"exponent_bits": 8}, "attribute 'exponent_bits' is 8, but must be from 2 to 5"),
        ({"margin": 16}, "attribute 'margin' is 16, but must be from 0 to 15"),
        ({"margin": 0.5}, "'margin'.*an integer"),
        ({"scale": "e8m0"}, "'e8m0', but must be one of fp32, power_of_two"),
        ({"rounding": "up"}, "'up', but must be one of rne"),
        ({"history": 0}, "attribute 'history' is 0, but must be from 1"),
        ({"amax": "mean"}, "'mean', but must be one of max, most_recent"),
    ],
)
def test_wrong_attributes(attributes: dict[str, object], complaint: str) -> None:
    node = _delayed("e4m3fn:rne{scaling=delayed,history=4}", **attributes)
    proto = model(
        [node],
        [value("x"), value("state"), STEP],
        [value("y"), value("state.next"), _health("health")],
    )
    with pytest.raises(ModelError, match=f"QuantizeDelayed node 'make_y'.*{complaint}"):
        make_session(proto.SerializeToString())


def test_a_state_of_another_length() -> None:
    node = ours("QuantizeDelayed", ["x", "state"], "y", history=4)
    proto = model([node], [value("x", shape=[2]), value("state", shape=["n"])], [value("y")])
    feeds = {"x": np.ones(2, np.float32), "state": np.ones(4, np.float32)}
    with pytest.raises(ModelError, match=r"make_y.*has 4 numbers, but must have 5"):
        run(make_session(proto.SerializeToString()), feeds)
    with pytest.raises(ModelError, match=r"'make_y'.*takes one of 5 numbers"):
        Evaluator(proto).run(None, feeds)
