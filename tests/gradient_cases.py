"""Single gradient nodes with data: what their kernels are tested on."""

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


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        outputs: the names of its outputs, empty where one is not asked for.
        magnitudes: for each output the sum of the magnitudes that it is a sum of.
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

    def __str__(self) -> str:
        return f"{self.op_type}-{self.name}"

    def bounds(self, name: str) -> NDArray[Any]:
        """What an output may be off by, in units of float32's epsilon."""
        return (4 + self.terms) * self.magnitudes(self.feeds)[name].astype(np.float64)


def domain_of(case: Case) -> str:
    """Where ONNX Runtime has the operator."""
    return "com.microsoft"


def single(case: Case, *, domain: str = DOMAIN) -> onnx.ModelProto:
    """A model of this node alone."""
    node = helper.make_node(
        case.op_type, [*case.feeds], case.outputs, domain=domain, name="node", **case.attributes
    )
    inputs = [
        value(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
        for name, array in case.feeds.items()
    ]
    outputs = [value(name, TensorProto.FLOAT) for name in case.outputs if name]
    return model([node], inputs, outputs, opsets={"com.microsoft": 1})


def evaluate(case: Case) -> dict[str, NDArray[Any]]:
    """What NumPy makes of it."""
    results = Evaluator(single(case)).run(None, dict(case.feeds))
    return dict(zip((name for name in case.outputs if name), results, strict=True))


def _normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _relu() -> list[Case]:
    return [
        Case(
            str(shape),
            "ReluGrad",
            {"dy": _normal(0, *shape), "x": _normal(1, *shape)},
            ("dx",),
            lambda feeds: {"dx": np.zeros_like(feeds["dy"])},
            exact=True,
        )
        for shape in ((), (1,), (0, 3), (37,), (3, 5, 7, 11), (70_001,))
    ]


CASES: list[Case] = [*_relu()]
