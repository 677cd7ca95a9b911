"""The self-test of a profile: it passes on right kernels, and finds wrong ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from onnxbf.arithmetic import PROFILES, Arithmetic, Step, parse_arithmetic
from onnxbf.custom_ops import profile_selftest
from onnxbf.custom_ops.cpu_instructions import cpu_dots
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import instruction_sets
from onnxbf.custom_ops.profile_selftest import BY_INSTRUCTION, run_profile_checks
from onnxbf.custom_ops.selftest import Check
from onnxbf.formats import Cast, Rounding

AGAINST = {name: f"against {judge}" for name, judge in profile_selftest.ON_CPU.items()}
WRONG = [  # the kernels read the name alone, so that here the definition is another one
    replace(PROFILES["avx512_bf16"], flush=False),
    replace(PROFILES["fp32"], accumulator=Cast(PROFILES["fp32"].accumulator.format, Rounding.UP)),
    replace(PROFILES["torch_cpu_bf16"], result=None),
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The definition is slow to work out: of few sums here."""
    kept = ("any bits", "products about the smallest number")
    numbers = {name: profile_selftest.NUMBERS[name] for name in kept}
    monkeypatch.setattr(profile_selftest, "NUMBERS", numbers)
    monkeypatch.setattr(profile_selftest, "SHAPES", ((5, 2, 3), (2, 33, 2)))
    monkeypatch.setattr(profile_selftest, "WHOLE", ((13, 40, 33),))
    monkeypatch.setattr(profile_selftest, "SUMMED", ((3, 4),))


def test_right_kernels_pass() -> None:
    profile = parse_arithmetic("chunked{size=3}")
    checks = list(run_profile_checks(profile, quick=True, threads=1))
    assert all(check.passed for check in checks)
    assert len(checks) == len(profile_selftest.NUMBERS) + 4
    assert all(check.cases > 0 for check in checks)
    assert all("scalar" in check.detail for check in checks)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("profile", WRONG, ids=str)
def test_wrong_bits_are_found(profile: Arithmetic) -> None:
    checks = list(run_profile_checks(profile, quick=True, threads=1))
    wrong = [check for check in checks if not check.passed]
    assert wrong and all("gave 0x" in check.detail for check in wrong)


def _judged(name: str) -> Check:
    """The check of a profile by the instruction that it is."""
    checks = run_profile_checks(PROFILES[name], quick=True, threads=1)
    (found,) = (check for check in checks if check.name == AGAINST[name])
    return found


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", AGAINST)
def test_the_cpu_judges_where_it_can(name: str) -> None:
    found, probe = _judged(name), np.zeros((16, 2), np.uint16)
    assert found.passed
    if cpu_dots(PROFILES[name], probe, probe) is None:
        assert found.cases == 0
        assert found.detail == f"this CPU has no {profile_selftest.ON_CPU[name]}"
    else:
        assert found.cases >= 2 * profile_selftest.CPU_ROWS**2


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_both_ways_are_there_where_the_cpu_has_both(name: str) -> None:
    profile = PROFILES[name]
    both = list(run_profile_checks(profile, quick=True, threads=1))[-1]
    assert both.passed
    assert both.name == "the instruction and its emulation"
    assert (both.cases > 0) is (BY_INSTRUCTION[profile.step] in instruction_sets())


def by_kernels(profile: Arithmetic, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    used = kernels()
    left, right = ((side.astype(np.uint32) << 16).view(np.float32) for side in (a, b))
    rows = zip(left, right)
    return np.concatenate([used.matmul(x[None], y[:, None], profile)[0] for x, y in rows])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", AGAINST)
def test_sums_are_compared_with_the_cpus_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the kernels' single sums in the place of the instruction, whose sums are alike."""
    monkeypatch.setattr(profile_selftest, "cpu_dots", by_kernels)
    monkeypatch.setattr(profile_selftest, "CPU_ROWS", 16)
    found = _judged(name)
    assert found.passed and found.cases >= 2 * 16**2
    monkeypatch.setattr(profile_selftest, "cpu_dots", lambda *given: by_kernels(*given) + 1)
    assert not _judged(name).passed


@pytest.mark.usefixtures("few")
def test_both_ways_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the AVX2 kernels in the place of those that this CPU may lack."""
    used = instruction_sets()[1:2] or instruction_sets()[:1]
    monkeypatch.setattr(profile_selftest, "BY_INSTRUCTION", {Step.ODD_FIRST: used[0]})
    monkeypatch.setattr(profile_selftest, "EMULATED", instruction_sets()[0])
    found = list(run_profile_checks(PROFILES["torch_cpu_bf16"], quick=True, threads=1))[-1]
    assert found.passed and found.cases == 7 * 130 * 170
