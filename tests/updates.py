"""Runs update graphs step by step, for tests of optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.passes.fuse_elementwise import FuseElementwise
from onnxbf.protos import to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from onnxbf.training.emitter import Parameter
from onnxbf.training.optimizers import Optimizer
from onnxbf.training.update import make_update
from onnxbf.training.weight_update import parse_weight_update

Arrays = Mapping[str, NDArray[Any]]
SHAPES = {"matrix": (3, 4), "vector": (5,), "scalar": (), "empty": (0, 3), "kernel": (2, 1, 2, 2)}


def parameters_of(arrays: Arrays) -> list[Parameter]:
    return [Parameter(name, array.shape) for name, array in arrays.items()]


def draw(seed: int = 0, shapes: Mapping[str, tuple[int, ...]] = SHAPES) -> dict[str, NDArray[Any]]:
    """A float32 array for each name."""
    rng = np.random.default_rng(seed)
    return {name: np.asarray(rng.normal(size=s), np.float32) for name, s in shapes.items()}


class Run:
    """An optimizer's update graph and its state, which each step replaces.

    ``steps`` counts them; ``norm`` is the last gradient norm; ``last`` all that the last step gave.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        weights: Arrays,
        *,
        reference: bool = False,
        threads: int | None = None,
        fused: bool = False,
        rule: str = "fp32_master",
    ) -> None:
        update = make_update(parameters_of(weights), optimizer, rule)
        if fused:
            FuseElementwise(Report("none"))(update.model)
        self.proto = to_proto(update.model)
        onnx.checker.check_model(self.proto, full_check=True)
        self.state = dict(weights)
        self.state |= {s.name: np.full(s.shape, s.fill, np.float32) for s in update.slots}
        for name, array in weights.items():
            self.state |= parse_weight_update(rule).initial(name, array)
        self.steps = 0
        self.norm = float("nan")
        self.last: dict[str, NDArray[Any]] = {}
        serialized = self.proto.SerializeToString()
        self._session = None if reference else make_session(serialized, threads=threads)

    def step(self, gradients: Arrays, rate: float = 0.1, scale: float = 1.0) -> Arrays:
        """One update; the state after it."""
        feeds = {
            **self.state,
            **{f"{name}.gradient": array for name, array in gradients.items()},
            "learning_rate": np.array(rate, np.float32),
            "step": np.array(self.steps, np.int64),
            "gradient_scale": np.array(scale, np.float32),
        }
        self.last = self._outputs(feeds)
        self.norm = float(self.last["gradient_norm"])
        self.state = {name: self.last[f"{name}.next"] for name in self.state}
        self.steps += 1
        return self.state

    def _outputs(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        if self._session is not None:
            return run(self._session, feeds)
        with np.errstate(invalid="ignore", over="ignore"):
            outputs = Evaluator(self.proto).run(None, dict(feeds))
        return {value.name: np.asarray(o) for value, o in zip(self.proto.graph.output, outputs)}


def trained(
    optimizer: Optimizer, weights: Arrays, gradients: Sequence[Arrays], **options: Any
) -> Arrays:
    """The state after a step for each of ``gradients``."""
    run_ = Run(optimizer, weights)
    for each in gradients:
        run_.step(each, **options)
    return run_.state


def distance(got: NDArray[Any], wanted: NDArray[Any], size: float = 0.0) -> float:
    """The largest difference, relative to the largest element that was wanted, or to ``size``."""
    if not got.size:
        return 0.0
    size = size or max(float(np.abs(wanted).max()), float(np.finfo(np.float32).tiny))
    return float(np.abs(got.astype(np.float64) - wanted).max()) / size
