"""QuantizeBlocks in ONNX Runtime: the bits of its oracle, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnxbf.block_cast import BLOCK_CASTS, parse_block_cast
from onnxbf.custom_ops.attributes import block_attributes
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests.small_models import check_in_both, model, ours, value

STEP = value("step", TensorProto.INT64, [])


@pytest.mark.parametrize("shape", [(2, 7), (33, 4, 5), (40, 3000), (2, 0)], ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_it_gives_the_bits_of_its_oracle(shape: tuple[int, ...], threads: int) -> None:
    nodes = [
        ours(
            "QuantizeBlocks",
            ["x", "step"],
            f"{name}_{axis}",
            **block_attributes(
                parse_block_cast(f"{name}{{rounding=sr,block=9}}").along(axis),
                seed=2**63 - 1,
                node=7,
            ),
        )
        for name in BLOCK_CASTS
        for axis in (0, -1)
    ]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = [value(node.output[0]) for node in nodes]
    proto = model(nodes, [value("x", shape=shape), STEP], outputs)
    check_in_both(proto, {"x": x, "step": np.array(5, np.int64)}, threads=threads)


def test_a_scalar_is_a_block() -> None:
    proto = model([ours("QuantizeBlocks", ["x"], "y")], [value("x", shape=[])], [value("y")])
    check_in_both(proto, {"x": np.array(0.7, np.float32)})


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"exponent_bits": 6}, "attribute 'exponent_bits' is 6, but must be from 0 to 5"),
        ({"exponent_bits": 1}, "exponent_bits must be 0 or 2 to 5"),
        ({"exponent_bits": 0}, "integers have 6 mantissa_bits"),
        ({"mantissa_bits": 8}, "attribute 'mantissa_bits' is 8, but must be from 1 to 7"),
        ({"rounding": "rup"}, "'rup', but must be one of rne, rna, rtz, sr"),
        ({"block": 0}, "attribute 'block' is 0, but must be from 1"),
    ],
)
def test_wrong_attributes(attributes: dict[str, object], complaint: str) -> None:
    proto = model([ours("QuantizeBlocks", ["x"], "y", **attributes)], [value("x")], [value("y")])
    with pytest.raises(ModelError, match=f"QuantizeBlocks node 'make_y'.*{complaint}"):
        make_session(proto.SerializeToString())


def test_an_axis_that_is_not_there() -> None:
    node = ours("QuantizeBlocks", ["x"], "y", axis=2)
    proto = model([node], [value("x", shape=["n", 3])], [value("y")])
    session = make_session(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"make_y.*'axis' is 2, but x has 2 dimensions"):
        run(session, {"x": np.ones((1, 3), np.float32)})
