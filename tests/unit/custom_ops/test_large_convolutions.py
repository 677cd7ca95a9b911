"""Convolutions whose images are laid out some at a time: products of what NumPy unfolds.

Those are judged, on smaller ones, by the scalar dot product; bits are compared.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import helper

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.session import make_session, run
from tests.implementations import same_bits
from tests.other_sets import printed_under
from tests.small_models import model, value
from tests.stand_in import stand_ins

Floats = NDArray[np.float32]
KERNEL = 3
PROFILES = ["avx512_bf16", "fp32", "sequential{format=bf16}", "chunked{size=64}"]


@dataclass(frozen=True)
class Case:
    """Padded by 1, so that outputs have the sizes of inputs."""

    images: int
    channels: int
    maps: int
    sizes: tuple[int, int]
    groups: int = 1

    def draw(self) -> tuple[Floats, Floats, Floats]:
        """x, w and dy; now and then a number that is none, or not finite."""
        rng = np.random.default_rng(0)
        shapes = (
            (self.images, self.groups * self.channels, *self.sizes),
            (self.groups * self.maps, self.channels, KERNEL, KERNEL),
            (self.images, self.groups * self.maps, *self.sizes),
        )
        x, w, dy = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
        x.view(np.uint32)[-1, 0, 5, 7] = 0x7FC12345
        dy.view(np.uint32)[0, -1, 9, 2] = 0xFFC54321
        x[0, -1, 3, 3] = np.inf
        return x, w, dy


CASES = {
    "few columns, an odd number of products": Case(9, 1, 13, (63, 63)),
    "many columns": Case(31, 32, 3, (33, 32)),
    "groups": Case(17, 4, 2, (32, 40), groups=3),
    "two rows to a vector": Case(9, 8, 25, (12, 8)),
    "three rows to a vector": Case(9, 3, 5, (12, 11)),
    "rows of vectors, an odd number of products": Case(9, 3, 17, (14, 32)),
}


def _windows(x: Floats) -> Floats:
    """[n, c, outputs, taps]"""
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)])
    views = sliding_window_view(padded, (KERNEL, KERNEL), axis=(2, 3))
    return views.reshape(*x.shape[:2], -1, KERNEL * KERNEL)


def _node(op_type: str, profile: str, groups: int, **feeds: Floats) -> Floats:
    node = helper.make_node(
        op_type, [*feeds], ["y"], domain="ai.onnxbf", arithmetic=profile, pads=[1] * 4, group=groups
    )
    proto = model([node], [value(name) for name in feeds], [value("y")])
    found: Floats = run(make_session(proto.SerializeToString(), threads=2), feeds)["y"]
    return found


def results(name: str, profile: str) -> tuple[Floats, Floats, Floats]:
    """Of Conv, and the gradients of x and w."""
    case = CASES[name]
    x, w, dy = case.draw()
    return (
        _node("Conv", profile, case.groups, x=x, w=w),
        _node("ConvInputGrad", profile, case.groups, dy=dy, w=w, x=x),
        _node("ConvWeightGrad", profile, case.groups, dy=dy, x=x, w=w),
    )


def digests() -> list[str]:
    found = (array for name in CASES for array in results(name, "avx512_bf16"))
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in found]


_PRINT = "from tests.unit.custom_ops.test_large_convolutions import digests; print(*digests())"


@pytest.mark.parametrize("instruction_set", [*instruction_sets()[1:], *stand_ins()])
def test_every_instruction_set_has_the_same_bits(instruction_set: str) -> None:
    assert printed_under(instruction_set, _PRINT) == digests()


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", CASES)
def test_they_are_products_of_matrices(name: str, profile: str) -> None:
    case, arithmetic = CASES[name], parse_arithmetic(profile)
    (x, w, dy), groups = case.draw(), case.groups
    y, dx, dw = results(name, profile)
    channels, maps, places = case.channels, case.maps, np.prod(case.sizes)
    for group in range(groups):
        inside = slice(group * channels, (group + 1) * channels)
        outside = slice(group * maps, (group + 1) * maps)
        met = _windows(x[:, inside])  # [n, c, outputs, taps]
        rows = np.moveaxis(dy[:, outside].reshape(-1, maps, places), 0, 1).reshape(maps, -1)
        unfolded = np.moveaxis(met, 1, 2).reshape(rows.shape[1], -1)
        wanted = kernels().matmul(rows, unfolded, arithmetic)
        assert same_bits(dw[outside], wanted.reshape(dw[outside].shape))
        back = np.moveaxis(w[outside], 0, 1).reshape(channels, -1)
        reached = _windows(dy[:, outside])[..., ::-1]  # the last tap meets the first output
        for image in (0, case.images - 1):
            columns = np.moveaxis(met[image], 2, 1).reshape(-1, places)
            wanted = kernels().matmul(w[outside].reshape(maps, -1), columns, arithmetic)
            assert same_bits(y[image, outside], wanted.reshape(y[image, outside].shape))
            columns = np.moveaxis(reached[image], 2, 1).reshape(-1, places)
            wanted = kernels().matmul(back, columns, arithmetic)
            assert same_bits(dx[image, inside], wanted.reshape(dx[image, inside].shape))
