"""Refuse what cannot be differentiated before ONNX Runtime sees it: it may end the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onnxbf.errors import UnsupportedError
from onnxbf.graph import REFUSAL_KEY, subgraphs_of

# What ONNX Runtime 1.19 has a gradient of. Source: by trying each operator of opset 21, and
# orttraining/core/graph/gradient_builder_registry.cc.
_NAMES = """
Abs Add AveragePool BatchNormInternal BiasGelu Cast Clip Concat Conv ConvTranspose Cos Div Dropout
Erf Exp Expand FastGelu Flatten Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
GRUTraining Identity LayerNormalization LeakyRelu Log LogSoftmax LSTMTraining MatMul Max MaxPool Min
Mul Neg Pad Pow QuickGelu Reciprocal ReduceL2 ReduceLogSumExp ReduceMean ReduceSum Relu Reshape
Resize ScatterElements ScatterND Sigmoid SimplifiedLayerNormalization Sin Slice Softmax
SoftmaxCrossEntropyLoss Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Trilu Unsqueeze Where
"""
GRADED = frozenset(_NAMES.split())
# What reads no numbers of its float inputs, so that no gradient goes through.
_BLIND = frozenset({"ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike", "Range"})
_HELP = {
    "If": "Export the model without branches that depend on data.",
    "Loop": "Export the model with a number of steps that does not depend on data.",
    "Scan": "Export the model with fixed sizes, so that the steps can be written out.",
}
_DEFAULT_HELP = (
    "Replace it by operators that have one, or freeze the parameters before it (--freeze)."
)


def check_differentiable(model: ir.Model, loss: str, parameters: Sequence[str]) -> None:
    """See that each node between the parameters and the loss has a gradient.

    Raises:
        UnsupportedError: the first node that has none, its operator, and what would help.
    """
    for node in _between(model.graph, loss, frozenset(parameters)):
        refusal = node.metadata_props.get(REFUSAL_KEY)
        if refusal is not None:
            raise UnsupportedError(refusal)
        if node.op_type not in GRADED:
            raise UnsupportedError(
                f"{node.op_type} node {node.name!r} cannot be differentiated: there is no gradient "
                f"of {node.op_type}. {_HELP.get(node.op_type, _DEFAULT_HELP)}"
            )


def depended_on(model: ir.Model, loss: str, parameters: Sequence[str]) -> tuple[str, ...]:
    """Those of the parameters that the loss depends on by numbers that have a gradient."""
    needed = {value for value in model.graph.outputs if value.name == loss}
    for node in reversed(model.graph):
        if node.op_type not in _BLIND and any(v in needed and _is_float(v) for v in node.outputs):
            needed.update(_reads(node))
    initializers = model.graph.initializers
    return tuple(name for name in parameters if initializers[name] in needed)


def _between(graph: ir.Graph, loss: str, parameters: frozenset[str]) -> list[ir.Node]:
    """The nodes through which the loss depends on a parameter, in the order of the graph."""
    moved = {value for name, value in graph.initializers.items() if name in parameters}
    on_parameters = []
    for node in graph:
        if node.op_type not in _BLIND and any(value in moved for value in _reads(node)):
            on_parameters.append(node)
            moved.update(value for value in node.outputs if _is_float(value))
    needed = {value for value in graph.outputs if value.name == loss}
    found = []
    for node in reversed(on_parameters):
        if any(value in needed for value in node.outputs):
            found.append(node)
            needed.update(value for value in _reads(node) if value in moved)
    return found[::-1]


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """The inputs of a node, and what the graphs inside of it read from around."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs_of(node):
        for inner in graph:
            yield from _reads(inner)


def _is_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()
