"""What the operators refuse in ONNX Runtime, and in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from onnxbf.errors import ModelError
from onnxbf.formats import parse_cast
from onnxbf.session import make_session, run
from tests.small_models import model, ours, value

WRONG = {
    "rounding": ("up", "is 'up', but must be one of rne, rna, rtz, rup, rdn, rto, sr"),
    "subnormals": ("no", "is 'no', but must be one of keep, flush"),
    "overflow": ("no", "is 'no', but must be one of infinity, saturate"),
    "specials": ("some", "is 'some', but must be one of ieee, nan, none"),
    "exponent_bits": (9, "is 9, but must be from 2 to 8"),
    "mantissa_bits": (24, "is 24, but must be from 1 to 23"),
    "random_bits": (0, "is 0, but must be from 1 to 32"),
    "node": (2**32, "is 4294967296, but must be from 0 to 4294967295"),
    "seed": (1.5, "must be an integer"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("op_type", ["QuantizeDequantize", "Quantize"])
def test_a_wrong_attribute_is_refused_by_name(op_type: str, name: str) -> None:
    wrong, complaint = WRONG[name]
    kind = TensorProto.FLOAT if op_type == "QuantizeDequantize" else TensorProto.BFLOAT16
    proto = model(
        [ours(op_type, ["x"], "y", **{name: wrong})], [value("x", shape=[1])], [value("y", kind)]
    )
    with pytest.raises(ModelError) as error:
        make_session(proto.SerializeToString())
    assert f"{op_type} node 'make_y': attribute '{name}' {complaint}." in str(error.value)


@pytest.mark.parametrize("wrong", [3, [1, 2], 1.0], ids=str)
def test_an_attribute_of_another_type_is_refused(wrong: Any) -> None:
    proto = model(
        [ours("QuantizeDequantize", ["x"], "y", rounding=wrong)], [value("x")], [value("y")]
    )
    with pytest.raises(ModelError, match="node 'make_y': attribute 'rounding' must be a string"):
        make_session(proto.SerializeToString())


def test_a_format_that_float32_cannot_hold_is_refused() -> None:
    proto = model(
        [ours("QuantizeDequantize", ["x"], "y", specials="nan")], [value("x")], [value("y")]
    )
    with pytest.raises(ModelError, match="node 'make_y': 8 exponent_bits need ieee specials"):
        make_session(proto.SerializeToString())


@pytest.mark.parametrize("name", ["tf32", "e3m2", "e2m1"])
def test_a_format_without_a_tensor_type_is_not_stored(name: str) -> None:
    nodes = [ours("Quantize", ["x"], "q", parse_cast(name)), ours("Dequantize", ["q"], "y")]
    proto = model(nodes, [value("x", shape=[1])], [value("y")])
    with pytest.raises(ModelError, match="node 'make_q': ONNX has no tensor type for this format"):
        make_session(proto.SerializeToString())


@pytest.mark.parametrize(
    ("name", "number", "complaint"),
    [
        ("step", np.array(-1), "is -1, but must be from 0 to 4294967295"),
        ("step", np.array(2**32), "is 4294967296, but"),
        ("offset", np.array(-5), "is -5, but"),
        ("offset", np.array([1, 2]), "must hold one number, but holds 2"),
    ],
)
def test_a_wrong_place_among_random_bits_is_refused(
    name: str, number: np.ndarray, complaint: str
) -> None:
    proto = model(
        [ours("QuantizeDequantize", ["x", "step", "offset"], "y", parse_cast("bf16:sr"))],
        [value("x"), value("step", TensorProto.INT64), value("offset", TensorProto.INT64)],
        [value("y")],
    )
    feeds = {"x": np.ones(3, np.float32), "step": np.array(0), "offset": np.array(0), name: number}
    with pytest.raises(ModelError, match=rf"make_y.*input '{name}' {complaint}"):
        run(make_session(proto.SerializeToString()), feeds)


@pytest.mark.parametrize("op_type", ["QuantizeDequantize", "Quantize", "Dequantize"])
def test_another_type_of_input_is_refused(op_type: str) -> None:
    proto = model([ours(op_type, ["x"], "y")], [value("x", TensorProto.DOUBLE)], [value("y")])
    with pytest.raises(ModelError, match=r"'tensor\(double\)'.*make_y"):
        make_session(proto.SerializeToString())


def test_a_stored_type_must_be_stated_where_the_rank_is_unknown() -> None:
    nodes = [ours("Quantize", ["x"], "q", parse_cast("bf16")), ours("Dequantize", ["q"], "y")]
    with pytest.raises(ModelError, match=r"make_q.*type inference failed"):
        make_session(model(nodes, [value("x")], [value("y")]).SerializeToString())

    wrong = [value("q", TensorProto.FLOAT8E5M2)]
    proto = model(nodes, [value("x")], [value("y")], values=wrong)
    with pytest.raises(ModelError, match=r"make_q.*another type of output"):
        run(make_session(proto.SerializeToString()), {"x": np.ones(3, np.float32)})
