"""How many bits of their mantissas the elements of values use: a dataflow analysis on bits.

What a cast to bfloat16 gave has zeros below the upper seven bits of its mantissas, NaNs among them,
and still does after Reshape or Relu, though not after Add. This is less than representable.py
knows of casts, and holds to the bit: for kernels that would else look through their factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from onnxbf.custom_ops.attributes import attributes_cast
from onnxbf.custom_ops.elementwise import Program, parse_program
from onnxbf.custom_ops.registry import DOMAIN, PROGRAM
from onnxbf.formats import FLOAT32, parse_cast
from onnxbf.operators import Kind, find_operator
from onnxbf.passes.fuse_elementwise import FUSED, FUSED_OBSERVED
from onnxbf.passes.fuse_products import FUSED as FUSED_PRODUCT
from onnxbf.passes.representable import moves_values

ALL = FLOAT32.mantissa_bits
_CASTS = ("QuantizeDequantize", "QuantizeDequantizeObserved")
# What a step of a program gives an operand's bits, or zero's: of so many operands.
_TAKES = {"Relu": 1, "Neg": 1, "Abs": 1, "ReluGrad": 1, "Max": 2, "Min": 2}


def mantissa_bits(graph: ir.Graph) -> dict[ir.Value, int]:
    """The upper bits of mantissas, beyond which all are zero, of values that do not use all.

    Max pooling is not among what keeps them: of a window without numbers it gives the least one.
    """
    found: dict[ir.Value, int] = {}
    for node in graph:
        for output, bits in zip(node.outputs, _outputs(node, found)):
            if bits < ALL:
                found[output] = bits
    return found


def _outputs(node: ir.Node, found: dict[ir.Value, int]) -> Iterable[int]:
    """Of the first outputs of a node, as many as something is known of."""
    inputs = [ALL if value is None else found.get(value, ALL) for value in node.inputs]
    if node.domain == DOMAIN and node.op_type in _CASTS:
        attributes = {name: each.value for name, each in node.attributes.items()}
        return [attributes_cast(attributes).format.mantissa_bits]
    if node.domain == DOMAIN and node.op_type in (FUSED, FUSED_OBSERVED, FUSED_PRODUCT):
        return _programs(node, inputs)
    if node.domain == DOMAIN and "cast_y" in node.attributes:
        return [_rounded(node)]
    operator = find_operator(node.domain, node.op_type)
    if operator is None or not moves_values(node):
        return []
    if operator.kind is not Kind.MOVEMENT and node.op_type != "Relu":
        return []
    present = (index for index, value in enumerate(node.inputs) if value is not None)
    carried = [inputs[index] for index in present if operator.carries_input(index)]
    return [max(carried, default=ALL)] * len(node.outputs)


def _rounded(node: ir.Node) -> int:
    """What an operator of ours rounds its first output to, last of all."""
    text = node.attributes.get_string("cast_y", "")
    return parse_cast(text).format.mantissa_bits if text else ALL


def _programs(node: ir.Node, inputs: Sequence[int]) -> list[int]:
    """What programs make of the groups of inputs of a node, or of the result of a product."""
    program = parse_program(node.attributes[PROGRAM].as_string())
    if node.op_type == FUSED_PRODUCT:
        return _run(program, [_rounded(node), *inputs[2:]], [])
    count, end = program.count("x"), len(inputs) - program.count("s")
    first = [ALL] if node.op_type == FUSED_OBSERVED else []
    groups = (inputs[begin : begin + count] for begin in range(0, end, count))
    return [*first, *(bits for group in groups for bits in _run(program, group, inputs[end:]))]


def _run(program: Program, group: Sequence[int], shared: Sequence[int]) -> list[int]:
    places = {f"x{index}": bits for index, bits in enumerate(group)}
    places |= {f"s{index}": bits for index, bits in enumerate(shared)}
    for step in program.steps:
        operands = [places[name] for name in step.operands]
        if step.rounds:
            places[step.result] = parse_cast(step.operation).format.mantissa_bits
        else:
            places[step.result] = max(operands[: _TAKES.get(step.operation, 0)], default=ALL)
    return [places[f"y{index}"] for index in range(program.count("y"))]
