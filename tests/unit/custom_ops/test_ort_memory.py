"""Rounding in place: it happens, and never to a value that something else reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from onnxbf.formats import parse_cast
from tests.small_models import Shape, check_in_both, model, node, ours, value

E4M3, BF16, SR = parse_cast("e4m3"), parse_cast("bf16"), parse_cast("bf16:sr")
QD = "QuantizeDequantize"
BOTH = pytest.mark.parametrize("optimize", [True, False], ids=["optimized", "as written"])
X = np.linspace(-3, 3, 60_000, dtype=np.float32).reshape(100, 600)


# Nodes whose last outputs are compared; each rounds a value whose memory something else needs.
SHARED = {
    "a graph input": [ours(QD, ["x"], "q", E4M3), node("Add", ["q", "x"], "y")],
    "a value read later": [
        node("Neg", ["x"], "r"),
        ours(QD, ["r"], "q", E4M3),
        node("Add", ["q", "r"], "y"),
    ],
    "a value read earlier and later": [
        node("Neg", ["x"], "r"),
        node("Abs", ["r"], "e"),
        ours(QD, ["r"], "q", E4M3),
        node("Sum", ["q", "r", "e"], "y"),
    ],
    "one value rounded twice": [
        node("Neg", ["x"], "r"),
        ours(QD, ["r"], "p", E4M3),
        ours(QD, ["r"], "q", BF16),
        node("Concat", ["p", "q"], "y", axis=0),
    ],
    "another name of a value": [
        node("Neg", ["x"], "r"),
        node("Identity", ["r"], "s"),
        ours(QD, ["s"], "q", E4M3),
        node("Add", ["q", "r"], "y"),
    ],
    "another shape of a value": [
        node("Neg", ["x"], "r"),
        node("Flatten", ["r"], "s", axis=0),
        ours(QD, ["s"], "q", E4M3),
        node("Flatten", ["q"], "f", axis=1),
        node("MatMul", ["f", "r"], "y"),
    ],
    "a weight": [
        ours(QD, ["w"], "q", SR),
        node("Add", ["q", "w"], "v"),
        node("Add", ["v", "x"], "y"),
    ],
    "a chain": [
        node("Neg", ["x"], "r"),
        ours(QD, ["r"], "p", BF16),
        ours(QD, ["p"], "q", E4M3),
        node("Sum", ["p", "q"], "y"),
    ],
}


@BOTH
@pytest.mark.parametrize("case", SHARED)
def test_memory_that_others_read_is_not_written_to(case: str, optimize: bool) -> None:
    x = X.T[:, :1] if case == "another shape of a value" else X
    proto = model(
        SHARED[case],
        [value("x", shape=["a", "b"])],
        [value("y")],
        weights={"w": np.flip(X).copy()} if case == "a weight" else None,
    )
    check_in_both(proto, {"x": np.ascontiguousarray(x)}, optimize=optimize)


@BOTH
def test_an_output_that_is_rounded_as_well(optimize: bool) -> None:
    nodes = [node("Neg", ["x"], "r"), ours(QD, ["r"], "y", E4M3)]
    proto = model(nodes, [value("x", shape=["a", "b"])], [value("r"), value("y")])
    check_in_both(proto, {"x": X}, optimize=optimize)


PEAK = """
import sys, numpy as np, onnxruntime
from onnxbf.session import register_custom_ops

def peak():  # KiB; resource.getrusage would count the parent's, too
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

options = onnxruntime.SessionOptions()
options.enable_cpu_mem_arena = options.enable_mem_pattern = False
register_custom_ops(options)
session = onnxruntime.InferenceSession(sys.argv[1], options)
x = np.ones([int(size) for size in sys.argv[2:]], np.float32)
feeds = {"x": x, "labels": np.zeros(len(x), np.int64), "dy": np.ones((), np.float32)}
feeds = {each.name: feeds[each.name] for each in session.get_inputs()}
before = peak()
session.run(None, feeds)
print(peak() - before)
"""


def peak(path: Path, *shape: int) -> float:
    """What a run takes beside its inputs, in tensors of 2^24 numbers."""
    run_it = [sys.executable, "-c", PEAK, str(path), *map(str, shape)]
    kibibytes = int(subprocess.run(run_it, capture_output=True, text=True, check=True).stdout)
    return kibibytes / (2**24 * 4 / 1024)


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@LINUX
def test_a_rounded_value_takes_the_memory_of_the_value(tmp_path: Path) -> None:
    """Between the input and a single number there is one tensor of 64 MiB, not two."""
    nodes = [
        node("Neg", ["x"], "r"),
        ours(QD, ["r"], "q", BF16),
        node("ReduceMax", ["q"], "y", keepdims=0),
    ]
    path = tmp_path / "model.onnx"
    onnx.save(model(nodes, [value("x", shape=["n"])], [value("y")]), path)
    assert 0.9 < peak(path, 2**24) < 1.5


@LINUX
def test_the_gradient_of_a_loss_takes_the_memory_of_the_logits(tmp_path: Path) -> None:
    given, statistics = ["logits", "labels"], ["largest", "log_of_sum"]
    loss = ours("SoftmaxCrossEntropyLoss", given, "loss")
    loss.output.extend(["", *statistics])
    nodes = [
        node("Neg", ["x"], "logits"),
        loss,
        ours("SoftmaxCrossEntropyLossGrad", ["dy", *given, *statistics], "dx", cast_y="bf16"),
        node("ReduceMax", ["dx"], "y", keepdims=0),
    ]
    inputs = [value("x", shape=["n", "k"]), value("labels", TensorProto.INT64, ["n"])]
    path = tmp_path / "model.onnx"
    made = model(nodes, [*inputs, value("dy", shape=[])], [value("loss"), value("y")])
    onnx.save(made, path)
    assert 0.9 < peak(path, 2**12, 2**12) < 1.5


@BOTH
@pytest.mark.parametrize("shape", [None, [None], [None, None]], ids=str)
def test_unknown_dimensions_are_not_taken_for_equal(shape: Shape, optimize: bool) -> None:
    """Else ONNX Runtime would put one tensor where another, of another size, was."""
    nodes = []
    for name in ("u", "v", "w"):
        nodes += [
            node("Neg", [name], f"{name}1"),
            ours(QD, [f"{name}1"], f"{name}2", E4M3),
            ours("Quantize", [f"{name}2"], f"{name}3", BF16),
            ours("Dequantize", [f"{name}3"], f"{name}4"),
            node("ReduceSum", [f"{name}4"], f"{name}5", keepdims=0),
        ]
    nodes.append(node("Sum", ["u5", "v5", "w5"], "y"))
    inputs = [value(name, shape=shape) for name in "uvw"]
    values = [value(f"{name}3", TensorProto.BFLOAT16) for name in "uvw"]
    rank = len(shape) if shape else 2
    feeds = {name: np.ones((size,) * rank, np.float32) for name, size in zip("uvw", (50, 3, 90))}
    check_in_both(model(nodes, inputs, [value("y")], values=values), feeds, optimize=optimize)
