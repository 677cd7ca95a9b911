"""The sweeps over all 2^32 patterns, on some of them."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.custom_ops import sweeps
from onnxbf.custom_ops.cpu_instructions import cpu_codes
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.selftest import CPU_INSTRUCTIONS
from onnxbf.formats import BFLOAT16, FLOAT8_E4M3FN, FLOAT16, Cast, Overflow, Rounding, Subnormals
from onnxbf.rounding import round_array
from tests.implementations import Floats, same_bits

# Zero and subnormal numbers, around 1, around the largest number and infinity, NaN; both signs.
ROWS = [0x0000, 0x007C, 0x3F7C, 0x7F7C, 0x7F80, 0x7FFC, 0x8000, 0xBF80, 0xFF7C, 0xFFFC]
DETERMINISTIC = [mode for mode in Rounding if mode is not Rounding.STOCHASTIC]


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_the_shortcut_gives_what_the_oracle_gives(mode: Rounding) -> None:
    for subnormals in Subnormals:
        cast = Cast(BFLOAT16, mode, subnormals)
        values = np.array(ROWS, np.uint32)[:, None] << np.uint32(16) | np.arange(2**16)
        floats = values.astype(np.uint32).view(np.float32)
        assert same_bits(sweeps._rounded(floats, cast), round_array(floats, cast))


@pytest.mark.parametrize("mode", DETERMINISTIC)
def test_all_is_well(mode: Rounding) -> None:
    tally = sweeps.against_oracle(Cast(BFLOAT16, mode), [kernels()], ROWS, threads=2)
    assert (tally.cases, tally.mismatches) == (len(ROWS) * sweeps.ROWS * 2**16, 0)


def test_a_single_wrong_pattern_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sweeps.round_array

    def wrong(values: Floats, cast: Cast) -> Floats:
        """Rounds the midpoint above 1 away from zero, not to even."""
        return np.where(values == 1 + 2.0**-8, np.float32(1 + 2.0**-7), right(values, cast))

    monkeypatch.setattr(sweeps, "round_array", wrong)
    tally = sweeps.against_oracle(Cast(BFLOAT16), [kernels("scalar")], [0x3F7C, 0x3F80], threads=1)
    assert tally.mismatches == 1
    assert tally.example == "bf16:rne on scalar: 0x3f808000 gave 0x3f800000, expected 0x3f810000"


def test_an_oracle_that_is_not_constant_in_between_is_asked_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = sweeps.round_array

    def wrong(values: Floats, cast: Cast) -> Floats:
        """Truncates, but for the number before the midpoint above 1."""
        return right(values, Cast(BFLOAT16, Rounding("rup" if values.size < 99 else "rtz")))

    monkeypatch.setattr(sweeps, "round_array", wrong)
    tally = sweeps.against_oracle(Cast(BFLOAT16), [kernels()], [0x3F80], threads=1)
    assert tally.mismatches > 2**16


def test_only_bfloat16_rounds_at_the_lower_half() -> None:
    with pytest.raises(ValueError, match="fp16"):
        sweeps.against_oracle(Cast(FLOAT16), [kernels()], ROWS, threads=1)


@pytest.mark.parametrize("cast", CPU_INSTRUCTIONS, ids=str)
def test_the_cpu_agrees_where_it_has_an_instruction(cast: Cast) -> None:
    tally = sweeps.against_cpu(cast, [kernels()], ROWS, threads=2)
    assert tally.mismatches == 0
    assert tally.cases in (0, len(ROWS) * sweeps.ROWS * 2**16)


def test_the_cpu_disagrees_where_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the instruction of another rounding."""
    other = Cast(FLOAT16, Rounding.TOWARD_ZERO)
    monkeypatch.setattr(sweeps, "cpu_codes", lambda values, cast: cpu_codes(values, other))
    tally = sweeps.against_cpu(Cast(FLOAT16), [kernels()], ROWS, threads=2)
    assert (tally.mismatches > 0) is (tally.cases > 0)


@pytest.mark.parametrize(
    "cast",
    [
        Cast(FLOAT16, Rounding.TO_ODD),
        Cast(FLOAT16, overflow=Overflow.SATURATE),
        Cast(FLOAT16, subnormals=Subnormals.FLUSH),
        Cast(BFLOAT16, Rounding.NEAREST_AWAY),
        Cast(FLOAT8_E4M3FN),
    ],
    ids=str,
)
def test_no_instruction_means_no_cases(cast: Cast) -> None:
    assert sweeps.against_cpu(cast, [kernels()], ROWS, threads=1).cases == 0
