"""How far rounding alone may move a tensor: a bound from the formats and the graph.

Every rounding to nearest multiplies a number by 1 + d with |d| <= u, the unit roundoff, and k of
them in a row by at most 1 + g(k), g(k) = k u / (1 - k u) (Higham, "Accuracy and Stability of
Numerical Algorithms", lemma 3.1). So a tensor behind k roundings of one format is expected to
differ by no more than g(k), as the norm of the difference over the norm of the tensor, where the
layers between are not ill-conditioned. Matrix products are counted with as many float32 roundings
as they add terms, every other operator with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.custom_ops.registry import DOMAIN, attributes_cast
from onnxbf.formats import FLOAT32, FORMATS, Cast, NumberFormat, Rounding
from onnxbf.graph import subgraphs_of
from onnxbf.operators import Kind, find_operator

_STORED = {fmt.onnx_type: fmt for fmt in FORMATS.values() if fmt.onnx_type}


def gamma(accumulated: float) -> float:
    """Higham's bound for roundings whose unit roundoffs add up to ``accumulated``."""
    return accumulated / (1 - accumulated) if accumulated < 1 else math.inf


def rounding_of(node: ir.Node) -> Cast | None:
    """The cast of a node that rounds: QuantizeDequantize, Quantize, or Cast to a narrower type."""
    if node.domain == DOMAIN and node.op_type in ("QuantizeDequantize", "Quantize"):
        return attributes_cast({name: a.value for name, a in node.attributes.items()})
    if node.op_type == "Cast" and node.inputs[0] is not None and not node.domain:
        fmt = _STORED.get(ir.DataType(node.attributes["to"].as_int()).name)
        return None if fmt is None or fmt is FLOAT32 else Cast(fmt)
    return None


def _roundoff(cast: Cast) -> float:
    nearest = cast.rounding in (Rounding.NEAREST_EVEN, Rounding.NEAREST_AWAY)
    return cast.format.unit_roundoff if nearest else cast.format.eps


@dataclass
class Bounds:
    """The sum of unit roundoffs on the worst path to each value of a model, by value name."""

    model: ir.Model
    coarsest: NumberFormat = FLOAT32
    sums: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._graph(self.model.graph)

    def tolerance(self, name: str) -> float:
        """The relative error of the value called ``name`` that roundings explain."""
        return gamma(self.sums.get(name, 0.0))

    def _graph(self, graph: ir.Graph) -> float:
        """Walk a graph; returns the largest sum among its values."""
        largest = 0.0
        for node in graph:
            inner = [self._graph(body) for body in self._bodies(node)]
            before = [self.sums.get(v.name or "", 0.0) for v in node.inputs if v is not None]
            total = max([*before, *inner], default=0.0) + self._own(node)
            largest = max(largest, total)
            for value in node.outputs:
                self.sums[value.name or ""] = total
        return largest

    def _bodies(self, node: ir.Node) -> list[ir.Graph]:
        function = self.model.functions.get(node.op_identifier())
        return [*subgraphs_of(node), *([function.graph] if function is not None else [])]

    def _own(self, node: ir.Node) -> float:
        cast = rounding_of(node)
        if cast is not None:
            if cast.format.eps > self.coarsest.eps:
                self.coarsest = cast.format
            return _roundoff(cast)
        operator = find_operator(node.domain, node.op_type)
        if operator is None or operator.kind is Kind.MOVEMENT:
            return 0.0
        terms = _terms(node) if operator.kind is Kind.GEMM else 1
        return terms * FLOAT32.unit_roundoff


def _terms(node: ir.Node) -> int:
    """How many products one output element of a matrix product adds; 1 where no shape tells."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.shape is None or not all(isinstance(s, int) for s in weight.shape):
        return 1
    shape = [int(size) for size in weight.shape if isinstance(size, int)]
    if node.op_type == "MatMul":
        return shape[-2] if len(shape) > 1 else shape[0]
    if node.op_type == "Gemm":
        transposed = "transB" in node.attributes and node.attributes["transB"].as_int()
        return shape[1 if transposed else 0]
    return math.prod(shape[1:])
