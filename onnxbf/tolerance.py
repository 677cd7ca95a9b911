"""How far rounding alone may move a tensor: a bound from the formats and the graph.

Every rounding to nearest multiplies a number by 1 + d with |d| <= u, the unit roundoff, and k of
them in a row by at most 1 + g(k), g(k) = k u / (1 - k u) (Higham, "Accuracy and Stability of
Numerical Algorithms", lemma 3.1). Errors of rounding to nearest, or stochastically, are as often up
as down, and then k of them stay below 4 sqrt(k) u but for one case in 1,000 (Higham and Mary,
"A new approach to probabilistic rounding error analysis", 2019, theorem 2.4). So a tensor behind k
roundings is expected to differ by no more than the smaller of the two, as the norm of the
difference over the norm of the tensor, where the layers between are not ill-conditioned. Matrix
products are counted with as many float32 roundings as they add terms, other operators with one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx_ir as ir

from onnxbf.casts import AnyCast
from onnxbf.custom_ops.quantizers import applied_cast
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import FLOAT32, FORMATS, Cast, NumberFormat
from onnxbf.graph import subgraphs_of
from onnxbf.operators import Kind, find_operator

_STORED = {fmt.onnx_type: fmt for fmt in FORMATS.values() if fmt.onnx_type}


_CONFIDENCE = 4  # lambda in Higham and Mary: fails with probability 2 exp(-8) at most


def gamma(accumulated: float) -> float:
    """Higham's bound for roundings whose unit roundoffs add up to ``accumulated``."""
    return accumulated / (1 - accumulated) if accumulated < 1 else math.inf


class Path(NamedTuple):
    """Roundings in a row: the sums of their unit roundoffs, and of the squares of those.

    ``biased`` is the part of the sum whose errors all go one way (rounding toward zero ...).
    """

    total: float = 0.0
    biased: float = 0.0
    squares: float = 0.0

    def then(self, other: Path) -> Path:
        return Path(*(a + b for a, b in zip(self, other)))

    def or_worse(self, other: Path) -> Path:
        return Path(*map(max, self, other))

    @property
    def tolerance(self) -> float:
        likely = gamma(self.biased) + _CONFIDENCE * math.sqrt(self.squares)
        return min(gamma(self.total), likely)


def rounding_of(node: ir.Node) -> AnyCast | None:
    """What a node rounds to: one of our own, or a Cast to a narrower type; None if it does not."""
    if node.domain == DOMAIN:
        attributes = {name: a.value for name, a in node.attributes.items()}
        return applied_cast(node.op_type, attributes)
    if node.op_type == "Cast" and node.inputs[0] is not None and not node.domain:
        fmt = _STORED.get(ir.DataType(node.attributes["to"].as_int()).name)
        return None if fmt is None or fmt is FLOAT32 else Cast(fmt)
    return None


def _rounding(cast: AnyCast) -> Path:
    error = cast.largest_error
    return Path(error, error, 0.0) if cast.biased else Path(error, 0.0, error**2)


@dataclass
class Bounds:
    """The worst path of roundings to each value of a model, by value name."""

    model: ir.Model
    coarsest: NumberFormat = FLOAT32  # of what numbers are rounded to
    paths: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._graph(self.model.graph)

    def tolerance(self, name: str) -> float:
        """The relative error of the value called ``name`` that roundings explain."""
        return self._path(name).tolerance

    def _path(self, name: str | None) -> Path:
        return self.paths.get(name or "", Path())

    def _graph(self, graph: ir.Graph) -> Path:
        """Walk a graph; returns the worst of all its paths."""
        worst = Path()
        for node in graph:
            path = Path()
            for value in node.inputs:
                path = path.or_worse(self._path(None if value is None else value.name))
            for body in self._bodies(node):
                path = path.or_worse(self._graph(body))
            path = path.then(self._own(node))
            worst = worst.or_worse(path)
            for value in node.outputs:
                self.paths[value.name or ""] = path
        return worst

    def _bodies(self, node: ir.Node) -> list[ir.Graph]:
        function = self.model.functions.get(node.op_identifier())
        return [*subgraphs_of(node), *([function.graph] if function is not None else [])]

    def _own(self, node: ir.Node) -> Path:
        cast = rounding_of(node)
        if cast is not None:
            if cast.precision.eps > self.coarsest.eps:
                self.coarsest = cast.precision
            return _rounding(cast)
        operator = find_operator(node.domain, node.op_type)
        if operator is None or operator.moves:
            return Path()
        terms = _terms(node) if operator.kind is Kind.GEMM else 1
        u = FLOAT32.unit_roundoff
        return Path(terms * u, 0.0, terms * u**2)


def _terms(node: ir.Node) -> int:
    """How many products one output element of a matrix product adds; 1 where no shape tells."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if weight is None or weight.shape is None or not all(isinstance(s, int) for s in weight.shape):
        return 1
    shape = [int(size) for size in weight.shape if isinstance(size, int)]
    if node.op_type == "MatMul":
        return shape[-2] if len(shape) > 1 else shape[0]
    if node.op_type == "Gemm":
        return shape[1 if node.attributes.get_int("transB", 0) else 0]
    return math.prod(shape[1:])
