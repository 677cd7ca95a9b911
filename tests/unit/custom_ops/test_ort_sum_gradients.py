"""SoftmaxGrad and LayerNormGrad in ONNX Runtime: bits of their reference, and mathematics."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from onnxbf.arithmetic import PROFILES
from onnxbf.errors import ModelError
from onnxbf.session import make_session, run
from tests import operands
from tests.implementations import Floats
from tests.small_models import check_in_both, model, ours, value

TEXTS = [*PROFILES, "sequential{format=fp16}", "chunked{size=3,inner=bf16:sr}"]
KEY = {"seed": 2**63 - 1, "node": 2**32 - 1}
NORM = ("dy", "x", "scale", "mean", "deviation")


def _softmax(**attributes: Any) -> onnx.ModelProto:
    attributes = {"arithmetic": "fp32", **attributes}
    nodes = [ours("SoftmaxGrad", ["dy", "y"], "dx", **attributes)]
    return model(nodes, [value("dy"), value("y")], [value("dx")])


def _norm(names: tuple[str, ...] = ("dx", "dscale", "dbias"), **attributes: Any) -> Any:
    made = ours("LayerNormGrad", NORM, "dx", **{"arithmetic": "fp32", **attributes})
    del made.output[:]
    made.output.extend(names)
    return model([made], [value(name) for name in NORM], [value(n) for n in names if n])


def _norm_feeds(shape: tuple[int, ...], axis: int, make: Any) -> dict[str, Floats]:
    rng = np.random.default_rng(4)
    sizes = (shape, shape, shape[axis:], shape[:axis], shape[:axis])
    return {name: make(rng, size) for name, size in zip(NORM, sizes)}


@pytest.mark.parametrize("text", TEXTS)
def test_every_profile(text: str) -> None:
    rng = np.random.default_rng(5)
    for make in operands.ALL:
        feeds = {"dy": make(rng, (4, 5)), "y": make(rng, (4, 5))}
        for axis in (0, 1):
            check_in_both(_softmax(arithmetic=text, axis=axis, **KEY), feeds)
        check_in_both(_norm(arithmetic=text, **KEY), _norm_feeds((3, 5), 1, make))


def test_casts() -> None:
    casts = {"cast_a": "bf16", "cast_b": "e4m3fn:rtz", "cast_y": "fp16:rup"}
    rng = np.random.default_rng(6)
    x = {name: operands.ordinary(rng, (3, 4, 5)) for name in ("dy", "y")}
    check_in_both(_softmax(axis=1, **casts), x)
    check_in_both(_norm(axis=1, **casts), _norm_feeds((3, 4, 5), 1, operands.ordinary))


@pytest.mark.parametrize("axis", [-2, -1, 0, 1])
def test_the_gradient_of_softmax(axis: int) -> None:
    """By its Jacobian, diag(y) - y y', in float64."""
    rng = np.random.default_rng(7)
    powers = np.exp(rng.standard_normal((6, 9)))
    y, dy = powers / powers.sum(axis, keepdims=True), rng.standard_normal((6, 9))
    feeds = {"dy": dy.astype(np.float32), "y": y.astype(np.float32)}
    got = np.moveaxis(check_in_both(_softmax(axis=axis), feeds)["dx"], axis, -1)
    pairs = zip(np.moveaxis(y, axis, -1), np.moveaxis(dy, axis, -1))
    wanted = [(np.diag(row) - np.outer(row, row)) @ gradient for row, gradient in pairs]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2])
def test_the_gradients_of_layer_normalization(axis: int) -> None:
    """By differences of a float64 normalization."""
    shape = (3, 4, 5)
    feeds = _norm_feeds(shape, axis, operands.ordinary)
    x, dy, scale = (feeds[name].astype(np.float64) for name in ("x", "dy", "scale"))
    over = tuple(range(axis, 3))

    def normal(x: np.ndarray) -> np.ndarray:
        centred = x - x.mean(over, keepdims=True)
        return centred / np.sqrt((centred**2).mean(over, keepdims=True) + 1e-5)

    feeds["mean"] = x.mean(over).astype(np.float32)
    feeds["deviation"] = (1 / np.sqrt(x.var(over) + 1e-5)).astype(np.float32)
    got = check_in_both(_norm(axis=axis), feeds)
    wanted = np.empty(shape)
    for place in np.ndindex(shape):
        moved = np.zeros(shape)
        moved[place] = 1e-5
        wanted[place] = (dy * scale * (normal(x + moved) - normal(x - moved))).sum() / 2e-5
    np.testing.assert_allclose(got["dx"], wanted, rtol=1e-4, atol=1e-5)
    rows = tuple(range(axis))
    np.testing.assert_allclose(got["dscale"], (dy * normal(x)).sum(rows), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(got["dbias"], dy.sum(rows), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [("dx",), ("", "dscale"), ("", "", "dbias"), ("dx", "", "dbias")])
def test_gradients_that_nobody_wants_are_left_out(names: tuple[str, ...]) -> None:
    feeds = _norm_feeds((5, 6), 1, operands.ordinary)
    whole = run(make_session(_norm().SerializeToString()), feeds)
    some = run(make_session(_norm(names).SerializeToString()), feeds)
    assert [*some] == [name for name in names if name]
    assert all(array.tobytes() == whole[name].tobytes() for name, array in some.items())


def test_shapes_that_do_not_fit_are_refused() -> None:
    ones = np.ones((2, 3), np.float32)
    with pytest.raises(ModelError, match=r"make_dx.*dy of shape 2x3 and y of shape 3x2"):
        run(make_session(_softmax().SerializeToString()), {"dy": ones, "y": ones.T.copy()})
    feeds = _norm_feeds((2, 3), 1, operands.ordinary)
    for wrong in (
        {"scale": feeds["scale"][:2]},
        {"mean": feeds["mean"][:1]},
        {"dy": ones.T.copy()},
    ):
        with pytest.raises(ModelError, match=r"make_dx.*do not fit each other"):
            run(make_session(_norm().SerializeToString()), {**feeds, **wrong})
    with pytest.raises(ModelError, match=r"make_dx.*axis 2 is no dimension of x"):
        run(make_session(_norm(axis=2).SerializeToString()), feeds)
