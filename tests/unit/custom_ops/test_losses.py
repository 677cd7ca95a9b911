"""The loss, what it tells of each row, and its gradient, from one as from the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.errors import ModelError
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.other_sets import complete_sets, printed_under
from tests.small_models import model, ours, value

Array = NDArray[Any]
LOSS, GRADIENT = "SoftmaxCrossEntropyLoss", "SoftmaxCrossEntropyLossGrad"
KEPT, STATISTICS = ("log_probabilities",), ("", "largest", "log_of_sum")
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "mean": {},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none", "ignore_index": 1},
    "ignored": {"ignore_index": -1},
}


def step(kept: tuple[str, ...], cast: str = "", **attributes: Any) -> onnx.ModelProto:
    """A loss and its gradient, from what the loss hands on."""
    loss = ours(LOSS, ["logits", "labels"], "loss", **attributes)
    loss.output.extend(kept)
    handed = [name for name in kept if name]
    read, *statistics = ["logits", *handed] if len(handed) > 1 else handed
    casts = {"cast_y": cast} if cast else {}
    names = ["dy", read, "labels", *statistics]
    rank = 1 if attributes.get("reduction") == "none" else 0
    return model(
        [loss, ours(GRADIENT, names, "dx", **attributes, **casts)],
        [
            value("logits", shape=["n", "k"]),
            value("labels", TensorProto.INT64, ["n"]),
            value("dy", shape=["n"] * rank),
        ],
        [value(name) for name in ("loss", *handed, "dx")],
    )


def feeds_of(logits: Array, **attributes: Any) -> dict[str, Array]:
    rows, width = logits.shape
    low = min(attributes.get("ignore_index", 0), 0)
    alone = attributes.get("reduction") == "none"
    rng = np.random.default_rng(3)
    dy = rng.normal(size=rows if alone else ()) * 3
    labels = rng.integers(low, width, rows)
    return {"logits": logits, "labels": labels, "dy": np.asarray(dy, np.float32)}


def ran(proto: onnx.ModelProto, feeds: dict[str, Array], threads: int = 2) -> dict[str, Array]:
    return run(make_session(proto.SerializeToString(), threads=threads), feeds)


def draw(rows: int, width: int) -> Array:
    """Rows of wide and of narrow ranges, and some numbers that are infinitely unlikely."""
    rng = np.random.default_rng(rows)
    scale = np.geomspace(0.01, 60, rows)[:, None]
    logits = np.float32(rng.normal(size=(rows, width)) * scale)
    logits[rows // 2] = 7
    logits[1:, -1:] = np.where(rng.random((rows - 1, 1)) < 0.3, -np.inf, logits[1:, -1:])
    logits[0, 0] = -np.inf if width > 1 else 0
    return logits


SHAPES = [(3, 2), (301, 1000), (40, 77), (64, 16), (5, 9001)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_two_numbers_a_row_give_the_bits_that_all_logarithms_give(
    name: str, shape: tuple[int, int]
) -> None:
    attributes = ATTRIBUTES[name]
    feeds = feeds_of(draw(*shape), **attributes)
    wanted = ran(step(KEPT, **attributes), feeds)
    found = ran(step(STATISTICS, **attributes), feeds, threads=1)
    largest, log_of_sum = (found[name][:, None] for name in STATISTICS[1:])
    logarithms = feeds["logits"] - largest - log_of_sum
    assert same_bits(logarithms, wanted["log_probabilities"])
    assert same_bits(largest[:, 0], feeds["logits"].max(1))
    assert all(same_bits(found[each], wanted[each]) for each in ("loss", "dx"))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_numpy_agrees(name: str) -> None:
    attributes, proto = ATTRIBUTES[name], step(STATISTICS, **ATTRIBUTES[name])
    feeds = feeds_of(draw(29, 53), **attributes)
    wanted = Evaluator(proto).run(None, dict(feeds))
    for found, array in zip(ran(proto, feeds).values(), wanted, strict=True):
        np.testing.assert_allclose(found, array, rtol=3e-5, atol=1e-7)


NOT_FINITE = {
    "infinity": [np.inf, 1, 2],
    "infinities": [np.inf, np.inf, 2],
    "NaN": [1, np.nan, 2],
    "NaN first": [np.nan, 1, 2],
    "-infinity": [-np.inf, 1, 2],
    "nothing likely": [-np.inf] * 3,
    "far apart": [1e30, -1e30, 0],
    "farthest apart": [3e38, -3e38, 3e38],
    "unlikely": [0, -103, -88],
    "equal": [-5, -5, -5],
    "zeros": [0.0, -0.0, -0.0],
}


@pytest.mark.parametrize("width", [3, 16, 50])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_rows_that_are_not_finite_are_as_numpy_has_them(name: str, width: int) -> None:
    row = np.float32(NOT_FINITE[name])
    logits = np.full((2, width), row.min(), np.float32)
    logits[:, :3] = row
    feeds = {"logits": logits, "labels": np.array([0, 1]), "dy": np.float32([1, -2])}
    kept, handed = (ran(step(each, reduction="none"), feeds) for each in (KEPT, STATISTICS))
    np.testing.assert_array_equal(handed["dx"], kept["dx"])
    with np.errstate(all="ignore"):
        exact = logits.astype(np.float64) - np.float64(handed["largest"])[:, None]
        exact -= np.log(np.exp(exact).sum(1, keepdims=True))
        chosen = np.arange(width) == feeds["labels"][:, None]
        gradient = (np.exp(exact) - chosen) * feeds["dy"][:, None]
        losses = -exact[[0, 1], [0, 1]].astype(np.float32)
    np.testing.assert_allclose(handed["loss"], losses, rtol=1e-6)
    np.testing.assert_allclose(handed["dx"], gradient, rtol=1e-5, atol=3e-7)


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFFC00000, 0xFF812345, 0x7FC00102])
def test_whatever_bits_nan_has_a_row_of_it_is_nan(bits: int) -> None:
    logits = draw(8, 40)
    logits[3, 17] = np.uint32(bits).view(np.float32)
    found = ran(step(STATISTICS), feeds_of(logits))
    assert np.isnan(found["dx"][3]).all() and np.isnan(found["loss"])
    assert not np.isnan(np.delete(found["dx"], 3, axis=0)).any()


@pytest.mark.parametrize("least", [-0.4, -2, -30, -87, -104])
def test_probabilities_are_within_two_units_in_the_last_place(least: float) -> None:
    logarithms = np.random.default_rng(0).uniform(least, 0, (64, 4096)).astype(np.float32)
    logarithms[:, 0] = 0
    labels = np.full(64, 4095)
    proto = model(
        [ours(GRADIENT, ["dy", "x", "labels"], "dx", reduction="sum")],
        [value("dy", shape=[]), value("x"), value("labels", TensorProto.INT64)],
        [value("dx")],
    )
    found = ran(proto, {"dy": np.ones((), np.float32), "x": logarithms, "labels": labels})["dx"]
    exact = np.exp(logarithms.astype(np.float64))
    units = np.abs(found - exact) / np.spacing(exact.astype(np.float32))
    assert units[:, :-1].max() <= 2
    assert np.all(found[:, 0] == 1)  # so nothing likelier than that comes of a sum


@pytest.mark.parametrize("cast", ["bf16", "bf16:rne{subnormals=flush}", "fp16", "e4m3", "e5m2:rtz"])
@pytest.mark.parametrize("shape", [(301, 1000), (700, 10), (2, 9001)], ids=str)
def test_a_gradient_that_is_rounded_as_it_is_stored_has_the_bits_of_one_rounded_afterwards(
    cast: str, shape: tuple[int, int]
) -> None:
    feeds = feeds_of(draw(*shape), ignore_index=-1)
    feeds["logits"][1, 2] = np.nan
    plain, rounded = (ran(step(STATISTICS, each, ignore_index=-1), feeds) for each in ("", cast))
    assert same_bits(rounded["dx"], round_array(plain["dx"], parse_cast(cast)))


DIGESTS = """
import hashlib
from tests.unit.custom_ops.test_losses import ATTRIBUTES, KEPT, SHAPES, STATISTICS
from tests.unit.custom_ops.test_losses import draw, feeds_of, ran, step
digest = hashlib.sha256()
for shape in SHAPES:
    for attributes in ATTRIBUTES.values():
        for proto in (step(KEPT, **attributes), step(STATISTICS, "bf16", **attributes)):
            for array in ran(proto, feeds_of(draw(*shape), **attributes)).values():
                digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_same_bits_on_every_instruction_set() -> None:
    digests = [word for name in complete_sets() for word in printed_under(name, DIGESTS)]
    assert len(digests) == len(complete_sets())
    assert len(set(digests)) == 1


@pytest.mark.parametrize("given", [("largest",), ("largest", "log_of_sum")])
def test_statistics_of_other_rows_are_refused(given: tuple[str, ...]) -> None:
    names = ["dy", "logits", "labels", *given]
    kinds = {"labels": TensorProto.INT64}
    proto = model(
        [ours(GRADIENT, names, "dx")],
        [value(name, kinds.get(name, TensorProto.FLOAT)) for name in names],
        [value("dx")],
    )
    feeds = {**feeds_of(draw(3, 4)), **{name: np.zeros(2, np.float32) for name in given}}
    with pytest.raises(ModelError, match=r"make_dx.*for each row"):
        ran(proto, feeds)


def test_casts_that_draw_are_refused() -> None:
    with pytest.raises(ModelError, match="cast_y"):
        make_session(step(KEPT, "bf16:sr").SerializeToString())
