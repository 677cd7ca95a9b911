"""A small model for tests of files, and how files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxbf.errors import ModelError
from onnxbf.files import load_model

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,64] x) => (float[2,64] y) { y = MatMul (x, w) }
"""


def product_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(_TEXT)
    weights = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_model(path)
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def weights_of(path: Path) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
