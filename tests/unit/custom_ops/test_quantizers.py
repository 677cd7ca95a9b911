"""What a node that rounds says of itself is what made it."""

from __future__ import annotations

import pytest

from onnxbf.casts import parse_any_cast
from onnxbf.custom_ops.quantizers import QUANTIZERS, applied_cast, quantizer
from onnxbf.custom_ops.registry import OPS
from onnxbf.errors import SpecError
from onnxbf.range_cast import RangeCast

TEXTS = {
    "QuantizeDequantize": ("bf16:rne", "e4m3fn:sr{overflow=saturate,bits=8}", "e5m7:rup"),
    "QuantizeScaled": ("e4m3fn:rne{scaling=current}", "e5m2:sr{bits=4,scaling=current,margin=2}"),
    "QuantizeDelayed": (
        "e4m3fn:rne{scaling=delayed,history=1024}",
        "fp16:rtz{subnormals=flush,scaling=delayed,history=1,amax=most_recent,scale=power_of_two}",
    ),
    "QuantizeRange": ("affine{bits=8}", "weight{bits=3}", "ptq{bits=2}", "psq{bits=8}", "bhq"),
    "QuantizeBlocks": ("mxfp8", "mxfp8{format=e5m2,block=16}", "mxint8{rounding=sr}", "mxfp4"),
}


@pytest.mark.parametrize(
    ("op_type", "text"), [(op, text) for op, texts in TEXTS.items() for text in texts]
)
def test_a_cast_there_and_back(op_type: str, text: str) -> None:
    cast = parse_any_cast(text)
    written, attributes = quantizer(cast, seed=3, node=4)
    assert written == op_type and written in QUANTIZERS
    assert ("seed" in attributes) == cast.stochastic
    assert all(value != OPS[op_type].attributes[key] for key, value in attributes.items())
    found = applied_cast(op_type, attributes)
    assert found == cast and str(found) == str(cast)


def test_what_has_no_name_is_called_by_its_operator() -> None:
    found = applied_cast("QuantizeRange", {"grouping": "sample", "bits": 4})
    assert isinstance(found, RangeCast) and str(found) == "QuantizeRange{bits=4}"


def test_what_does_not_round() -> None:
    assert applied_cast("Dequantize", {}) is None
    assert applied_cast("MatMul", {"arithmetic": "kahan"}) is None
    assert set(OPS) >= QUANTIZERS


@pytest.mark.parametrize(
    ("op_type", "attributes", "complaint"),
    [
        ("QuantizeDelayed", {"history": 0}, "'history' is 0, but must be from 1"),
        ("QuantizeDelayed", {"amax": "mean"}, "mean"),
        ("QuantizeScaled", {"margin": 16}, "margin of e4m3fn"),
        ("QuantizeScaled", {"exponent_bits": 8}, "2 to 5 exponent bits"),
    ],
)
def test_attributes_that_name_no_cast(
    op_type: str, attributes: dict[str, int | str], complaint: str
) -> None:
    with pytest.raises((ValueError, SpecError), match=complaint):
        applied_cast(op_type, attributes)
