"""The operators in ONNX Runtime, bit for bit against their reference implementation."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from onnxbf.custom_ops.probes import boundaries, specials, upper_halves
from onnxbf.custom_ops.reference import STORED_TYPES, Evaluator
from onnxbf.encoding import code_type
from onnxbf.formats import (
    FORMATS,
    Cast,
    NumberFormat,
    Overflow,
    Rounding,
    Subnormals,
    parse_cast,
    parse_format,
)
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.small_models import check_in_both, model, node, ours, value

ALL_FORMATS = [*FORMATS.values(), *map(parse_format, ("e2m1", "e3m7", "e5m11", "e8m3", "e8m22"))]
STORED = list(STORED_TYPES)
STEP = value("step", TensorProto.INT64, [])
OFFSET = value("offset", TensorProto.INT64, [])


def _probes(fmt: NumberFormat) -> np.ndarray:
    near = boundaries(fmt)
    return np.concatenate([specials(), near[:: max(1, len(near) // 5000)]])


def _number(number: int) -> np.ndarray:
    return np.array(number, np.int64)


@pytest.mark.parametrize("fmt", ALL_FORMATS, ids=str)
def test_every_cast_rounds_as_the_reference(fmt: NumberFormat) -> None:
    casts = [Cast(fmt, *rest) for rest in itertools.product(Rounding, Subnormals, Overflow)]
    nodes = [
        ours("QuantizeDequantize", ["x"], f"y{i}", cast, seed=2**63 - 1, node=i)
        for i, cast in enumerate(casts)
    ]
    outputs = [value(f"y{i}") for i in range(len(casts))]
    check_in_both(model(nodes, [value("x", shape=["n"])], outputs), {"x": _probes(fmt)})


@pytest.mark.parametrize("bits", [1, 7, 31])
def test_random_bits(bits: int) -> None:
    cast = parse_cast(f"e4m3:sr{{bits={bits}}}")
    proto = model([ours("QuantizeDequantize", ["x"], "y", cast)], [value("x")], [value("y")])
    check_in_both(proto, {"x": _probes(cast.format)})


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_large_tensors_round_alike_on_any_number_of_threads(threads: int) -> None:
    x = np.random.default_rng(0).standard_normal(300_001).astype(np.float32)
    nodes = [
        ours("QuantizeDequantize", ["x", "step", "offset"], "sr", parse_cast("bf16:sr"), seed=-1),
        ours("QuantizeDequantize", ["x"], "rne", parse_cast("fp16")),
        ours("Quantize", ["x", "step"], "stored", parse_cast("e4m3fn:sr"), node=2**32 - 1),
        ours("Dequantize", ["stored"], "back"),
    ]
    outputs = [value(name) for name in ("sr", "rne", "back")]
    proto = model(nodes, [value("x", shape=["n"]), STEP, OFFSET], outputs)
    feeds = {"x": x, "step": _number(2**32 - 1), "offset": _number(2**40 + 77)}
    check_in_both(proto, feeds, threads=threads)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 1, 5, 7)], ids=str)
def test_any_shape(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    nodes = [
        ours("QuantizeDequantize", ["x"], "y", parse_cast("bf16:sr")),
        ours("Quantize", ["x"], "stored", parse_cast("fp16")),
        ours("Dequantize", ["stored"], "back"),
    ]
    stored = value("stored", TensorProto.FLOAT16, shape)
    proto = model(nodes, [value("x", shape=shape)], [value("y"), value("back")], values=[stored])
    assert check_in_both(proto, {"x": x})["y"].shape == shape


def test_one_session_takes_tensors_of_any_size() -> None:
    cast = parse_cast("bf16:sr")
    proto = model(
        [ours("QuantizeDequantize", ["x"], "y", cast)], [value("x", shape=["a", "b"])], [value("y")]
    )
    session = make_session(proto.SerializeToString())
    for shape in ((1, 1), (300, 401), (0, 5), (7, 3)):
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        assert same_bits(run(session, {"x": x})["y"], Evaluator(proto).run(None, {"x": x})[0])


def test_each_step_draws_new_bits() -> None:
    cast = parse_cast("bf16:sr")
    proto = model(
        [ours("QuantizeDequantize", ["x", "step"], "y", cast, seed=5)],
        [value("x", shape=["n"]), STEP],
        [value("y")],
    )
    x = np.full(1000, 1.001, np.float32)
    steps = [
        check_in_both(proto, {"x": x, "step": _number(step)})["y"] for step in (0, 1, 2**32 - 1)
    ]
    for one, other in itertools.combinations(steps, 2):
        assert not np.array_equal(one, other)
    again = check_in_both(proto, {"x": x, "step": _number(0)})["y"]
    assert same_bits(again, steps[0])


@pytest.mark.parametrize("op_type", ["QuantizeDequantize", "Quantize"])
def test_a_batch_in_parts_rounds_as_a_whole(op_type: str) -> None:
    back = {
        "QuantizeDequantize": node("Identity", ["q"], "y"),
        "Quantize": ours("Dequantize", ["q"], "y"),
    }
    nodes = [ours(op_type, ["x", "step", "offset"], "q", parse_cast("bf16:sr")), back[op_type]]
    session = make_session(
        model(nodes, [value("x", shape=["n"]), STEP, OFFSET], [value("y")]).SerializeToString()
    )
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)

    def rounded(begin: int, end: int) -> np.ndarray:
        feeds = {"x": x[begin:end], "step": _number(3), "offset": _number(begin)}
        return run(session, feeds)["y"]

    parts = [rounded(begin, end) for begin, end in ((0, 1), (1, 130), (130, 999), (999, 1000))]
    assert same_bits(np.concatenate(parts), rounded(0, 1000))


@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT16"])
def test_agrees_with_onnx_runtimes_own_casts(kind: str) -> None:
    x = upper_halves(0, 1, 0x0FFF, 0x1000, 0x7FFF, 0x8000, 0x8001, 0xFFFF)
    nodes = [
        ours("QuantizeDequantize", ["x"], "ours", parse_cast(kind.lower())),
        node("Cast", ["x"], "stored", to=getattr(TensorProto, kind)),
        node("Cast", ["stored"], "theirs", to=TensorProto.FLOAT),
    ]
    proto = model(nodes, [value("x", shape=["n"])], [value("ours"), value("theirs")])
    got = run(make_session(proto.SerializeToString()), {"x": x})
    number = ~np.isnan(x)
    assert np.array_equal(np.isnan(got["ours"]), np.isnan(got["theirs"]))
    assert same_bits(got["ours"][number], got["theirs"][number])


@pytest.mark.parametrize("fmt", STORED, ids=str)
@pytest.mark.parametrize("rounding", Rounding)
def test_quantize_stores_the_codes_of_the_reference(fmt: NumberFormat, rounding: Rounding) -> None:
    cast = Cast(fmt, rounding)
    x = _probes(fmt)
    kind = getattr(TensorProto, fmt.onnx_type or "")
    proto = model(
        [ours("Quantize", ["x"], "y", cast)], [value("x", shape=["n"])], [value("y", kind)]
    )
    wanted = Evaluator(proto).run(None, {"x": x})[0]
    assert wanted.dtype == STORED_TYPES[fmt]
    got = make_session(proto.SerializeToString()).run_with_ort_values(["y"], _ort_values(x=x))[0]
    assert got.shape() == list(x.shape)
    width = ctypes.c_uint8 if fmt.bits == 8 else ctypes.c_uint16  # NumPy has no such types
    codes = np.ctypeslib.as_array((width * x.size).from_address(got.data_ptr()))
    assert np.array_equal(codes, wanted.view(code_type(fmt)))


def _ort_values(**arrays: np.ndarray) -> dict[str, Any]:
    onnxruntime = pytest.importorskip("onnxruntime")
    return {k: onnxruntime.OrtValue.ortvalue_from_numpy(v) for k, v in arrays.items()}


@pytest.mark.parametrize("fmt", STORED, ids=str)
def test_dequantize_reads_every_code(fmt: NumberFormat) -> None:
    codes = np.arange(2**fmt.bits).astype(code_type(fmt))
    weights = {"codes": codes.view(STORED_TYPES[fmt])}
    proto = model([ours("Dequantize", ["codes"], "y")], [], [value("y")], weights=weights)
    numbers = check_in_both(proto, {}, optimize=False)["y"]
    assert numbers.size == codes.size
