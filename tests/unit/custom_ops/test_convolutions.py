"""Convolutions under a profile, bit for bit against the scalar dot product, and against others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from onnxbf.custom_ops.library import instruction_sets
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests.conv_cases import (
    CASES,
    FORWARD,
    SHAPES,
    TO_INPUT,
    TO_WEIGHTS,
    TRANSPOSED,
    TRANSPOSED_SHAPES,
    Case,
    evaluate,
    output_shape,
    single,
)
from tests.conv_definition import convolution_sums
from tests.other_sets import printed_under
from tests.small_models import model, ours, value
from tests.stand_in import stand_ins

Arrays = Mapping[str, NDArray[Any]]


def digest(arrays: Arrays) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()


KERNELS = """
from onnxbf.session import make_session, run
from tests.conv_cases import CASES, single
from tests.unit.custom_ops.test_convolutions import digest
for threads in (1, 2, 3):
    for case in CASES:
        session = make_session(single(case).SerializeToString(), threads=threads)
        print(digest(run(session, case.feeds())))
"""


@pytest.fixture(scope="module")
def wanted() -> list[str]:
    """Of every case, by the reference."""
    return [digest(evaluate(case)) for case in CASES]


@pytest.mark.parametrize("instruction_set", [*instruction_sets(), *stand_ins()])
def test_every_case_equals_its_reference_on_any_threads(
    instruction_set: str, wanted: list[str]
) -> None:
    found = printed_under(instruction_set, KERNELS)
    assert len(found) == 3 * len(CASES)
    for run_number in range(3):
        of_run = found[run_number * len(CASES) : (run_number + 1) * len(CASES)]
        assert [str(c) for c, a, b in zip(CASES, of_run, wanted) if a != b] == []


def _run(op_type: str, name: str, feeds: Arrays, outputs: Sequence[str]) -> Arrays:
    """Under exact sums."""
    attributes = Case(op_type, name).sizes[2]
    node = helper.make_node(
        op_type, [*feeds], outputs, domain="ai.onnxbf", arithmetic="exact", **attributes
    )
    proto = model([node], [value(key) for key in feeds], [value(key) for key in outputs])
    return run(make_session(proto.SerializeToString()), feeds)


def _normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _check(found: Arrays, **wanted: NDArray[np.float64]) -> None:
    for key, sums in wanted.items():
        np.testing.assert_allclose(found[key], sums, rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", SHAPES)
def test_conv_and_its_gradients_are_what_onnx_defines_but_for_rounding(name: str) -> None:
    x_shape, w_shape, attributes = SHAPES[name]
    x, w, b = _normal(0, *x_shape), _normal(1, *w_shape), _normal(2, w_shape[0])
    dy = _normal(3, *output_shape(name))
    found = {
        **_run(FORWARD, name, {"x": x, "w": w, "b": b}, ["y"]),
        **_run(TO_INPUT, name, {"dy": dy, "w": w, "x": x}, ["dx"]),
        **_run(TO_WEIGHTS, name, {"dy": dy, "x": x, "w": w}, ["dw", "db"]),
    }
    dx, dw, y = convolution_sums(*(a.astype(np.float64) for a in (x, w, dy)), attributes)
    axes = (0, *range(2, dy.ndim))
    _check(
        found,
        y=y + b.reshape(-1, *[1] * (x.ndim - 2)),
        dx=dx,
        dw=dw,
        db=dy.sum(axes, dtype=np.float64),
    )


@pytest.mark.parametrize("name", TRANSPOSED_SHAPES)
def test_conv_transpose_is_what_onnx_defines_but_for_rounding(name: str) -> None:
    x_shape, w_shape, attributes = TRANSPOSED_SHAPES[name]
    maps = w_shape[1] * attributes.get("group", 1)
    x, w, b = _normal(0, *x_shape), _normal(1, *w_shape), _normal(2, maps)
    found = _run(TRANSPOSED, name, {"x": x, "w": w, "b": b}, ["y"])
    wide = np.zeros(found["y"].shape)
    sums, _, _ = convolution_sums(wide, w.astype(np.float64), x.astype(np.float64), attributes)
    _check(found, y=sums + b.reshape(-1, *[1] * (x.ndim - 2)))


# Padded by a stride or more at the end, ONNX Runtime 1.19 reads beyond the input of ConvTranspose.
_OF_ONNX_RUNTIME = [
    *((FORWARD, name) for name in SHAPES),
    *((TRANSPOSED, name) for name in TRANSPOSED_SHAPES if name != "more padding"),
]


@pytest.mark.parametrize(("op_type", "name"), _OF_ONNX_RUNTIME)
def test_they_are_onnx_runtimes_convolutions_but_for_rounding(op_type: str, name: str) -> None:
    case = Case(op_type, name, {"arithmetic": "exact"})
    feeds = {
        key: np.random.default_rng(0).normal(size=array.shape).astype(np.float32)
        for key, array in case.feeds().items()
    }
    found = run(make_session(single(case).SerializeToString()), feeds)["y"]
    plain = model(
        [helper.make_node(op_type, ["x", "w", "b"], ["y"], **case.sizes[2])],
        [value(key) for key in feeds],
        [value("y")],
    )
    theirs = run(make_session(plain.SerializeToString()), feeds)["y"]
    assert found.shape == theirs.shape
    np.testing.assert_allclose(found, theirs, rtol=1e-4, atol=1e-4)


MISFITS: list[tuple[str, dict[str, tuple[int, ...]], dict[str, Any], str]] = [
    (FORWARD, {"x": (2, 3), "w": (4, 3)}, {}, "same rank, 3 or more"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 2, 3)}, {}, "fit each other"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 6)}, {}, "kernel is larger"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"kernel_shape": [2]}, "not that of w"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"strides": [0]}, "must be positive"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"pads": [1]}, "must fit"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3), "b": (3,)}, {}, "b of shape 3 does not fit 4 maps"),
    (TRANSPOSED, {"x": (2, 3), "w": (3, 4)}, {}, "same rank, 3 or more"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (4, 2, 3)}, {}, "fit each other"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (3, 2, 3)}, {"group": 2}, "fit each other"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (3, 4, 3)}, {"pads": [4, 4]}, "padding is larger than y"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (3, 4, 3)}, {"output_shape": [2, 4, 9]}, "must fit"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (3, 4, 3)}, {"output_padding": [1, 1]}, "must fit"),
    (TRANSPOSED, {"x": (2, 3, 5), "w": (3, 2, 3), "b": (3,)}, {}, "b of shape 3 does not fit 2 m"),
    (TO_INPUT, {"dy": (2, 4, 4), "w": (4, 3, 3), "x": (2, 3, 5)}, {}, "is not that of the conv"),
    (TO_INPUT, {"dy": (1, 4, 3), "w": (4, 3, 3), "x": (2, 3, 5)}, {}, "fit each other"),
    (TO_WEIGHTS, {"dy": (2, 4), "x": (2, 3, 5), "w": (4, 3, 3)}, {}, "same rank"),
]


@pytest.mark.parametrize(("op_type", "shapes", "attributes", "message"), MISFITS)
def test_what_does_not_fit_is_refused(
    op_type: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, Any], message: str
) -> None:
    proto = model(
        [ours(op_type, [*shapes], "y", arithmetic="exact", **attributes)],
        [value(name) for name in shapes],
        [value("y")],
    )
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ModelError, match=rf"make_y.*{message}"):
        run(make_session(proto.SerializeToString()), feeds)


@pytest.mark.parametrize("op_type", [FORWARD, TRANSPOSED])
def test_an_empty_bias_is_none(op_type: str) -> None:
    case = Case(op_type, "2-D", {"arithmetic": "exact"}, bias=False)
    proto = model(
        [ours(op_type, ["x", "w", "b"], "y", arithmetic="exact", pads=[1, 1, 1, 1])],
        [value(name) for name in ("x", "w", "b")],
        [value("y")],
    )
    feeds = {**case.feeds(), "b": np.zeros(0, np.float32)}
    assert digest(run(make_session(proto.SerializeToString()), feeds)) == digest(
        run(make_session(single(case).SerializeToString()), case.feeds())
    )
