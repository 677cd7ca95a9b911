"""Time and memory of ``onnxbf convert`` as a whole process, beside plain loading and saving.

    python benchmarks/bench_convert.py [--gigabytes 4] [--folder DIR] [--runs 3]

Each row runs in processes of its own, in turn, three times; the medians count, of the time by the
clock and of the processor time, which other work on the machine weighs on less. ``load + save`` is
what reading and writing the same file costs with onnx alone, so the ratio is the price of
rewriting. onnxconverter-common's float16 conversion is a peer, measured where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

_LOAD_SAVE = (
    "import sys, onnx; onnx.save(onnx.load(sys.argv[1], load_external_data=False), sys.argv[2])"
)
_PEER = (
    "import sys, onnx; from onnxconverter_common import float16; "
    "onnx.save(float16.convert_float_to_float16(onnx.load(sys.argv[1]), "
    "disable_shape_infer=True), sys.argv[2])"
)


def chain(nodes: int) -> onnx.ModelProto:
    """A graph of ``nodes`` nodes: product, sum, Relu, Sigmoid, again and again."""
    weights = [
        numpy_helper.from_array(np.full((8, 8), index + 0.1, np.float32), f"w{index}")
        for index in range(16)
    ]
    made, last = [], "x"
    for index in range(nodes // 4):
        names = [f"{letter}{index}" for letter in "abcd"]
        made += [
            helper.make_node("MatMul", [last, f"w{index % 16}"], [names[0]], name=f"mm{index}"),
            helper.make_node("Add", [names[0], last], [names[1]], name=f"add{index}"),
            helper.make_node("Relu", [names[1]], [names[2]], name=f"relu{index}"),
            helper.make_node("Sigmoid", [names[2]], [names[3]], name=f"sig{index}"),
        ]
        last = names[3]
    graph = helper.make_graph(
        made,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 8])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [8, 8])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save_with_external_weights(path: Path, gigabytes: float) -> None:
    """A chain of products whose weights stand in one file beside it."""
    folder, side = path.parent, 4096
    each = side * side * 4
    count = max(1, int(gigabytes * 2**30 / each))
    with (folder / "weights.bin").open("wb") as file:
        for index in range(count):
            file.write(np.full(side * side, index + 0.1, np.float32).tobytes())
    weights, nodes = [], []
    for index in range(count):
        tensor = TensorProto(name=f"w{index}", data_type=TensorProto.FLOAT, dims=[side, side])
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": "weights.bin", "offset": index * each, "length": each}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        nodes.append(helper.make_node("MatMul", [f"v{index}", f"w{index}"], [f"v{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("v0", TensorProto.FLOAT, [1, side])],
        [helper.make_tensor_value_info(f"v{count}", TensorProto.FLOAT, [1, side])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def save_chain(nodes: int, path: Path) -> None:
    onnx.save(chain(nodes), path)


def apart(function: Callable[..., None], *arguments: object) -> None:
    """Run in a process of its own: what it uses would count as memory of later children."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode != 0:
        raise SystemExit(f"{function.__name__} failed")


def measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock, processor seconds and peak memory in MB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    taken = time.perf_counter() - start
    return taken, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(table: Table, title: str, commands: dict[str, list[str]], times: int) -> None:
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(times):
        for name, command in commands.items():
            runs[name].append(measure(command))
    base = statistics.median(seconds for seconds, _, _ in runs["load + save"])
    for name, found in runs.items():
        seconds, processor = (statistics.median(each) for each in list(zip(*found))[:2])
        memory = max(peak for _, _, peak in found)
        figures = (f"{seconds:.2f}", f"{processor:.2f}", f"{seconds / base:.1f}", f"{memory:.0f}")
        table.add_row(title, name, *figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--folder", type=Path, help="for the models; needs three times the weights")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    table = Table("model", "what", "seconds", "CPU s", "/ load + save", "peak MB", box=None)
    table.title, table.title_justify = "Converting: a whole process, its time and memory", "left"
    peer = importlib.util.find_spec("onnxconverter_common") is not None
    if not peer:
        print("onnxconverter-common is not installed: left out.")
    python, onnxbf = sys.executable, [sys.executable, "-m", "onnxbf", "convert"]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        for nodes in (1_000, 10_000, 100_000):
            source, target = folder / f"{nodes}.onnx", folder / "out.onnx"
            apart(save_chain, nodes, source)
            commands = {
                "load + save": [python, "-c", _LOAD_SAVE, str(source), str(target)],
                "onnxbf convert": [*onnxbf, str(source), "-o", str(target)],
            }
            if peer:
                commands["onnxconverter-common"] = [python, "-c", _PEER, str(source), str(target)]
            compare(table, f"{nodes:,} nodes", commands, options.runs)
        heavy = folder / "heavy.onnx"
        apart(save_with_external_weights, heavy, options.gigabytes)
        (folder / "copy").mkdir()
        kept, copied = str(folder / "kept.onnx"), str(folder / "copy" / "out.onnx")
        commands = {
            "load + save": [python, "-c", _LOAD_SAVE, str(heavy), kept],
            "onnxbf convert, weights stay": [*onnxbf, str(heavy), "-o", kept, "--keep-weights"],
            "onnxbf convert, weights copied": [*onnxbf, str(heavy), "-o", copied],
            "onnxbf convert, stored as bf16": [
                *onnxbf, str(heavy), "-o", copied, "--store-weights", "bf16",
            ],
        }  # fmt: skip
        compare(table, f"{options.gigabytes:g} GB of weights", commands, options.runs)
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    main()
