"""Work out what small values are whenever a graph runs: sizes, counters, conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxbf.graph import constant_of

Array = NDArray[Any]
Sizes = list[int | None]

_LARGEST = 1024  # elements
_DEEPEST = 64  # nodes between a value and the constants it comes of
# What counters, sizes and conditions are computed with.
_NAMES = """
Abs Add And Cast Ceil Concat Div Equal Expand Floor Gather Greater GreaterOrEqual Identity Less
LessOrEqual Max Min Mod Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Slice
Squeeze Sub Unsqueeze Where Xor
"""
_FOLLOWED = frozenset(_NAMES.split())
_SIZES_PASS = frozenset({"Cast", "Identity"})


class KnownValues:
    """Constants, and what follows from them and from fixed sizes; by ONNX's own evaluator.

    Args:
        opset: the model's.
    """

    def __init__(self, opset: int) -> None:
        self._opset = opset
        self._found: dict[ir.Value, Array | None] = {}

    def of(self, value: ir.Value | None, depth: int = 0) -> Array | None:
        """What the value always is; None where that depends on data, or was not found."""
        if value is None or depth > _DEEPEST:
            return None
        if value not in self._found:
            self._found[value] = self._work_out(value, depth)
        return self._found[value]

    def _work_out(self, value: ir.Value, depth: int) -> Array | None:
        constant = constant_of(value)
        if constant is not None:
            return constant.numpy() if constant.size <= _LARGEST else None
        node = value.producer()
        if node is None or node.domain:
            return None
        sizes = self._sizes(value, depth)
        if sizes is not None:
            return None if None in sizes else np.array(sizes, np.int64)
        if node.op_type in ("Gather", "Slice"):
            part = self._part_of_sizes(node, depth)
            if part is not None:
                return part
        if node.op_type not in _FOLLOWED or any(value is None for value in node.inputs):
            return None
        inputs = []
        for read in node.inputs:
            known = self.of(read, depth + 1)
            if known is None:
                return None
            inputs.append(known)
        return self._evaluate(node, inputs)

    def _sizes(self, value: ir.Value | None, depth: int) -> Sizes | None:
        """The sizes that a value consists of; None for a value that is no Shape."""
        node = None if value is None else value.producer()
        source = node.inputs[0] if node is not None and node.inputs else None
        if node is None or source is None or depth > _DEEPEST:
            return None
        if node.op_type in _SIZES_PASS and not node.domain:
            return self._sizes(source, depth + 1)
        if node.op_type != "Shape" or source.shape is None:
            return None
        sizes = [size if isinstance(size, int) else None for size in source.shape]
        return sizes[node.attributes.get_int("start", None) : node.attributes.get_int("end", None)]

    def _part_of_sizes(self, node: ir.Node, depth: int) -> Array | None:
        """Some of a tensor's sizes, where those are fixed and others need not be."""
        sizes = self._sizes(node.inputs[0], depth)
        chosen = [self.of(value, depth + 1) for value in node.inputs[1:]]
        if sizes is None or any(known is None for known in chosen):
            return None
        places = self._evaluate(
            node, [np.arange(len(sizes)), *(k for k in chosen if k is not None)]
        )
        if places is None:
            return None
        found = [sizes[int(place)] for place in places.reshape(-1)]
        return None if None in found else np.array(found, np.int64).reshape(places.shape)

    def _evaluate(self, node: ir.Node, inputs: list[Array]) -> Array | None:
        proto = ir.to_proto(node)
        names = [f"i{index}" for index in range(len(inputs))]
        proto.input[:], proto.output[:] = names, ["y"]
        imports = [onnx.helper.make_opsetid("", self._opset)]
        function = onnx.helper.make_function("onnxbf", "node", names, ["y"], [proto], imports)
        try:
            (result,) = ReferenceEvaluator(function).run(None, dict(zip(names, inputs)), {})
        except Exception:  # the evaluator's errors share no base; the value is then not known
            return None
        array = np.asarray(result)
        return array if array.size <= _LARGEST else None
