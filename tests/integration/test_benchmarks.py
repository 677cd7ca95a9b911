"""Benchmarks run, whose figures are not judged, but for what the table of lost sums claims."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime import needs_training

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _run(script: str, *options: str) -> str:
    command = [sys.executable, BENCHMARKS / script, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_products_are_measured_beside_onnx_runtimes() -> None:
    told = _run("bench_gemm.py", "--sizes", "32", "--seconds", "0", "--only", "bf16")
    lines = [line.split() for line in told.splitlines() if line.startswith(" ")]
    rows = {name: figures for name, *figures in lines[1:]}
    assert {"avx512_bf16", "torch_cpu_bf16", "sequential{format=bf16}"} <= rows.keys()
    assert all(float(figures[-1]) > 0 for figures in rows.values())
    assert rows["ONNX"][-1] == "1"


def test_sums_are_measured_beside_onnx_runtimes() -> None:
    told = _run("bench_sums.py", "--size", "32", "--rounds", "1", "--only", "rows")
    rows = [line.split() for line in told.splitlines()[1:] if line.strip()]
    figures = {line[0]: [float(each) for each in line[-2:]] for line in rows[1:]}
    assert {"ONNX", "fp32", "exact", "sequential{format=bf16}"} <= figures.keys()
    assert all(each > 0 for row in figures.values() for each in row)


def test_convolutions_are_measured_beside_float32() -> None:
    told = _run("bench_conv.py", "--rounds", "1", "--only", "layer 3")
    (row,) = [line.split() for line in told.splitlines() if line.startswith(" CNN")]
    assert all(float(figure.rstrip(",")) > 0 for figure in row[3:]) and len(row) == 9


def test_small_accumulators_swallow_and_chunks_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import swamping

    found = dict(zip(swamping.PROFILE_TEXTS, swamping.errors(4096, 4)))
    assert found["sequential{format=bf16}"] > 0.5
    assert found["sequential{format=bf16,rounding=sr}"] < 0.1
    assert found["chunked{size=64,inner=bf16,outer=bf16}"] < 0.02
    assert found["avx512_bf16"] < 1e-5
    summed = dict(zip(swamping.SUMMED_TEXTS, swamping.sum_errors(4096, 4)))
    assert summed["sequential{format=bf16}"] > 0.5 > 0.1 > max([*summed.values()][1:])
    assert found["hopper_fp8"] > 10 * found[swamping.PROFILE_TEXTS[-1]]


SHORT = ("--rounds", "1", "--steps", "1", "--only", "CNN")


@needs_training
def test_roundings_and_steps_are_measured() -> None:
    told = _run("bench_health.py", *SHORT)
    assert "e4m3fn:rne{overflow=saturate}" in told
    (found,) = [line.split() for line in told.splitlines() if "fp8" in line]
    assert found[0] == "CNN"
    assert float(found[-1]) > 1  # millions of numbers were counted


@needs_training
def test_all_candidates_train_the_same_network() -> None:
    told = _run("bench_training.py", *SHORT)
    assert "our trainer, bf16" in told
    assert "its own artifacts" in told


def test_bits_are_compared_with_torchs() -> None:
    command = [sys.executable, BENCHMARKS / "torch_bits.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if importlib.util.find_spec("torch") is None:
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "This compares with torch: pip install torch==2.13.0\n"
        return
    *_, last = done.stdout.splitlines()
    assert last.split()[:6] == ["64", "x", "4096", "x", "1", "64"]
