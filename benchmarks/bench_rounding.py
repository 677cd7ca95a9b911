"""Time of rounding float32 arrays, as a multiple of copying the same array.

    python benchmarks/bench_rounding.py [--elements N] [--rounds N] [--only TEXT]

Every measurement stands beside a memcpy of the same array, made just before it on as many threads,
and the figure is the median of such ratios: what slows the machine down for a while slows both.
Results go to memory that is in use already, but for the rows that say otherwise. Peers are measured
where they are installed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper
from rich.console import Console
from rich.table import Table

from onnxbf.casts import AnyCast, parse_any_cast
from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey, instruction_sets
from onnxbf.custom_ops.numpy_api import quantize
from onnxbf.custom_ops.quantizers import quantizer
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import Cast, parse_cast
from onnxbf.session import make_session

THREADS = (1, 2)
CASTS = (
    "bf16:rne",
    "e4m3fn:rne{overflow=saturate}",
    "fp16:rne",
    "e5m7:rup",
    "bf16:sr",
    "fp16:sr",
    "e4m3fn:sr",
    "e4m3fn:sr{bits=16}",
)
RUNTIME_CASTS = (
    "bf16:rne",
    "bf16:sr",
    "e4m3fn:rne{overflow=saturate}",
    "e4m3fn:rne{scaling=current}",
    "mxfp8",
)
NODES = 8  # of a graph, over which its time is divided
SETTLE = 0.05  # seconds for which threads of ONNX Runtime and torch still spin after work

Floats = NDArray[np.float32]
Run = Callable[[], Any]


@dataclass(frozen=True)
class Candidate:
    """What is measured, and how it is set up for a number of threads."""

    group: str
    name: str
    prepare: Callable[[int], Run]
    threads: tuple[int, ...] = THREADS
    settle: float = 0  # seconds to wait before each measurement


def aligned(elements: int) -> Floats:
    """An array that begins where a cache line does, as ONNX Runtime's tensors do."""
    line = 16  # float32 numbers
    values = np.empty(elements + line, np.float32)
    begin = -values.ctypes.data // values.itemsize % line
    return values[begin : begin + elements]


def memcpy(source: Floats, target: Floats, pool: ThreadPoolExecutor, threads: int) -> Run:
    """The yardstick: the C library's copy, each thread copying its part."""
    copy = ctypes.CDLL(None).memcpy
    copy.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    size = source.nbytes // threads
    parts = [
        (target.ctypes.data + begin, source.ctypes.data + begin, size)
        for begin in range(0, size * threads, size)
    ]
    return lambda: list(pool.map(lambda part: copy(*part), parts))


def absent(module: str) -> bool:
    """Whether a peer cannot be measured here, which is said."""
    missing = importlib.util.find_spec(module) is None
    if missing:
        print(f"{module} is not installed: left out.")
    return missing


def kernel_candidates(source: Floats, target: Floats) -> Iterator[Candidate]:
    """Each instruction set, out of place and in place; and the function that users call."""

    def prepare(name: str, cast: Cast, values: Floats, threads: int) -> Run:
        key = RandomKey(1, 2, 3)
        round_ = kernels(name).quantize_dequantize
        return partial(round_, values, target, cast, key, threads=threads)

    for name in reversed(instruction_sets()):
        group = f"kernels, {name}"
        in_place = partial(prepare, name, parse_cast("bf16"), target)
        yield Candidate(group, "bf16:rne, in place", in_place)
        for text in CASTS:
            yield Candidate(group, text, partial(prepare, name, parse_cast(text), source))
    yield Candidate(
        "onnxbf.quantize",
        "bf16:rne, into a new array",
        lambda threads: partial(quantize, source, "bf16", threads=threads),
    )


def runtime_candidates(source: Floats) -> Iterator[Candidate]:
    """Chains of nodes in ONNX Runtime, a Neg before each; the time of as many Negs is taken off.

    Without something in between, ONNX Runtime sees that one Cast pair does what several do. What a
    node reads was written just before it, so a cache as large as the array counts in its favour.
    """
    if absent("onnxruntime"):
        return
    for text in RUNTIME_CASTS:
        nodes = partial(_custom_op, parse_any_cast(text))
        chain = partial(_chain, nodes, source)
        yield Candidate("ONNX Runtime, per node", text, chain, settle=SETTLE)
    chain = partial(_chain, _casts, source)
    yield Candidate("ONNX Runtime, per node", "Cast pair, bf16", chain, settle=SETTLE)


def _custom_op(cast: AnyCast, source: str, target: str) -> list[NodeProto]:
    op_type, attributes = quantizer(cast)
    node = helper.make_node(op_type, [source], [target], domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    return [node]


def _casts(source: str, target: str) -> list[NodeProto]:
    code = f"{target}_code"
    return [
        helper.make_node("Cast", [source], [code], to=TensorProto.BFLOAT16),
        helper.make_node("Cast", [code], [target], to=TensorProto.FLOAT),
    ]


def _nothing(source: str, target: str) -> list[NodeProto]:
    return [helper.make_node("Identity", [source], [target])]


def _chain(nodes: Callable[[str, str], list[NodeProto]], values: Floats, threads: int) -> Run:
    long, short = _session(nodes, values, threads), _session(_nothing, values, threads)
    return lambda: _Seconds((seconds(long, SETTLE) - seconds(short, SETTLE)) / NODES)


def _session(nodes: Callable[[str, str], list[NodeProto]], values: Floats, threads: int) -> Run:
    made = []
    for index in range(NODES):
        made.append(helper.make_node("Neg", [f"x{index}"], [f"negative{index}"]))
        made.extend(nodes(f"negative{index}", f"x{index + 1}"))
    made.append(helper.make_node("ReduceMax", [f"x{NODES}"], ["y"], keepdims=0))
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, [values.size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    runner = make_session(model.SerializeToString(), threads=threads, optimize=False)
    return partial(runner.run, None, {"x0": values})


def ml_dtypes_candidates(source: Floats) -> Iterator[Candidate]:
    """They round on one thread, into new arrays."""
    if absent("ml_dtypes"):
        return
    import ml_dtypes

    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        name = f"astype, {np.dtype(dtype).name}"
        run = partial(_there_and_back, source, dtype)
        yield Candidate("ml_dtypes", name, lambda threads, run=run: run, threads=(1,))


def _there_and_back(source: Floats, dtype: type) -> Floats:
    return source.astype(dtype).astype(np.float32)


def torch_candidates(source: Floats, target: Floats) -> Iterator[Candidate]:
    if absent("torch"):
        return
    import torch

    values, result = torch.from_numpy(source), torch.from_numpy(target)
    codes = torch.empty(values.shape, dtype=torch.bfloat16)

    def copies(threads: int) -> Run:
        torch.set_num_threads(threads)
        return lambda: result.copy_(codes.copy_(values))

    def conversions(threads: int) -> Run:
        torch.set_num_threads(threads)
        return lambda: values.to(torch.bfloat16).to(torch.float32)

    yield Candidate("torch", "copy_ there and back, bf16", copies, settle=SETTLE)
    yield Candidate("torch", ".to().to(), into new tensors, bf16", conversions, settle=SETTLE)


class _Seconds(float):
    """The result of a run that has timed itself."""


def seconds(run: Run, settle: float = 0) -> float:
    time.sleep(settle)
    start = time.perf_counter()
    result = run()
    return result if isinstance(result, _Seconds) else time.perf_counter() - start


def ratio(candidate: Candidate, copy: Run, threads: int, rounds: int) -> float:
    run = candidate.prepare(threads)
    seconds(copy), seconds(run)
    settle = candidate.settle
    pairs = [(seconds(copy, settle), seconds(run, settle)) for _ in range(rounds)]
    return statistics.median(taken / yardstick for yardstick, taken in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--only", default="", help="rows whose group or name holds this text")
    options = parser.parse_args()

    source, target = aligned(options.elements), aligned(options.elements)
    source[:] = target[:] = np.random.default_rng(0).standard_normal(options.elements)
    candidates = [
        *kernel_candidates(source, target),
        *runtime_candidates(source),
        *torch_candidates(source, target),
        *ml_dtypes_candidates(source),
    ]
    title = f"Rounding {options.elements:,} elements: time over memcpy's"
    table = Table(title=title, title_justify="left", box=None)
    for title in ("", "", "1 thread", "2 threads"):
        table.add_column(title, justify="right" if title else "left")
    with ThreadPoolExecutor(max(THREADS)) as pool:
        copies = {threads: memcpy(source, target, pool, threads) for threads in THREADS}
        for candidate in candidates:
            if options.only not in f"{candidate.group} {candidate.name}":
                continue
            ratios = [
                f"{ratio(candidate, copies[threads], threads, options.rounds):.2f}"
                if threads in candidate.threads
                else ""
                for threads in THREADS
            ]
            table.add_row(candidate.group, candidate.name, *ratios)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
