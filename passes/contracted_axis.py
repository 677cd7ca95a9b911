"""Along which axis of each operand the products lie that a matrix product adds up.

Block formats share an exponent along it, so that a sum of products has one exponent in a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from onnxbf.block_cast import BlockCast
from onnxbf.casts import AnyCast
from onnxbf.errors import UnsupportedError
from onnxbf.graph import Phase, phase_of
from onnxbf.operators import Kind
from onnxbf.passes.choose import operator_of

_LAST = -1


def placed(cast: AnyCast, node: ir.Node, index: int) -> AnyCast:
    """``cast`` for input ``index`` of ``node``: a block format in blocks along the right axis.

    The last axis for what is no operand of a matrix product.

    Raises:
        UnsupportedError: an operator whose axis is not known.
    """
    operator = operator_of(node)
    if not isinstance(cast, BlockCast) or operator is None or operator.kind is not Kind.GEMM:
        return cast
    if node.op_type not in _AXES:
        raise UnsupportedError(
            f"{node.op_type} node {node.name!r} cannot have operands in {cast.name}: along which "
            "axis its blocks lie is not known. Leave it out (--exclude), or name operators in ops."
        )
    return cast.along(_AXES[node.op_type](node, index))


def _product(node: ir.Node, index: int) -> int:
    """MatMul and its kin; a vector has one axis."""
    value = node.inputs[index]
    if value is not None and value.shape is not None and len(value.shape) == 1:
        return _LAST
    side = "AB"[index] if index < 2 else ""
    if _flag(node, f"transBatch{side}"):
        return 0 if _flag(node, f"trans{side}") == (index == 0) else _LAST
    return -2 if _flag(node, f"trans{side}") == (index == 0) else _LAST


def _flag(node: ir.Node, name: str) -> bool:
    return bool(node.attributes.get_int(name, 0))


def _channels(node: ir.Node, index: int) -> int:
    """Conv: the channels of the input, and as many of the weight."""
    return 1


def _transposed_channels(node: ir.Node, index: int) -> int:
    """ConvTranspose, whose weight has the channels of the input first."""
    return 1 if index == 0 else 0


def _conv_gradient(node: ir.Node, index: int) -> int:
    """The gradient of the input adds over output channels, that of the weight over samples."""
    if phase_of(node) is Phase.WEIGHT_GRADIENT:
        return 0
    return 1 if index == 0 else 0


def _last(node: ir.Node, index: int) -> int:
    """Recurrent layers, whose weights stand transposed."""
    return _LAST


_AXES: Mapping[str, Callable[[ir.Node, int], int]] = {
    "MatMul": _product,
    "Gemm": _product,
    "FusedMatMul": _product,
    "FusedGemm": _product,
    "Conv": _channels,
    "FusedConv": _channels,
    "ConvTranspose": _transposed_channels,
    "ConvGrad": _conv_gradient,
    "LSTM": _last,
    "GRU": _last,
    "RNN": _last,
}
