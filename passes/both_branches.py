"""Whether both branches of a condition may be computed, and one result be taken of them.

What is not taken must do no harm: ONNX Runtime would multiply its gradient of 0 by what the other
branch computed, and 0 times infinity is NaN.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxbf.graph import subgraphs_of

# Operators that give finite numbers and gradients for all finite inputs, up to overflow.
_NAMES = """
Abs Add And Cast Clip Concat Constant Conv ConvTranspose Cos Dropout Equal Erf Expand Flatten Gelu
Gemm GlobalAveragePool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual LogSoftmax MatMul Max MaxPool
Min Mul Neg Not Or PRelu ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Shape Sigmoid Sin
Softmax Softplus Softsign Squeeze Sub Sum Tanh Transpose Trilu Unsqueeze Where
"""
_HARMLESS = frozenset(_NAMES.split())


def why_not_both(node: ir.Node) -> str:
    """Why the branches of an If cannot both be computed; an empty text if they can.

    Types and shapes have to be inferred.
    """
    branches = subgraphs_of(node)
    for inner in (inner for branch in branches for inner in branch):
        if inner.domain or inner.op_type not in _HARMLESS:
            return (
                f"{inner.op_type} node {inner.name!r} of a branch may not be computed where the "
                "other branch is taken"
            )
    for one, other in zip(*(branch.outputs for branch in branches), strict=True):
        if one.dtype is None or one.dtype is ir.DataType.STRING or one.dtype is not other.dtype:
            return "its branches give other types than numbers of one kind"
        if not _is_same(one.shape, other.shape):
            return f"its branches give shapes {one.shape} and {other.shape}"
    return ""


def _is_same(one: ir.Shape | None, other: ir.Shape | None) -> bool:
    """Whether two shapes are known to be equal."""
    if one is None or other is None or len(one) != len(other):
        return False
    return all(a == b and (isinstance(a, int) or a.value is not None) for a, b in zip(one, other))
