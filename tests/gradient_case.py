"""One node of training, what it is given, and how far its results may be off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN
from tests.small_models import model, value

Arrays = Mapping[str, NDArray[Any]]
_ONNX = (
    "MaxPool",
    "MaxPoolGrad",
    "SoftmaxCrossEntropyLoss",
    "LayerNormalization",
    "ReduceSum",
)


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        outputs: the names of its outputs, empty where one is not asked for.
        magnitudes: for each output the sum of the magnitudes that it is a sum of.
        peerless: why ONNX Runtime's own kernel is no judge; empty where it is.
        exact: whether ONNX Runtime's kernel gives the same bits.
    """

    name: str
    op_type: str
    feeds: Arrays
    outputs: tuple[str, ...]
    magnitudes: Callable[[Arrays], Arrays]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    terms: int = 1
    exact: bool = False
    peerless: str = ""

    def __str__(self) -> str:
        return f"{self.op_type}-{self.name}"

    def bounds(self, name: str) -> NDArray[Any]:
        """What an output may be off by, in units of float32's epsilon."""
        return (4 + self.terms) * self.magnitudes(self.feeds)[name].astype(np.float64)


def domain_of(case: Case) -> str:
    """Where ONNX Runtime has the operator."""
    return "" if case.op_type in _ONNX else "com.microsoft"


def single(case: Case, *, domain: str = DOMAIN) -> onnx.ModelProto:
    """A model of this node alone."""
    attributes = dict(case.attributes)
    sizes = attributes.get("spatial")
    if domain != DOMAIN and sizes is not None:
        del attributes["spatial"]  # ONNX Runtime looks at the shape of the output instead
    node = helper.make_node(
        case.op_type, [*case.feeds], case.outputs, domain=domain, name="node", **attributes
    )
    inputs = [
        value(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
        for name, array in case.feeds.items()
    ]
    shape = None if sizes is None else [*case.feeds["dy"].shape[:2], *sizes]
    outputs = [
        value(name, TensorProto.INT64 if name == "indices" else TensorProto.FLOAT, shape)
        for name in case.outputs
        if name
    ]
    return model([node], inputs, outputs, opsets={"com.microsoft": 1})


def evaluate(case: Case) -> dict[str, NDArray[Any]]:
    """What NumPy makes of it."""
    results = Evaluator(single(case)).run(None, dict(case.feeds))
    return dict(zip((name for name in case.outputs if name), results, strict=True))


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
