"""The layers of a network, found from its graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.errors import ModelError
from onnxbf.graph import REARRANGES_OR_PARTS, Phase, constant_source, phase_of
from onnxbf.operators import Kind, find_operator
from onnxbf.recipe import compile_pattern

_TABLES = ("Gather", "GatherND")


@dataclass(frozen=True, slots=True)
class Layer:
    """Parameters that are trained together.

    Attributes:
        name: of the node that the layer begins with.
        parameters: in the order in which the forward pass meets them.
    """

    name: str
    parameters: tuple[str, ...]


def find_layers(gradient: ir.Model, trained: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of a gradient graph, from the bottom, where the data enters, to the top.

    A layer begins at a matrix product or convolution that reads a trained parameter as its weight,
    or at a table that data select from; biases, norms and the like belong to the layer before them,
    and those before any layer to the first. A parameter that several layers read belongs to the
    lowest of them.

    Args:
        trained: the names of the parameters.
    """
    left, layers = set(trained), list[Layer]()
    for node in gradient.graph:
        if phase_of(node) is not Phase.FORWARD or node.op_type in REARRANGES_OR_PARTS:
            continue
        met = [name for name in _parameters(node) if name in left]
        left -= {*met}
        if met and (_begins_layer(node) or not layers):
            layers.append(Layer(node.name or "", ()))
        if met:
            layers[-1] = Layer(layers[-1].name, (*layers[-1].parameters, *dict.fromkeys(met)))
    return _joined(gradient, layers)


def choose_layers(layers: Sequence[Layer], patterns: Sequence[str]) -> tuple[Layer, ...]:
    """The layers in whose name, or in a parameter's name, a regular expression is found.

    Raises:
        ModelError: a pattern that names no layer.
        SpecError: one that is not a regular expression.
    """
    chosen: list[Layer] = []
    for text in patterns:
        pattern = compile_pattern(text)
        found = [each for each in layers if any(map(pattern.search, (each.name, *each.parameters)))]
        if not found:
            names = ", ".join(repr(layer.name) for layer in layers)
            raise ModelError(f"{text!r} is found in the name of no layer. There are: {names}.")
        chosen += found
    return tuple(layer for layer in layers if layer in chosen)


def _joined(gradient: ir.Model, layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """A first group that is only norms or biases joins the layer after it."""
    nodes = {node.name: node for node in gradient.graph}
    if len(layers) < 2 or _begins_layer(nodes[layers[0].name]):
        return tuple(layers)
    second = layers[1]
    return (Layer(second.name, (*layers[0].parameters, *second.parameters)), *layers[2:])


def _parameters(node: ir.Node) -> Iterator[str]:
    for value in node.inputs:
        source = None if value is None else constant_source(value)
        if source is not None and source.name:
            yield source.name


def _begins_layer(node: ir.Node) -> bool:
    operator = find_operator(node.domain, node.op_type)
    return operator is not None and (operator.kind is Kind.GEMM or node.op_type in _TABLES)
