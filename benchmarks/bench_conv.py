"""Processor time of convolutions under a profile, over that of float32.

    python benchmarks/bench_conv.py [--profile NAME] [--rounds N] [--only TEXT]

Layers are those of the CNN of models.py and some of a ResNet-50. Forward, float32 is ONNX
Runtime's own Conv; for the gradients, our ConvGrad (bench_gradients.py sets that beside ONNX
Runtime's). One thread; both run in turn, each figure is the least of the rounds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from models import Array
from onnx import ModelProto, helper
from rich.console import Console
from rich.table import Table

from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.session import make_session

Shape = tuple[int, ...]
# name: x, w, stride
LAYERS: dict[str, tuple[Shape, Shape, int]] = {
    "CNN, layer 1": ((64, 3, 32, 32), (16, 3, 3, 3), 1),
    "CNN, layer 2": ((64, 16, 16, 16), (32, 16, 3, 3), 1),
    "CNN, layer 3": ((64, 32, 8, 8), (64, 32, 3, 3), 1),
    "ResNet, 7x7 of 224x224, stride 2": ((2, 3, 224, 224), (64, 3, 7, 7), 2),
    "ResNet, 1x1 of 56x56, 64 to 256": ((2, 64, 56, 56), (256, 64, 1, 1), 1),
    "ResNet, 3x3 of 56x56, 64": ((2, 64, 56, 56), (64, 64, 3, 3), 1),
    "ResNet, 3x3 of 56x56, 128, stride 2": ((2, 128, 56, 56), (128, 128, 3, 3), 2),
    "ResNet, 3x3 of 14x14, 256": ((8, 256, 14, 14), (256, 256, 3, 3), 1),
    "ResNet, 3x3 of 7x7, 512": ((8, 512, 7, 7), (512, 512, 3, 3), 1),
}


def model(op_type: str, domain: str, feeds: dict[str, Array], **attributes: Any) -> ModelProto:
    """One node; its gradient of the weights, where it has several outputs."""
    outputs = {"weights": ["", "dw"]}.get(attributes.pop("of", ""), ["y"])
    node = helper.make_node(op_type, [*feeds], outputs, domain=domain, **attributes)
    inputs = [helper.make_tensor_value_info(name, 1, a.shape) for name, a in feeds.items()]
    results = [helper.make_tensor_value_info(outputs[-1], 1, None)]
    opsets = [helper.make_opsetid(*pair) for pair in (("", 17), (DOMAIN, VERSION))]
    graph = helper.make_graph([node], "single", inputs, results)
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def pairs(x: Shape, w: Shape, stride: int, profile: str) -> list[tuple[Callable[[], Any], ...]]:
    """Runs of a layer in float32 and under the profile: forward, to the input, to the weights."""
    pad = w[-1] // 2
    out = [(size + 2 * pad - w[-1]) // stride + 1 for size in x[2:]]
    around = {"pads": [pad] * 4, "strides": [stride] * 2}
    rng = np.random.default_rng(0)
    shapes = {"x": x, "w": w, "dy": (x[0], w[0], *out)}
    arrays = {name: rng.normal(size=size).astype(np.float32) for name, size in shapes.items()}

    def run(op_type: str, domain: str, order: str, **attributes: Any) -> Callable[[], Any]:
        feeds = {name: arrays[name] for name in order.split()}
        proto = model(op_type, domain, feeds, **around, **attributes)
        return partial(make_session(proto.SerializeToString(), threads=1).run, None, feeds)

    under = {"arithmetic": profile}
    return [
        (run("Conv", "", "x w"), run("Conv", DOMAIN, "x w", **under)),
        (run("ConvGrad", DOMAIN, "dy x w"), run("ConvInputGrad", DOMAIN, "dy w x", **under)),
        (
            run("ConvGrad", DOMAIN, "dy x w", of="weights"),
            run("ConvWeightGrad", DOMAIN, "dy x w", **under),
        ),
    ]


def least(runs: tuple[Callable[[], Any], ...], rounds: int) -> list[float]:
    """Seconds of the processor of each, the least of the rounds."""
    found = [math.inf] * len(runs)
    for _ in range(rounds + 1):
        for index, run in enumerate(runs):
            start = time.process_time()
            run()
            found[index] = min(found[index], time.process_time() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="avx512_bf16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="what names contain")
    options = parser.parse_args()
    table = Table("layer", "forward", "to the input", "to the weights", "GFLOP/s", box=None)
    for name, (x, w, stride) in LAYERS.items():
        if options.only not in name:
            continue
        times = [least(runs, options.rounds) for runs in pairs(x, w, stride, options.profile)]
        places = math.prod(x[2:]) / stride**2
        rates = (2e-9 * x[0] * math.prod(w) * places / ours for _, ours in times)
        ratios = (f"{ours / float32:.2f}" for float32, ours in times)
        table.add_row(name, *ratios, ", ".join(f"{rate:.0f}" for rate in rates))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
