"""Give every value the element type that ONNX's operator schemas imply.

Rewriting must know what is float32, and nothing else: no shapes, no constant folding. So this walks
the graph once and reads types off the schemas, which for graphs of 100,000 nodes takes a second
where full shape inference takes many. Types that the file states are believed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from onnxbf.graph import all_graphs, subgraphs_of
from onnxbf.operators import find_operator
from onnxbf.passes.base import GraphPass

# Operators whose output type stands in an attribute, with the type when it is absent.
_TYPE_ATTRIBUTES: dict[str, tuple[str, ir.DataType | None]] = {
    "Cast": ("to", None),
    "Bernoulli": ("dtype", None),
    "EyeLike": ("dtype", None),
    "RandomNormal": ("dtype", ir.DataType.FLOAT),
    "RandomUniform": ("dtype", ir.DataType.FLOAT),
    "RandomNormalLike": ("dtype", None),
    "RandomUniformLike": ("dtype", None),
    "Multinomial": ("dtype", ir.DataType.INT32),
    "BlackmanWindow": ("output_datatype", ir.DataType.FLOAT),
    "HannWindow": ("output_datatype", ir.DataType.FLOAT),
    "HammingWindow": ("output_datatype", ir.DataType.FLOAT),
    "MelWeightMatrix": ("output_datatype", ir.DataType.FLOAT),
}
_SCALAR_ATTRIBUTES = {
    "value_float": ir.DataType.FLOAT,
    "value_floats": ir.DataType.FLOAT,
    "value_int": ir.DataType.INT64,
    "value_ints": ir.DataType.INT64,
    "value_string": ir.DataType.STRING,
    "value_strings": ir.DataType.STRING,
}


@dataclass(frozen=True)
class InferTypes(GraphPass):
    """Fill in element types. A function called with different types keeps those values untyped.

    Attributes:
        stated: the values of which the file states a type without a shape; see ForgetTypes.
    """

    stated: set[ir.Value] = field(default_factory=set)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        self.stated.update(_without_shape(model))
        _Walk(model, set(), {}).graph(model.graph, model.opset_imports)
        return ir.passes.PassResult(model, modified=True)


@dataclass(frozen=True)
class ForgetTypes(GraphPass):
    """Take back types without shapes, but for those of ``stated``, before a model is saved.

    ONNX Runtime believes a stated type to the point that it no longer infers the shape, which some
    operators (Scan) then miss.
    """

    stated: set[ir.Value]

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        inferred = [value for value in _without_shape(model) if value not in self.stated]
        for value in inferred:
            value.type = None
        return ir.passes.PassResult(model, modified=bool(inferred))


def _without_shape(model: ir.Model) -> Iterator[ir.Value]:
    for graph in all_graphs(model):
        values = itertools.chain(graph.inputs, *(node.outputs for node in graph))
        yield from (value for value in values if value.type is not None and value.shape is None)


@dataclass(frozen=True)
class _Walk:
    model: ir.Model
    polymorphic: set[ir.Function]
    known: dict[ir.Function, list[ir.TypeProtocol | None]]  # functions walked, and with what types

    def graph(self, graph: ir.Graph, opsets: dict[str, int]) -> None:
        for value in graph.initializers.values():
            if value.const_value is not None and value.type is None:
                value.type = ir.TensorType(value.const_value.dtype)
        for node in graph:
            self.node(node, opsets)

    def node(self, node: ir.Node, opsets: dict[str, int]) -> None:
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            self.function_call(node, function)
            return
        if node.op_type in ("If", "Loop", "Scan", "SequenceMap"):
            self.control_flow(node, opsets)
            return
        for index, output in enumerate(node.outputs):
            output.type = output.type or _output_type(node, index, opsets.get(node.domain, 1))

    def function_call(self, node: ir.Node, function: ir.Function) -> None:
        types = [None if value is None else value.type for value in node.inputs]
        if function not in self.known:
            self.known[function] = types
            for parameter, kind in zip(function.inputs, types):
                parameter.type = parameter.type or kind
            self.graph(function.graph, function.opset_imports or self.model.opset_imports)
        if self.known[function] != types:
            self.polymorphic.add(function)
            _forget(function)
        if function in self.polymorphic:
            return
        for output, result in zip(node.outputs, function.outputs):
            output.type = output.type or result.type

    def control_flow(self, node: ir.Node, opsets: dict[str, int]) -> None:
        states = _body_inputs(node)
        for body in subgraphs_of(node):
            for outside, inside in zip(states, body.inputs):
                if inside.type is None and outside is not None:
                    inside.type = outside.type
            self.graph(body, opsets)
            skipped = 1 if node.op_type == "Loop" else 0  # a loop's body gives its condition first
            for output, result in zip(node.outputs, list(body.outputs)[skipped:]):
                if output.type is None:
                    output.type = result.type


def _body_inputs(node: ir.Node) -> list[ir.Value | None]:
    """The values outside a node that its body's inputs take their types from, in order."""
    if node.op_type == "Loop":  # iteration and condition are typed by the file
        return [None, node.inputs[1], *node.inputs[2:]]
    return list(node.inputs) if node.op_type == "Scan" else []


def _forget(function: ir.Function) -> None:
    """Called with two different types: nothing inside has one type, so nothing inside is known."""
    values = [*function.inputs]
    for node in function.all_nodes():
        values.extend(node.outputs)
    for value in values:
        value.type = None


def _output_type(node: ir.Node, index: int, version: int) -> ir.TypeProtocol | None:
    if node.op_type in _TYPE_ATTRIBUTES:
        return _attribute_type(node)
    if node.op_type in ("Constant", "ConstantOfShape"):
        return _constant_type(node)
    inputs, outputs = _type_names(node.op_type, version, node.domain)
    if not outputs:
        return _like_first_input(node, index)
    name = outputs[min(index, len(outputs) - 1)]
    if name in _TENSOR_TYPES:
        return _TENSOR_TYPES[name]
    for position, value in enumerate(node.inputs):
        if value is not None and inputs and inputs[min(position, len(inputs) - 1)] == name:
            return value.type
    return None


_TENSOR_TYPES: dict[str, ir.TypeProtocol] = {
    "tensor(float)": ir.TensorType(ir.DataType.FLOAT),
    "tensor(double)": ir.TensorType(ir.DataType.DOUBLE),
    "tensor(bool)": ir.TensorType(ir.DataType.BOOL),
    "tensor(int8)": ir.TensorType(ir.DataType.INT8),
    "tensor(uint8)": ir.TensorType(ir.DataType.UINT8),
    "tensor(int32)": ir.TensorType(ir.DataType.INT32),
    "tensor(int64)": ir.TensorType(ir.DataType.INT64),
}


@functools.lru_cache(maxsize=4096)
def _type_names(op_type: str, version: int, domain: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The schema's type names of inputs and outputs; empty where ONNX has no such operator."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return (), ()
    return tuple(i.type_str for i in schema.inputs), tuple(o.type_str for o in schema.outputs)


def _attribute_type(node: ir.Node) -> ir.TypeProtocol | None:
    name, default = _TYPE_ATTRIBUTES[node.op_type]
    attribute = node.attributes.get(name)
    if attribute is not None:
        return None if attribute.is_ref() else ir.TensorType(ir.DataType(attribute.as_int()))
    return _first_input_type(node) if default is None else ir.TensorType(default)


def _constant_type(node: ir.Node) -> ir.TypeProtocol | None:
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            return None
        if name == "value":
            return ir.TensorType(attribute.as_tensor().dtype)
        if name in _SCALAR_ATTRIBUTES:
            return ir.TensorType(_SCALAR_ATTRIBUTES[name])
    return ir.TensorType(ir.DataType.FLOAT) if node.op_type == "ConstantOfShape" else None


def _like_first_input(node: ir.Node, index: int) -> ir.TypeProtocol | None:
    """ONNX Runtime's own operators, which have no schema here, give what they are given."""
    operator = find_operator(node.domain, node.op_type)
    if operator is None or operator.output_role(index) is None:
        return None
    return _first_input_type(node)


def _first_input_type(node: ir.Node) -> ir.TypeProtocol | None:
    first = node.inputs[0] if node.inputs else None
    return None if first is None else first.type
