"""QuantizeRange in ONNX Runtime: the bits of its oracle, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnxbf.custom_ops.attributes import range_attributes
from onnxbf.errors import ModelError
from onnxbf.range_cast import RANGE_CASTS, parse_range_cast
from onnxbf.session import make_session, run
from tests.small_models import check_in_both, model, ours, value

STEP = value("step", TensorProto.INT64, [])


@pytest.mark.parametrize("shape", [(2, 7), (33, 4, 5), (40, 3000), (2, 0)], ids=str)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_it_gives_the_bits_of_its_oracle(shape: tuple[int, ...], threads: int) -> None:
    nodes = [
        ours(
            "QuantizeRange",
            ["x", "step"],
            name,
            **range_attributes(parse_range_cast(f"{name}{{bits=4}}"), seed=2**63 - 1, node=7),
        )
        for name in RANGE_CASTS
    ]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    proto = model(nodes, [value("x", shape=shape), STEP], [value(name) for name in RANGE_CASTS])
    check_in_both(proto, {"x": x, "step": np.array(5, np.int64)}, threads=threads)


def test_a_scalar_is_one_sample() -> None:
    proto = model([ours("QuantizeRange", ["x"], "y")], [value("x", shape=[])], [value("y")])
    check_in_both(proto, {"x": np.array(0.7, np.float32)})


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"bits": 9}, "attribute 'bits' is 9, but must be from 2 to 8"),
        ({"grouping": "row"}, "'row', but must be one of tensor, sample, householder"),
        ({"rounding": "rtz"}, "'rtz', but must be one of rne, sr"),
        ({"zero": "no"}, "'no', but must be one of free, exact"),
    ],
)
def test_wrong_attributes(attributes: dict[str, object], complaint: str) -> None:
    proto = model([ours("QuantizeRange", ["x"], "y", **attributes)], [value("x")], [value("y")])
    with pytest.raises(ModelError, match=f"QuantizeRange node 'make_y'.*{complaint}"):
        make_session(proto.SerializeToString())


def test_one_sample_cannot_be_reflected() -> None:
    node = ours("QuantizeRange", ["x"], "y", grouping="householder", rounding="sr")
    proto = model([node], [value("x", shape=["n", 3])], [value("y")])
    session = make_session(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"make_y.*needs 2 samples"):
        run(session, {"x": np.ones((1, 3), np.float32)})
