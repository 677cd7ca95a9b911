"""Convolutions under a profile, bit for bit against the scalar dot product, and against others."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
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
    Case,
    evaluate,
    output_shape,
    single,
)
from tests.small_models import model, ours, value

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


@pytest.mark.parametrize("instruction_set", instruction_sets())
def test_every_case_equals_its_reference_on_any_threads(
    instruction_set: str, wanted: list[str]
) -> None:
    environment = {**os.environ, "ONNXBF_INSTRUCTION_SET": instruction_set}
    made = subprocess.run(
        [sys.executable, "-c", KERNELS], env=environment, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr[-2000:]
    found = made.stdout.split()
    assert len(found) == 3 * len(CASES)
    for run_number in range(3):
        of_run = found[run_number * len(CASES) : (run_number + 1) * len(CASES)]
        assert [str(c) for c, a, b in zip(CASES, of_run, wanted) if a != b] == []


@pytest.mark.parametrize("name", SHAPES)
def test_they_are_onnx_runtimes_convolutions_but_for_rounding(name: str) -> None:
    """The forward one is ONNX Runtime's own; gradients are judged by NumPy's sums in float64."""
    x, w, attributes = SHAPES[name]
    rng = np.random.default_rng(0)
    dy = rng.normal(size=output_shape(name))
    feeds = {key: rng.normal(size=shape) for key, shape in {"x": x, "w": w, "b": w[:1]}.items()}
    feeds = {key: array.astype(np.float32) for key, array in {**feeds, "dy": dy}.items()}
    exact = {"arithmetic": "exact", **attributes}

    def both(ops: list[Any], outputs: list[str]) -> dict[str, NDArray[Any]]:
        proto = model(ops, [value(key) for key in feeds], [value(key) for key in outputs])
        return run(make_session(proto.SerializeToString()), feeds)

    names = ["dx", "dw", "db"]
    found = both(
        [
            ours(FORWARD, ["x", "w", "b"], "y", **exact),
            ours(TO_INPUT, ["dy", "w", "x"], "dx", **exact),
            helper.make_node(
                TO_WEIGHTS, ["dy", "x", "w"], ["dw", "db"], domain="ai.onnxbf", **exact
            ),
        ],
        ["y", *names],
    )
    plain = both(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes),
            helper.make_node("ConvGrad", ["dy", "x", "w"], names, domain="ai.onnxbf", **attributes),
        ],
        ["y", *names],
    )
    for key, array in plain.items():
        assert found[key].shape == array.shape, key
        np.testing.assert_allclose(found[key], array, rtol=1e-4, atol=1e-4, err_msg=key)


MISFITS: list[tuple[str, dict[str, tuple[int, ...]], dict[str, Any], str]] = [
    (FORWARD, {"x": (2, 3), "w": (4, 3)}, {}, "same rank, from 3 to 5"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 2, 3)}, {}, "fit each other"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 6)}, {}, "kernel is larger"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"kernel_shape": [2]}, "not that of w"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"strides": [0]}, "must be positive"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3)}, {"pads": [1]}, "must fit"),
    (FORWARD, {"x": (2, 3, 5), "w": (4, 3, 3), "b": (3,)}, {}, "b of shape 3 does not fit 4 maps"),
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


def test_an_empty_bias_is_none() -> None:
    case = Case(FORWARD, "2-D", {"arithmetic": "exact"}, bias=False)
    proto = model(
        [ours(FORWARD, ["x", "w", "b"], "y", arithmetic="exact", pads=[1, 1, 1, 1])],
        [value(name) for name in ("x", "w", "b")],
        [value("y")],
    )
    feeds = {**case.feeds(), "b": np.zeros(0, np.float32)}
    assert digest(run(make_session(proto.SerializeToString()), feeds)) == digest(
        run(make_session(single(case).SerializeToString()), case.feeds())
    )
