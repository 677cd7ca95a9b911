"""Make nodes again of the roundings that products take in, so that they can be observed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.arithmetic import parse_arithmetic
from onnxbf.custom_ops.quantizers import quantizer
from onnxbf.custom_ops.registry import DOMAIN, OPS
from onnxbf.formats import Cast, parse_cast
from onnxbf.graph import PHASE_KEY, ROLE_KEY, Names, Phase, phase_of, take_place
from onnxbf.operators import Role
from onnxbf.passes.base import GraphPass
from onnxbf.passes.choose import Gradients, gradient_values, operator_of, role_of

_CASTS = ("cast_a", "cast_b")
_RESULT = "cast_y"
# What these sum is worked out within them, and so is what an arithmetic rounds before it sums.
_SUM_INNER = frozenset({"Softmax", "LayerNormalization", "SoftmaxGrad", "LayerNormGrad"})


@dataclass(frozen=True)
class ExposeRoundings(GraphPass):
    """Write what operators with an arithmetic round as QuantizeDequantize nodes, in the main graph.

    An operand is rounded before the operator, once for all that round the same tensor likewise;
    that they still round it themselves changes nothing any more. A result is rounded behind it, in
    its place. So the graph computes the same bits. Nodes are called as the operator and what they
    show of it: ``conv1/cast_a``, ``conv1/operand_a`` where the arithmetic rounds, ``conv1/cast_y``.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [node for node in model.graph if arithmetic_of(node) is not None]
        exposure = _Exposure(Names(model), gradient_values(model))
        for node in nodes:
            exposure.operands(node)
            exposure.result(node)
        return ir.passes.PassResult(model, modified=bool(exposure.made))


def rounds_hidden(node: ir.Node) -> bool:
    """Whether a node rounds what stands nowhere in the graph."""
    arithmetic = arithmetic_of(node)
    if arithmetic is None or node.op_type not in _SUM_INNER:
        return False
    return parse_arithmetic(arithmetic).operands is not None


def rounds_itself(node: ir.Node) -> bool:
    """Whether a node with an arithmetic rounds operands, results or what it sums."""
    arithmetic = arithmetic_of(node)
    if arithmetic is None:
        return False
    casts = [name for name in (*_CASTS, _RESULT) if _text(node, name)]
    return bool(casts) or parse_arithmetic(arithmetic).operands is not None


def arithmetic_of(node: ir.Node) -> str | None:
    """The profile under which a node of ours computes; None where there is none."""
    return _text(node, "arithmetic") or None if node.domain == DOMAIN else None


def _text(node: ir.Node, name: str) -> str:
    return node.attributes.get_string(name, "")


@dataclass(frozen=True)
class _Exposure:
    names: Names
    gradients: Gradients
    made: list[ir.Node] = field(default_factory=list)
    rounded: dict[tuple[ir.Value, Cast], ir.Value] = field(default_factory=dict)

    def operands(self, node: ir.Node) -> None:
        roles = [self.role(node, index) for index in range(len(node.inputs))]
        for index, name, cast in tuple(_operand_casts(node)):
            value = node.inputs[index]
            if value is None:
                continue
            if (value, cast) not in self.rounded:
                quantize = self.quantize(node, name, value, cast, roles[index])
                assert node.graph is not None
                node.graph.insert_before(node, quantize)
                self.rounded[value, cast] = quantize.outputs[0]
            node.replace_input_with(index, self.rounded[value, cast])

    def result(self, node: ir.Node) -> None:
        if not _text(node, _RESULT):
            return
        cast, value = parse_cast(_text(node, _RESULT)), node.outputs[0]
        is_whole = phase_of(node) is Phase.WEIGHT_GRADIENT
        role = Role.WEIGHT_GRADIENT if is_whole else Role.OUTPUT
        quantize = self.quantize(node, _RESULT, value, cast, role)
        take_place(quantize.outputs[0], value)
        value.name = self.names.fresh(f"{node.name}/result")
        quantize.replace_input_with(0, value)
        del node.attributes[_RESULT]
        assert node.graph is not None
        node.graph.insert_after(node, quantize)

    def quantize(
        self, node: ir.Node, name: str, value: ir.Value, cast: Cast, role: Role
    ) -> ir.Node:
        op_type, attributes = quantizer(cast)
        name = self.names.fresh(f"{node.name}/{name}")
        made = ir.node(
            op_type,
            [value],
            attributes,
            domain=DOMAIN,
            name=name,
            metadata_props={ROLE_KEY: role.value, PHASE_KEY: phase_of(node).value},
        )
        made.outputs[0].name = self.names.fresh(f"{name}/rounded")
        made.outputs[0].type, made.outputs[0].shape = value.type, value.shape
        self.made.append(made)
        return made

    def role(self, node: ir.Node, index: int) -> Role:
        value, operator = node.inputs[index], operator_of(node)
        if value is not None and value in self.gradients:
            return self.gradients[value]
        if operator is None:  # a gradient of a convolution: of its weights it reads the second
            return Role.WEIGHT if (node.op_type, index) == ("ConvInputGrad", 1) else Role.INPUT
        return role_of(node, operator, index, self.gradients) or Role.INPUT


def _operand_casts(node: ir.Node) -> Iterator[tuple[int, str, Cast]]:
    """Which operands a node rounds, in what order, and what that is called."""
    sums = parse_arithmetic(_text(node, "arithmetic")).operands
    for index, attribute in enumerate(_CASTS):
        if attribute not in OPS[node.op_type].attributes:
            continue
        if _text(node, attribute):
            yield index, attribute, parse_cast(_text(node, attribute))
        if sums is not None and node.op_type not in _SUM_INNER:
            yield index, attribute.replace("cast", "operand"), sums
