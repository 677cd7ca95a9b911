"""Time of what sums numbers under arithmetic profiles, beside ONNX Runtime's own kernels.

    python benchmarks/bench_sums.py [--size N] [--rounds N] [--only TEXT]

Of a square of float32 numbers, on one thread; milliseconds of processor time, each the least of the
rounds.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.session import make_session, run

PROFILES = (
    "fp32",
    "avx512_bf16",
    "sequential{format=bf16}",
    "sequential{format=bf16,rounding=sr}",
    "chunked{size=64}",
    "pairwise",
    "kahan",
    "arm_bf16",
    "hopper_bf16",
    "exact",
)
# What is measured: the operator, its attributes, and the axes that it reads.
CASES: dict[str, tuple[str, dict[str, Any], list[int] | None]] = {
    "ReduceSum along rows": ("ReduceSum", {}, [1]),
    "ReduceSum along columns": ("ReduceSum", {}, [0]),
    "ReduceSum of all": ("ReduceSum", {}, [0, 1]),
    "Softmax along rows": ("Softmax", {"axis": 1}, None),
    "Softmax along columns": ("Softmax", {"axis": 0}, None),
    "LayerNormalization": ("LayerNormalization", {}, None),
}


def model(case: str, size: int, arithmetic: str | None) -> ModelProto:
    """One node: of ONNX Runtime's own kernel where no arithmetic is given."""
    op_type, attributes, axes = CASES[case]
    weights: dict[str, NDArray[Any]] = {}
    if axes is not None:
        weights["axes"] = np.array(axes, np.int64)
    if op_type == "LayerNormalization":
        weights["scale"] = np.ones(size, np.float32)
    if arithmetic is not None:
        attributes = {**attributes, "arithmetic": arithmetic}
    domain = "" if arithmetic is None else DOMAIN
    node = helper.make_node(op_type, ["x", *weights], ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def milliseconds(proto: ModelProto, x: NDArray[np.float32], rounds: int) -> float:
    session = make_session(proto.SerializeToString(), threads=1)
    best = float("inf")
    for _ in range(rounds + 1):  # the first one warms up
        start = time.process_time()
        run(session, {"x": x})
        best = min(best, time.process_time() - start)
    return 1000 * best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=1024, help="rows and columns")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in case]
    x = np.random.default_rng(0).standard_normal((options.size, options.size), np.float32)
    table = Table(title="Milliseconds", title_justify="left", box=None)
    table.add_column("")
    for case in cases:
        table.add_column(case, justify="right")
    for arithmetic in (None, *PROFILES):
        found = (
            milliseconds(model(case, options.size, arithmetic), x, options.rounds) for case in cases
        )
        table.add_row(arithmetic or "ONNX Runtime", *(f"{each:.2g}" for each in found))
    Console(width=None if sys.stdout.isatty() else 180).print(table)


if __name__ == "__main__":
    main()
