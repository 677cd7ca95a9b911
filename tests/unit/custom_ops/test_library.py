"""Loading the kernel library, and what is said where that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from onnxbf.custom_ops import library
from onnxbf.custom_ops.library import (
    INSTRUCTION_SET_VARIABLE,
    instruction_sets,
    kernel_names,
    library_path,
)
from onnxbf.errors import KernelError

ROOT = Path(__file__).parents[3]


def _in_a_process(script: str, **environment: str) -> str:
    """What ``script`` prints in a process of its own: the library is loaded once per process."""
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return found.stdout.strip() or found.stderr.strip().splitlines()[-1]


def test_the_library_is_there() -> None:
    assert library_path().is_file()
    assert library_path().name.startswith("libonnxbf.")


def test_instruction_sets_begin_with_the_one_that_every_cpu_has() -> None:
    assert instruction_sets()[0] == "scalar"
    assert set(instruction_sets()) <= {
        "scalar",
        "avx2",
        "avx512",
        "avx512_bf16",
        "avx512_amx",
        "neon",
    }


def _listed(name: str) -> list[str]:
    lines = (ROOT / "custom_ops" / "csrc" / name).read_text(encoding="utf-8").splitlines()
    return [
        line.partition("(")[2].partition(",")[0] for line in lines if line.startswith("ONNXBF_")
    ]


def test_kernels_are_those_of_the_lists() -> None:
    names = _listed("kernels.inc")
    rounding = [name for name in names if name.startswith("round_")]
    codes = [f"{way}_{name}" for name in names[len(rounding) :] for way in ("encode", "decode")]
    others = ["random_words", "measure_rounding", "measure_update"]
    others += [f"step_{name}" for name in _listed("elementwise.inc")]
    assert list(kernel_names()) == [*rounding, *codes, *others]


def _at(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setattr(library, "_expected_path", lambda: path)


def test_a_missing_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _at(monkeypatch, tmp_path / "libonnxbf.so")
    with pytest.raises(KernelError, match=r"missing.*pip install --force-reinstall \."):
        library_path()


def test_a_library_for_another_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "libonnxbf.so"
    path.write_bytes(b"\x7fELF of another machine")
    _at(monkeypatch, path)
    with pytest.raises(KernelError) as told:
        library_path()
    assert str(told.value) == (
        f"The kernel library {path} was not built for this machine ({sysconfig.get_platform()}). "
        "Build it anew for this machine: pip install --force-reinstall ."
    )
    assert isinstance(told.value.__cause__, OSError)  # what the loader says, for a traceback


def test_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "libonnxbf.so"
    path.write_bytes(library_path().read_bytes())
    _at(monkeypatch, path)
    monkeypatch.setattr(library, "_INTERFACE", 0)
    with pytest.raises(KernelError, match=r"another version.*pip install --force-reinstall \."):
        library_path()


def test_a_library_that_lacks_a_function(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "libonnxbf.so"
    path.write_bytes(library_path().read_bytes())
    _at(monkeypatch, path)
    monkeypatch.setitem(library._DECLARATIONS, "onnxbf_of_tomorrow", (None,))
    with pytest.raises(KernelError, match="lacks onnxbf_of_tomorrow"):
        library_path()


USED = "from onnxbf.custom_ops.kernels import kernels; print(kernels().name)"


@pytest.mark.parametrize("name", instruction_sets())
def test_the_variable_chooses_the_instruction_set(name: str) -> None:
    assert _in_a_process(USED, **{INSTRUCTION_SET_VARIABLE: name}) == name


def test_the_best_instruction_set_is_used_where_none_is_chosen() -> None:
    """VDPBF16PS only where it adds faster than what emulates it."""
    *others, best = instruction_sets()
    used = _in_a_process(USED, **{INSTRUCTION_SET_VARIABLE: ""})
    assert used == best or (best == "avx512_bf16" and used == others[-1])


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone lists what CPUID says")
def test_an_instruction_that_the_cpu_does_not_announce_is_not_chosen() -> None:
    """It may execute all the same, where a hypervisor hides it: then it is there to be named."""
    announced = "avx512_bf16" in Path("/proc/cpuinfo").read_text().split()
    assert not announced or "avx512_bf16" in instruction_sets()
    used = _in_a_process(USED, **{INSTRUCTION_SET_VARIABLE: ""})
    assert announced or used != "avx512_bf16"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux alone lists what CPUID says")
def test_amx_is_used_where_it_is_announced_and_nowhere_else() -> None:
    """Linux lists it where it keeps its state; a process that may not use it has to do without."""
    announced = {"amx_bf16", "amx_tile"} <= set(Path("/proc/cpuinfo").read_text().split())
    used = _in_a_process(USED, **{INSTRUCTION_SET_VARIABLE: ""})
    assert (used == "avx512_amx") is ("avx512_amx" in instruction_sets())
    assert announced or "avx512_amx" not in instruction_sets()


def test_an_instruction_set_that_this_cpu_lacks() -> None:
    told = _in_a_process(USED, **{INSTRUCTION_SET_VARIABLE: "mmx"})
    assert told.startswith("onnxbf.errors.KernelError: ONNXBF_INSTRUCTION_SET=mmx")
    assert "scalar" in told


def test_the_library_alone_falls_back_to_scalar() -> None:
    """ONNX Runtime loads it without Python's check."""
    script = (
        "import ctypes; from onnxbf.custom_ops.library import _expected_path\n"
        "library = ctypes.CDLL(str(_expected_path()))\n"
        "library.onnxbf_instruction_set.restype = ctypes.c_char_p\n"
        "print(library.onnxbf_instruction_set().decode())"
    )
    assert _in_a_process(script, **{INSTRUCTION_SET_VARIABLE: "mmx"}) == "scalar"


def test_only_the_functions_of_the_interface_are_visible() -> None:
    """Anything else could clash with what the host program brings."""
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(library_path())], capture_output=True, text=True
    )
    if symbols.returncode:
        pytest.skip("nm cannot read this platform's libraries")
    names = {line.split()[-1] for line in symbols.stdout.splitlines()}
    assert {name for name in names if not name.startswith("onnxbf_")} <= {"RegisterCustomOps"}
    assert set(library._DECLARATIONS) <= names
