"""The model that training leaves behind, to be used as the one before it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.files import save_model
from onnxbf.training.prepare import prepare

Array = NDArray[Any]


def save_trained(model: ir.Model, state: Mapping[str, Array], path: Path) -> None:
    """Write ``model`` in float32 with the parameters and running statistics of ``state``.

    It is the model as training evaluates it, so it has an opset that can be trained, and recurrent
    nodes stay whole.
    """
    trained = prepare(model, training=False, unroll=False).model
    initializers = trained.graph.initializers
    for name, value in initializers.items():
        if name in state:
            value.const_value = ir.tensor(np.array(state[name]), name=name)
    save_model(trained, path)
