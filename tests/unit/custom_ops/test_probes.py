"""The inputs of the self-test hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.custom_ops import probes
from onnxbf.encoding import decode
from onnxbf.formats import FORMATS, parse_format


def test_upper_halves_are_complete() -> None:
    patterns = probes.upper_halves(0, 0xFFFF).view(np.uint32)
    assert np.unique(patterns >> np.uint32(16)).size == 2**16
    assert np.unique(patterns).size == 2**17


def test_specials_hold_both_kinds_of_nan_with_both_signs() -> None:
    values = probes.specials()
    nans = values[np.isnan(values)].view(np.uint32)
    for sign in (0, 1):
        for quiet in (0, 1):
            found = (nans >> np.uint32(31) == sign) & (nans >> np.uint32(22) & 1 == quiet)
            assert np.count_nonzero(found) > 2
    assert {np.inf, -np.inf, 0.0} <= set(values.tolist())
    assert np.count_nonzero((values == 0) & np.signbit(values)) == 1


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.bits <= 16])
def test_boundaries_hold_numbers_midpoints_and_neighbours(name: str) -> None:
    fmt = FORMATS[name]
    near = set(probes.boundaries(fmt).view(np.uint32).tolist())
    numbers = decode(np.arange(2 ** (fmt.bits - 1)), fmt)
    numbers = numbers[np.isfinite(numbers)].astype(np.float64)
    middles = (numbers[:-1] + numbers[1:]) / 2
    beyond = [numbers[-1] + (numbers[-1] - numbers[-2]) / 2]  # from here on, rne overflows
    for exact in (numbers, -numbers, middles, -middles, beyond):
        patterns = np.float32(exact).view(np.uint32).astype(np.int64)
        assert set(patterns.tolist()) <= near
        neighbours = np.concatenate([patterns - 1, patterns + 1])
        magnitudes = neighbours & 0x7FFFFFFF
        assert set(neighbours[magnitudes < 0x7F800000].tolist()) <= near | {-1, 0x7FFFFFFF}


@pytest.mark.parametrize("name", ["tf32", "fp32", "e7m23", "e8m16"])
def test_boundaries_of_long_formats_hold_every_exponent(name: str) -> None:
    fmt = parse_format(name)
    near = probes.boundaries(fmt)
    assert near.size < 200_000
    exponents = np.frexp(near[np.isfinite(near) & (near > 0)])[1] - 1
    wanted = range(fmt.min_exponent, fmt.max_exponent + 1)
    assert set(wanted) <= set(exponents.tolist())
    assert {fmt.max, fmt.smallest_normal, fmt.smallest_subnormal} <= set(near.tolist())


def test_probes_cannot_be_changed_by_one_user_for_the_next() -> None:
    with pytest.raises(ValueError, match="read-only"):
        probes.boundaries(FORMATS["bf16"])[0] = 1
