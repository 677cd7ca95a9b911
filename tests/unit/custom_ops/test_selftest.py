"""The self-test passes, says what it did, and finds what is planted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from onnxbf.custom_ops import selftest
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import instruction_sets, kernel_names
from onnxbf.custom_ops.selftest import Check, all_casts, run_checks, stored_formats
from onnxbf.formats import BFLOAT16, FLOAT16, FORMATS, Cast, Rounding
from tests.implementations import Floats


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    return {check.name: check for check in run_checks(quick=True)}


def test_it_passes(checks: dict[str, Check]) -> None:
    assert [check for check in checks.values() if not check.passed] == []
    for check in checks.values():
        assert check.seconds >= 0
        assert check.cases > 0 or check.detail == "this CPU has no such instruction"


def test_every_kernel_is_checked_on_every_instruction_set(checks: dict[str, Check]) -> None:
    assert set(kernel_names()) <= set(checks)
    for name in kernel_names():
        assert checks[name].detail == ", ".join(instruction_sets())


def test_all_patterns_and_the_cpu_have_their_checks(checks: dict[str, Check]) -> None:
    assert "bf16:rne, a 64th of all 2^32 patterns" in checks
    against = {name.partition(",")[0] for name in checks if "against" in name}
    wanted = {f"{cast} against {name}" for cast, name in selftest.CPU_INSTRUCTIONS.items()}
    assert against == {name.partition(",")[0] for name in wanted}
    assert len([name for name in checks if "against" in name]) == len(wanted)
    assert checks["bf16:rne, a 64th of all 2^32 patterns"].cases == 2**26 * len(instruction_sets())


def test_what_is_checked_covers_all_choices() -> None:
    casts = set(all_casts())
    for fmt in FORMATS.values():
        assert {(cast.rounding) for cast in casts if cast.format == fmt} == set(Rounding)
    assert Cast(BFLOAT16, Rounding.STOCHASTIC, random_bits=8) in casts
    assert {fmt.name for fmt in stored_formats()} >= {"bf16", "fp16", "e4m3fn", "e5m2"}


@pytest.fixture
def wrong_oracle(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An oracle that is wrong about -0, and about it alone."""
    right = selftest.round_array

    def wrong(values: Floats, cast: Cast, random: object = None) -> Floats:
        rounded: Floats = right(values, cast, random)  # type: ignore[arg-type]
        return np.where((values == 0) & np.signbit(values), np.float32(0), rounded)

    monkeypatch.setattr(selftest, "round_array", wrong)
    yield


@pytest.mark.usefixtures("wrong_oracle")
def test_a_planted_mismatch_is_found_counted_and_shown() -> None:
    check = next(run_checks(quick=True))
    assert not check.passed
    assert check.name == "round_bf16_rne"
    assert check.mismatches % len(instruction_sets()) == 0
    assert check.detail.startswith("bf16:rne on scalar: 0x80000000 gave 0x80000000, expected 0x0")


def test_wrong_random_words_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = selftest.random_words
    monkeypatch.setattr(selftest, "random_words", lambda *a, **k: right(*a, **k) ^ np.uint32(1))
    tally = selftest._random([kernels()])
    assert tally.mismatches == tally.cases > 0


def test_wrong_codes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = selftest.encode
    monkeypatch.setattr(selftest, "encode", lambda values, fmt: right(values, fmt) ^ np.uint16(1))
    tally = selftest._encoding([FLOAT16], [kernels()])
    assert tally.mismatches == tally.cases > 0


def test_wrong_numbers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = selftest.decode
    monkeypatch.setattr(selftest, "decode", lambda codes, fmt: -right(codes, fmt))
    tally = selftest._decoding([FLOAT16], [kernels()])
    assert tally.mismatches > 60_000
