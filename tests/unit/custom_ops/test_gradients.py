"""The gradient operators against NumPy, against ONNX Runtime's own, and against themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnxbf.custom_ops.library import instruction_sets
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests.gradient_cases import CASES, Case, domain_of, evaluate, single
from tests.implementations import same_bits
from tests.small_models import check_in_both, model, ours, value

TRAINING = pytest.mark.skipif(
    not hasattr(pytest.importorskip("onnxruntime.capi._pybind_state"), "GradientGraphBuilder"),
    reason="this ONNX Runtime has no kernel of its own to compare with",
)
Arrays = Mapping[str, NDArray[Any]]


def check_close(found: Arrays, wanted: Arrays, case: Case) -> None:
    """Within the rounding of sums in float32: so many roundings of the sum of magnitudes."""
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        bound = case.bounds(name) * np.finfo(np.float32).eps
        assert np.all(np.abs(found[name] - array.astype(np.float64)) <= bound), name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numpy_agrees(case: Case) -> None:
    found = run(make_session(single(case).SerializeToString(), threads=2), case.feeds)
    check_close(found, evaluate(case), case)


@TRAINING
@pytest.mark.parametrize("case", [case for case in CASES if not case.peerless], ids=str)
def test_onnx_runtimes_own_kernels_agree(case: Case) -> None:
    own = single(case, domain=domain_of(case))
    wanted = run(make_session(own.SerializeToString(), threads=1), case.feeds)
    found = run(make_session(single(case).SerializeToString(), threads=1), case.feeds)
    if case.exact:
        assert all(same_bits(found[name], array) for name, array in wanted.items())
    check_close(found, wanted, case)


DIGESTS = """
import hashlib, sys
from onnxbf.session import make_session, run
from tests.gradient_cases import CASES, single
for threads in (1, 2, 3):
    digest = hashlib.sha256()
    for case in CASES:
        session = make_session(single(case).SerializeToString(), threads=threads)
        for array in run(session, case.feeds).values():
            digest.update(array.tobytes())
    print(digest.hexdigest())
"""


def test_same_bits_on_every_instruction_set_and_any_number_of_threads() -> None:
    digests: list[str] = []
    for name in instruction_sets():
        environment = {**os.environ, "ONNXBF_INSTRUCTION_SET": name}
        made = subprocess.run(
            [sys.executable, "-c", DIGESTS], env=environment, capture_output=True, text=True
        )
        assert made.returncode == 0, made.stderr[-2000:]
        digests += made.stdout.split()
    assert len(digests) == 3 * len(instruction_sets())
    assert len(set(digests)) == 1


def test_relu_grad_masks_whatever_there_is() -> None:
    numbers = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3.0, -3.0])
    dy, x = (np.ascontiguousarray(a.ravel()) for a in np.meshgrid(numbers, numbers))
    proto = model(
        [ours("ReluGrad", ["dy", "x"], "dx")],
        [value("dy", shape=["n"]), value("x", shape=["n"])],
        [value("dx")],
    )
    check_in_both(proto, {"dy": dy, "x": x})


MISFITS: list[tuple[str, dict[str, tuple[int, ...]], dict[str, Any], str]] = [
    ("ReluGrad", {"dy": (2, 3), "x": (3, 2)}, {}, "same shape"),
    ("ConvGrad", {"dy": (2, 4, 3), "x": (2, 3, 5, 5), "w": (4, 3, 3)}, {}, "same rank"),
    ("ConvGrad", {"dy": (2, 4, 3), "x": (2, 3, 5), "w": (4, 2, 3)}, {}, "fit each other"),
    ("ConvGrad", {"dy": (2, 4, 4), "x": (2, 3, 5), "w": (4, 3, 3)}, {}, "is not that of the conv"),
    ("ConvGrad", {"dy": (2, 4, 3), "x": (2, 3, 5), "w": (4, 3, 3)}, {"strides": [0]}, "positive"),
    ("ConvGrad", {"dy": (2, 4, 3), "x": (2, 3, 5), "w": (4, 3, 3)}, {"pads": [1]}, "must fit"),
    (
        "LayerNormalizationGrad",
        {"dy": (2, 3), "x": (2, 3), "scale": (2,), "mean": (2, 1), "deviation": (2, 1)},
        {},
        "fit each other",
    ),
    (
        "LayerNormalizationGrad",
        {"dy": (2, 3), "x": (2, 3), "scale": (3,), "mean": (2, 1), "deviation": (2, 1)},
        {"axis": 2},
        "no dimension of x",
    ),
]


@pytest.mark.parametrize(("op_type", "shapes", "attributes", "message"), MISFITS)
def test_what_does_not_fit_is_refused(
    op_type: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, Any], message: str
) -> None:
    proto = model(
        [ours(op_type, [*shapes], "dx", **attributes)],
        [value(name, TensorProto.FLOAT) for name in shapes],
        [value("dx")],
    )
    session = make_session(proto.SerializeToString())
    feeds = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    with pytest.raises(ModelError, match=rf"make_dx.*{message}"):
        run(session, feeds)


@pytest.mark.parametrize(
    ("index", "rows", "message"), [(4, 1, "index 4"), (-5, 1, "index -5"), (0, 2, "shape of dy")]
)
def test_indices_and_rows_that_do_not_fit_are_refused(index: int, rows: int, message: str) -> None:
    kinds = {"shape": TensorProto.INT64, "indices": TensorProto.INT64, "dy": TensorProto.FLOAT}
    proto = model(
        [ours("GatherGrad", [*kinds], "dx")],
        [value(name, kind) for name, kind in kinds.items()],
        [value("dx")],
    )
    feeds = {
        "shape": np.array([4, 3]),
        "indices": np.array([index]),
        "dy": np.ones((rows, 3), np.float32),
    }
    with pytest.raises(ModelError, match=rf"make_dx.*{message}"):
        run(make_session(proto.SerializeToString()), feeds)
