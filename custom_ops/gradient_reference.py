"""The gradient operators of ``ai.onnxbf`` in NumPy: sums in float64, results in float32.

They have the inputs, outputs and attributes of ONNX Runtime's operators of the same names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from onnxbf.custom_ops.registry import DOMAIN

Floats = NDArray[np.float32]


class ReluGrad(OpRun):
    """The gradient of Relu, from its input or its output."""

    op_domain = DOMAIN

    def _run(self, dy: Floats, x: Floats) -> tuple[Floats]:
        return (np.where(x > 0, dy, np.float32(0)),)


GRADIENT_OPS: list[type[OpRun]] = [ReluGrad]
