"""Time of matrix products under arithmetic profiles, as a multiple of ONNX Runtime's FP32 MatMul.

    python benchmarks/bench_gemm.py [--sizes 256,1024] [--threads 2] [--seconds 2] [--only TEXT]
        [--operands bf16]

All candidates multiply the same two square matrices of normal numbers, rounded to `--operands`
(fp32: not at all), in ONNX Runtime (PyTorch, where it is installed, in PyTorch). Each is measured
in turn with the runtime's own MatMul, and the figure is its least time over the least time of that
MatMul beside it: what slows the machine down for a while can only miss the least. Before each that
is timed comes one that is not, to fill the caches. GFLOP/s count two operations a product; bound:
those that OPERATIONS allow, at the rate at which the CPU was seen to multiply and add vectors
(multiply_adds.cc; for that, AVX-512 and a C++ compiler). 4096 takes minutes: --sizes 4096. With one
thread, it is processor time that is measured, which does not count what other programs take.
ONNXBF_INSTRUCTION_SET=avx512_bf16 measures VDPBF16PS where the CPU executes it, avx512_amx
TDPBF16PS (which the row of amx_bf16 has by itself where the CPU has it), avx512 their emulation.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper
from rich.console import Console
from rich.table import Table

from onnxbf.arithmetic import PROFILES, parse_arithmetic
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import parse_cast
from onnxbf.rounding import round_array
from onnxbf.session import make_session

OTHERS = (
    "sequential{format=bf16}",
    "sequential{format=bf16,rounding=rtz}",
    "sequential{format=fp16}",
    "sequential{format=bf16,rounding=sr}",
    "chunked{size=64}",
    "chunked{size=64,inner=e6m9,outer=e6m9}",
)
SLOW = ("exact",)  # measured at small sizes alone
LARGEST_SLOW = 256
# What a product takes of the two ports that compute vectors in the AVX-512 kernels, for those that
# were counted: the multiply-add; what rounds; what asks whether that may be wrong. (Of sums in fp16
# and the like they depend on the operands.)
OPERATIONS = {
    "fp32": 1,
    "avx512_bf16": 1,
    "torch_cpu_bf16": 1,
    "chunked{size=64}": 1 + 4 / 64,
    "sequential{format=bf16}": 4,
}
LANES = 16
SETTLE = 0.05  # seconds for which threads of ONNX Runtime and torch still spin after work

Floats = NDArray[np.float32]
Run = Callable[[], Any]


def multiplication(a: Floats, b: Floats, threads: int, arithmetic: str | None) -> Run:
    """A session that multiplies: ONNX Runtime's kernel, or ours under an arithmetic."""
    ours = {} if arithmetic is None else {"domain": DOMAIN, "arithmetic": arithmetic}
    node = helper.make_node("MatMul", ["a", "b"], ["y"], **ours)
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("a", a.shape), ("b", b.shape), ("y", (a.shape[0], b.shape[1])))
    ]
    graph = helper.make_graph([node], "product", values[:2], values[2:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = make_session(model.SerializeToString(), threads=threads)
    return partial(session.run, None, {"a": a, "b": b})


def candidates(a: Floats, b: Floats, threads: int) -> Iterator[tuple[str, Run]]:
    for text in (*PROFILES, *OTHERS):
        if text not in SLOW or len(a) <= LARGEST_SLOW:
            yield text, multiplication(a, b, threads, str(parse_arithmetic(text)))
    if importlib.util.find_spec("torch") is None:
        print("torch is not installed: left out.")
        return
    import torch

    torch.set_num_threads(threads)
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.from_numpy(side).to(dtype) for side in (a, b))
        yield f"{dtype}".replace("torch.", "torch, "), partial(torch.matmul, left, right)


def peak() -> float:
    """GFLOP/s of multiply-adds in registers, of one thread; NaN where that cannot be measured."""
    if kernels().name not in ("avx512", "avx512_amx"):
        return math.nan
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "multiply_adds.so")
        source = Path(__file__).with_name("multiply_adds.cc")
        command = ["c++", "-O2", "-std=c++17", "-shared", "-fPIC", source, "-o", library]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError):
            return math.nan
        rate = ctypes.CDLL(str(library)).multiply_adds_per_second
        rate.restype = ctypes.c_double
        return 2 * LANES * float(rate()) / 1e9


def seconds(run: Run, clock: Callable[[], float]) -> float:
    time.sleep(SETTLE)
    run()
    start = clock()
    run()
    return clock() - start


def least(run: Run, yardstick: Run, threads: int, budget: float) -> tuple[float, float]:
    """The least times of both, measured in turn for some seconds, three times at least."""
    clock = time.process_time if threads == 1 else time.perf_counter
    seconds(yardstick, clock), seconds(run, clock)
    pairs, start = [], time.perf_counter()
    while len(pairs) < 3 or time.perf_counter() - start < budget:
        pairs.append((seconds(run, clock), seconds(yardstick, clock)))
    own, theirs = zip(*pairs)
    return min(own), min(theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="256,1024")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each candidate")
    parser.add_argument("--only", default="", help="candidates whose name holds this text")
    parser.add_argument("--operands", default="bf16", help="a cast, or fp32")
    options = parser.parse_args()

    rate = peak() * options.threads
    console = Console(width=None if sys.stdout.isatty() else 100)
    for size in map(int, options.sizes.split(",")):
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((size, size)).astype(np.float32) for _ in "ab")
        if options.operands != "fp32":
            a, b = (round_array(side, parse_cast(options.operands)) for side in (a, b))
        anchor = multiplication(a, b, options.threads, None)
        title = (
            f"{size} x {size} x {size}, {options.threads} threads, {kernels().name}, "
            f"{options.operands}; multiply-adds: {rate:.0f} GFLOP/s"
        )
        table = Table(title=title, title_justify="left", box=None)
        for heading in ("", "ms", "GFLOP/s", "bound", "time over ONNX Runtime's FP32"):
            table.add_column(heading, justify="right" if heading else "left")
        best = []
        for name, run in candidates(a, b, options.threads):
            if options.only not in name:
                continue
            own, theirs = least(run, anchor, options.threads, options.seconds)
            best.append(theirs)
            bound = rate / OPERATIONS.get(name, math.nan)
            table.add_row(name, *_figures(size, own, bound), f"{own / theirs:.2f}")
        table.add_row("ONNX Runtime, FP32", *_figures(size, min(best), rate), "1")
        console.print(table)


def _figures(size: int, taken: float, bound: float) -> tuple[str, str, str]:
    known = "" if math.isnan(bound) else f"{bound:.0f}"
    return f"{taken * 1e3:.1f}", f"{2 * size**3 / taken / 1e9:.1f}", known


if __name__ == "__main__":
    main()
