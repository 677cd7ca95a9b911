"""ONNX Runtime's training API, without its package's ``__init__``, which imports PyTorch."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from onnxbf.session import register_custom_ops

Array = NDArray[Any]


def module(name: str) -> Any:
    """A module of ``onnxruntime.training``."""
    package = types.ModuleType("onnxruntime.training")
    package.__path__ = [str(Path(onnxruntime.__file__).parent / "training")]
    sys.modules.setdefault("onnxruntime.training", package)
    return importlib.import_module(f"onnxruntime.training.{name}")


class Run:
    """A folder of artifacts in training by ONNX Runtime's Module and Optimizer, on one thread."""

    def __init__(
        self, folder: Path, *, training: str = "training_model.onnx", custom_ops: bool = True
    ) -> None:
        api = module("api")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if custom_ops:
            register_custom_ops(options)
        evaluation = folder / "eval_model.onnx"
        self.state = api.CheckpointState.load_checkpoint(folder / "checkpoint")
        self.module = api.Module(
            folder / training,
            self.state,
            evaluation if evaluation.exists() else None,
            session_options=options,
        )
        self.optimizer = api.Optimizer(folder / "optimizer_model.onnx", self.module)

    def backward(self, batch: Mapping[str, Array]) -> float:
        """The loss of a batch; its gradients are added to those since the last ``update``."""
        return float(self._call(batch)[0])

    def update(self, rate: float) -> None:
        self.optimizer.set_learning_rate(rate)
        self.optimizer.step()
        self.module.lazy_reset_grad()

    def step(self, batch: Mapping[str, Array], rate: float) -> float:
        loss = self.backward(batch)
        self.update(rate)
        return loss

    def evaluate(self, batch: Mapping[str, Array]) -> tuple[float, Array]:
        """The loss and the predictions."""
        self.module.eval()
        loss, predictions = self._call(batch)
        self.module.train()
        return float(loss), predictions

    def arrays(self) -> dict[str, Array]:
        return {name: np.array(parameter.data) for name, parameter in self.state.parameters}

    def _call(self, batch: Mapping[str, Array]) -> tuple[Array, ...]:
        given = self.module(*(batch[name] for name in self.module.input_names()))
        return given if isinstance(given, tuple) else (given,)


def generate(
    model: onnx.ModelProto, folder: Path, *, trained: list[str], frozen: list[str], loss: str
) -> None:
    """What ONNX Runtime's own generator makes of a model, for SGD; without a model of evaluation.

    That does not load where a batch normalization is in training form.
    """
    artifacts = module("artifacts")
    artifacts.generate_artifacts(
        model,
        requires_grad=trained,
        frozen_params=frozen,
        loss=artifacts.LossType[loss],
        optimizer=artifacts.OptimType.SGD,
        artifact_directory=folder,
    )
    (folder / "eval_model.onnx").unlink()
    path = folder / "optimizer_model.onnx"
    made = onnx.load(path)
    made.ir_version = model.ir_version  # it takes onnx's newest, which ONNX Runtime refuses
    onnx.save(made, path)
