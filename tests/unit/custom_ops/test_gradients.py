"""The gradient operators against NumPy, against ONNX Runtime's own, and against themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests.gradient_case import Case, domain_of, evaluate, single
from tests.gradient_cases import CASES
from tests.implementations import same_bits
from tests.other_sets import complete_sets, printed_under
from tests.runtime import TRAINS
from tests.small_models import check_in_both, model, ours, value

TRAINING = pytest.mark.skipif(
    not TRAINS, reason="this ONNX Runtime has no kernel of its own to compare with"
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
from tests.gradient_case import single
from tests.gradient_cases import CASES
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
    for name in complete_sets():
        digests += printed_under(name, DIGESTS)
    assert len(digests) == 3 * len(complete_sets())
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


def test_windows_that_hold_no_number_give_the_least_one_and_their_first_place() -> None:
    x = np.full((1, 1, 4, 6), np.nan, np.float32)
    x[..., 2:4] = [[-np.inf, -np.inf], [np.nan, -np.inf], [np.nan, 3], [np.inf, 5]]
    halves = {"kernel_shape": [2, 2], "strides": [2, 2]}
    case = Case("", "MaxPool", {"x": x}, ("y", "indices"), dict, halves)
    found = run(make_session(single(case).SerializeToString()), case.feeds)
    least = np.finfo(np.float32).min
    assert found["y"].tolist() == [[[[least, least, least], [least, np.inf, least]]]]
    assert found["indices"].tolist() == [[[[0, 2, 4], [12, 20, 16]]]]
    wanted = evaluate(case)
    assert all(same_bits(found[name], wanted[name]) for name in found)


def test_a_loss_of_scores_that_are_not_finite_is_onnx_runtimes() -> None:
    row = np.float32([1, 2, 3])
    rows = [row, np.float32([np.inf, 1, 2]), np.float32([np.nan, 1, 2]), row - np.float32(np.inf)]
    rows += [np.float32([-np.inf, 1, 2]), np.float32([1e30, -1e30, 0]), np.float32([0, -103, -88])]
    feeds = {"logits": np.array(rows), "labels": np.zeros(len(rows), np.int64)}
    outputs = ("loss", "log_probabilities")
    case = Case("", "SoftmaxCrossEntropyLoss", feeds, outputs, dict, {"reduction": "none"})
    found, wanted = (
        run(make_session(single(case, domain=domain).SerializeToString()), feeds)
        for domain in ("ai.onnxbf", "")
    )
    for name in outputs:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6)


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
    ("MaxPoolGrad", {"dy": (1, 2), "indices": (1, 2)}, {"spatial": [2, 2]}, "same shape, of four"),
    ("SoftmaxCrossEntropyLossGrad", {"dy": (2,), "p": (2, 3), "labels": (2,)}, {}, "dy is not"),
    ("SoftmaxCrossEntropyLossGrad", {"dy": (), "p": (2, 3), "labels": (3,)}, {}, "one label, for"),
]


def _kind(name: str) -> int:
    return TensorProto.INT64 if name in ("indices", "labels") else TensorProto.FLOAT


@pytest.mark.parametrize(("op_type", "shapes", "attributes", "message"), MISFITS)
def test_what_does_not_fit_is_refused(
    op_type: str, shapes: dict[str, tuple[int, ...]], attributes: dict[str, Any], message: str
) -> None:
    proto = model(
        [ours(op_type, [*shapes], "dx", **attributes)],
        [value(name, _kind(name)) for name in shapes],
        [value("dx")],
    )
    session = make_session(proto.SerializeToString())
    feeds = {
        name: np.ones(shape, helper.tensor_dtype_to_np_dtype(_kind(name)))
        for name, shape in shapes.items()
    }
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


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_no_class_are_refused(label: int) -> None:
    feeds = {"logits": np.ones((2, 3), np.float32), "labels": np.array([0, label])}
    case = Case("", "SoftmaxCrossEntropyLoss", feeds, ("loss", "p"), dict)
    with pytest.raises(ModelError, match=f"label {label} is none of the 3 classes"):
        run(make_session(single(case).SerializeToString()), feeds)


@pytest.mark.parametrize("place", [-1, 4])
def test_places_beyond_an_image_are_refused(place: int) -> None:
    feeds = {"dy": np.ones((1, 1, 1, 1), np.float32), "indices": np.full((1, 1, 1, 1), place)}
    case = Case("", "MaxPoolGrad", feeds, ("dx",), dict, {"spatial": [2, 2]})
    with pytest.raises(ModelError, match="not of the same image"):
        run(make_session(single(case).SerializeToString()), feeds)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"kernel_shape": [2]}, "of two dimensions"),
        ({"kernel_shape": [2, 2], "pads": [0, 2, 0, 0]}, "pads smaller"),
        ({"kernel_shape": [2, 2], "ceil_mode": 1}, "must be left out"),
        ({"kernel_shape": [2, 2], "dilations": [1, 2]}, "must be left out"),
        ({"kernel_shape": [2, 9]}, "larger than"),
        ({"kernel_shape": [2, 2], "program": "Add y0 x0 x1"}, "must make one y0 of x0 alone"),
        ({"kernel_shape": [2, 2], "program": "Twice y0 x0"}, "a step 'Twice', which is unknown"),
    ],
)
def test_pooling_that_is_not_offered_is_refused(attributes: dict[str, Any], message: str) -> None:
    feeds = {"x": np.ones((1, 1, 4, 4), np.float32)}
    case = Case("", "MaxPool", feeds, ("y", "indices"), dict, attributes)
    with pytest.raises(ModelError, match=message):
        run(make_session(single(case).SerializeToString()), feeds)
