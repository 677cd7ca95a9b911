"""What the expansion of a node is given to read: its inputs, its attributes, a builder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.errors import UnsupportedError
from onnxbf.graph import constant_of


@dataclass(frozen=True, slots=True)
class Call:
    """One node, and the builder of what replaces it; ``opset`` is the model's."""

    b: Builder
    node: ir.Node
    opset: int

    @property
    def x(self) -> ir.Value:
        value = self.node.inputs[0]
        assert value is not None  # ONNX requires it of every operator that is expanded
        return value

    def input(self, index: int) -> ir.Value | None:
        """An input; None where it is absent."""
        return self.node.inputs[index] if index < len(self.node.inputs) else None

    def number(self, name: str, default: float) -> float:
        return self.node.attributes.get_float(name, default)

    def integer(self, name: str, default: int) -> int:
        return self.node.attributes.get_int(name, default)

    def text(self, name: str) -> str:
        return self.node.attributes.get_string(name, "")

    def rank(self, value: ir.Value | None = None) -> int:
        """The number of axes of ``value``, by default of the first input."""
        shape = (value or self.x).shape
        if shape is None:
            raise self.refused(
                "the number of its input's axes is not known",
                "Export the model with the shapes of its inputs.",
            )
        return len(shape)

    def axes(self) -> list[int] | None:
        """The axes of a reduction, an attribute or, since opset 18, an input; None: all of them."""
        stated = self.node.attributes.get_ints("axes", None)
        if stated is not None:
            return [axis % self.rank() for axis in stated]
        value = self.input(1)
        if value is None:
            return [] if self.integer("noop_with_empty_axes", 0) else None
        found = self.integers(value, "axes")
        if not found and not self.integer("noop_with_empty_axes", 0):
            return None
        return [axis % self.rank() for axis in found]

    def integers(self, value: ir.Value, what: str) -> list[int]:
        """The numbers in a constant input."""
        constant = constant_of(value)
        if constant is None:
            raise self.refused(
                f"its {what} are computed", "Export the model with constant folding."
            )
        return [int(number) for number in constant.numpy().reshape(-1)]

    def sizes(self, value: ir.Value, *axes: int) -> ir.Value:
        """The sizes of some axes, as a one-dimensional int64 value."""
        chosen: ir.Value = self.b.Gather(self.b.Shape(value), self.b.integers(*axes), axis=0)
        return chosen

    def refused(self, reason: str, help: str) -> UnsupportedError:
        return UnsupportedError(
            f"{self.node.op_type} node {self.node.name!r} cannot be differentiated: {reason}. "
            f"{help}"
        )


Expansion = Callable[[Call], ir.Value]


def reduced(
    call: Call, op_type: str, x: ir.Value, axes: Sequence[int] | None, *, keep: bool
) -> ir.Value:
    """A reduction; its axes are an attribute until opset 17 (12 for ReduceSum), an input since."""
    options: dict[str, Any] = {"keepdims": int(keep)}
    inputs = [x]
    if axes is not None and call.opset < 18 and op_type != "ReduceSum":
        options["axes"] = axes
    elif axes is not None:
        inputs.append(call.b.integers(*axes))
    value: ir.Value = call.b.node(op_type, inputs, **options)
    return value
