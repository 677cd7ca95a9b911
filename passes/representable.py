"""Which casts leave a value as it is: a dataflow analysis of representability.

A tensor that was rounded to bfloat16 holds bfloat16 numbers, and still does after Reshape, Relu or
MaxPool, though not after Add. For each value the analysis keeps the set of those casts, of all that
the model uses, that would change none of its elements; a quantize node whose cast is in the set of
its input does nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxbf.custom_ops.attributes import Attribute, attributes_cast
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.formats import FORMATS, Cast, Overflow, Specials, Subnormals
from onnxbf.graph import constant_of, subgraphs_of
from onnxbf.operators import find_operator
from onnxbf.rounding import round_array

Casts = frozenset[Cast]
_NONE: Casts = frozenset()


def node_cast(node: ir.Node) -> Cast | None:
    """The cast that a QuantizeDequantize node applies; None for any other node."""
    if node.domain != DOMAIN or node.op_type != "QuantizeDequantize":
        return None
    return _cast(tuple((name, attribute.value) for name, attribute in node.attributes.items()))


@functools.lru_cache(maxsize=1024)
def _cast(attributes: tuple[tuple[str, Attribute], ...]) -> Cast:
    return attributes_cast(dict(attributes))


@functools.lru_cache(maxsize=1024)
def leaves_unchanged(cast: Cast, earlier: Cast) -> bool:
    """Whether ``cast`` changes no value that ``earlier`` can give (NaN payloads aside)."""
    if not cast.format.contains(earlier.format):
        return False
    flushed = earlier.subnormals is Subnormals.FLUSH
    tiny = earlier.format.smallest_normal if flushed else earlier.format.smallest_subnormal
    if cast.subnormals is Subnormals.FLUSH and tiny < cast.format.smallest_normal:
        return False
    return _keeps_infinity(cast) or not _keeps_infinity(earlier)


def _keeps_infinity(cast: Cast) -> bool:
    return cast.overflow is Overflow.INFINITY and cast.format.specials is Specials.IEEE


@dataclass(frozen=True)
class Analysis:
    """Facts about the values of one model, found in one walk in topological order.

    Args:
        casts: every cast of the model's quantize nodes.
        on_quantize: called with each quantize node and whether it changes nothing.
    """

    model: ir.Model
    casts: Casts
    on_quantize: Callable[[ir.Node, bool], None]
    facts: dict[ir.Value, Casts] = field(default_factory=dict)
    implied: dict[Cast, Casts] = field(default_factory=dict)
    functions_done: set[ir.Function] = field(default_factory=set)

    def run(self) -> None:
        for function in self.model.functions.values():
            self.function(function)
        self.graph(self.model.graph)

    def function(self, function: ir.Function) -> None:
        """A body is judged once, for all calls: nothing is known of its parameters."""
        if function not in self.functions_done:
            self.functions_done.add(function)
            self.graph(function.graph)

    def graph(self, graph: ir.Graph) -> None:
        for node in graph:
            for inner in subgraphs_of(node):
                self.graph(inner)
            self.node(node)

    def node(self, node: ir.Node) -> None:
        cast = node_cast(node)
        if cast is not None and node.inputs[0] is not None:
            before = self.fact(node.inputs[0])
            self.on_quantize(node, cast in before)
            self.facts[node.outputs[0]] = before | self.given(cast)
            return
        for output, fact in zip(node.outputs, self.transfer(node)):
            self.facts[output] = fact

    def given(self, cast: Cast) -> Casts:
        """The casts that change nothing in what ``cast`` gives."""
        if cast not in self.implied:
            self.implied[cast] = frozenset(c for c in self.casts if leaves_unchanged(c, cast))
        return self.implied[cast]

    def fact(self, value: ir.Value) -> Casts:
        """The casts that change nothing in ``value``."""
        if value not in self.facts:
            self.facts[value] = self.constant(value)
        return self.facts[value]

    def constant(self, value: ir.Value) -> Casts:
        """One-element constants are judged by their number; larger ones may be weights."""
        tensor = constant_of(value)
        if tensor is None or tensor.size != 1 or tensor.dtype is not ir.DataType.FLOAT:
            return _NONE
        return self.unchanged(tensor.numpy().reshape(1))

    def unchanged(self, numbers: np.ndarray) -> Casts:
        zeros = np.zeros(numbers.shape, np.uint32)
        bits = numbers.view(np.uint32)
        return frozenset(
            cast
            for cast in self.casts
            if np.array_equal(round_array(numbers, cast, zeros).view(np.uint32), bits)
        )

    def transfer(self, node: ir.Node) -> list[Casts]:
        """What is known of a node's outputs."""
        function = self.model.functions.get(node.op_identifier())
        if function is not None:
            self.function(function)
            return [self.fact(value) for value in function.outputs]
        if node.op_type in _CONTROL_FLOW:
            return _CONTROL_FLOW[node.op_type](self, node)
        if node.op_type == "Cast":
            return [self.stored(node)]
        if node.op_type == "Sign":
            return [self.unchanged(np.array([-1, 0, 1], np.float32))]
        if node.op_type == "Constant":
            return [self.constant(node.outputs[0])]
        return [self.carried(node)] * len(node.outputs)

    def stored(self, node: ir.Node) -> Casts:
        """A tensor cast up from a stored format holds numbers of that format; a mask, 0 and 1."""
        source = node.inputs[0]
        dtype = None if source is None else source.dtype
        if _is_mask(source) and node.outputs[0].dtype is ir.DataType.FLOAT:
            return self.unchanged(np.array([0, 1], np.float32))
        for fmt in FORMATS.values():
            if dtype is not None and fmt.onnx_type == dtype.name and node.outputs[0].dtype != dtype:
                return self.given(Cast(fmt))
        return _NONE

    def carried(self, node: ir.Node) -> Casts:
        """Operators that only move values give what all the values that they move have."""
        operator = find_operator(node.domain, node.op_type)
        if operator is None or not operator.carries or not moves_values(node):
            return _NONE
        fact = self.casts  # all keep zero, which padding and absent inputs bring
        for index, value in enumerate(node.inputs):
            if value is not None and operator.carries_input(index):
                fact = fact & self.fact(value)
        return fact

    def branches(self, node: ir.Node) -> list[Casts]:
        """If: what both branches give."""
        bodies = [[self.fact(value) for value in body.outputs] for body in subgraphs_of(node)]
        return [frozenset.intersection(*facts) for facts in zip(*bodies)]

    def loop(self, node: ir.Node) -> list[Casts]:
        """Loop: states have what they start with and what the body gives; scans, the latter."""
        (body,) = subgraphs_of(node)
        facts = [self.fact(value) for value in list(body.outputs)[1:]]
        return self.with_states(facts, node.inputs[2:])

    def scan(self, node: ir.Node) -> list[Casts]:
        (body,) = subgraphs_of(node)
        scanned = node.attributes["num_scan_inputs"].as_int()
        facts = [self.fact(value) for value in body.outputs]
        return self.with_states(facts, node.inputs[: len(node.inputs) - scanned])

    def with_states(self, facts: list[Casts], states: Sequence[ir.Value | None]) -> list[Casts]:
        starts = [_NONE if state is None else self.fact(state) for state in states]
        return [fact & start for fact, start in zip(facts, starts)] + facts[len(starts) :]


_CONTROL_FLOW: dict[str, Callable[[Analysis, ir.Node], list[Casts]]] = {
    "If": Analysis.branches,
    "Loop": Analysis.loop,
    "Scan": Analysis.scan,
}


_COMPARES = ("Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual")
_LOGIC = ("And", "Not", "Or", "Xor")


def _is_mask(value: ir.Value | None) -> bool:
    producer = None if value is None else value.producer()
    known = value is not None and value.dtype is ir.DataType.BOOL
    return known or (producer is not None and producer.op_type in (*_COMPARES, *_LOGIC))


def moves_values(node: ir.Node) -> bool:
    """Whether a node that may move values alone does so, as its attributes and inputs have it."""
    if node.op_type in ("Resize", "Upsample"):
        return _text(node, "mode", "nearest") == "nearest"
    if node.op_type.startswith("Scatter"):
        return _text(node, "reduction", "none") == "none"
    if node.op_type == "Dropout":  # scales what it keeps when it is training
        training = node.inputs[2] if len(node.inputs) > 2 else None
        return training is None
    return node.op_type != "MaxPoolGrad" or not _windows_overlap(node)


def _windows_overlap(node: ir.Node) -> bool:
    """Whether an element may lie in several windows, whose gradients are then added up."""
    sizes = node.attributes["kernel_shape"].as_ints()
    ones = (1,) * len(sizes)
    strides, dilations = (node.attributes.get_ints(n, ones) for n in ("strides", "dilations"))
    return any(s <= (k - 1) * d for k, s, d in zip(sizes, strides, dilations, strict=True))


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return "" if attribute.is_ref() else attribute.as_string()  # what a function's caller says
