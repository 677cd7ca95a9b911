"""What transforms emit an update graph with: inputs, slots, and numbers that are computed once."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.custom_ops.attributes import cast_attributes
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.errors import ModelError
from onnxbf.formats import Cast
from onnxbf.graph import GRADIENT, NEXT, UPDATE, Names, Phase
from onnxbf.rounding import round_value
from onnxbf.training.weight_update import Fp32Master, WeightUpdate, rounds

LEARNING_RATE, STEP, GRADIENT_SCALE = "learning_rate", "step", "gradient_scale"
GRADIENT_NORM = "gradient_norm"

_OPSET, _IR_VERSION = 20, 10  # what the oldest of the supported runtimes takes

# ONNX Runtime sums a whole tensor in a few float32 accumulators: the sum of 16 million squares
# comes out 0.1% too small. From this many elements on, rows are summed first, then their sums.
_MANY = 2**16


@dataclass(frozen=True, slots=True)
class Parameter:
    """A trained float32 tensor."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """A float32 tensor that an optimizer keeps for a parameter: ``<parameter>.<slot>``.

    ``fill`` is what every element is before the first update.
    """

    name: str
    shape: tuple[int, ...]
    fill: float


@dataclass(frozen=True, slots=True)
class Update:
    """What is to be taken off a parameter: ``learning_rate * scale * value``.

    Before that the parameter is multiplied by ``1 - learning_rate * decay``. ``scale`` is a float32
    scalar, None for 1; kept apart, it is multiplied with the learning rate and not with the tensor.
    """

    parameter: Parameter
    weight: ir.Value
    value: ir.Value
    scale: ir.Value | None = None
    decay: float = 0.0


class Emitter:
    """An update graph that is being built.

    What all parameters share is emitted once, by the builder ``shared``.

    Attributes:
        model: the graph; its nodes come with ``finish``.
        updates: the scaled gradients of all parameters.
        slots: those declared so far.
        step: int64 scalar, 0 for the first update.
        notes: what the user should know.

    Raises:
        ModelError: no parameters, or two tensors that would have the same name.
    """

    def __init__(self, parameters: Sequence[Parameter], rule: WeightUpdate | None = None) -> None:
        if not parameters:
            raise ModelError("There are no parameters to update: name some to train.")
        graph = ir.Graph([], [], nodes=[], opset_imports={"": _OPSET}, name="update")
        self.model = ir.Model(graph, ir_version=_IR_VERSION)
        self.slots: list[Slot] = []
        self.notes: list[str] = []
        self._rule = rule or Fp32Master()
        self._names = Names(self.model)
        self._builders: dict[str, Builder] = {}
        self._made: dict[Hashable, ir.Value] = {}
        self.shared = Builder(self._names, "update", phase=Phase.UPDATE)
        weights = [self._input(p.name, p.shape) for p in parameters]
        gradients = [self._input(f"{p.name}{GRADIENT}", p.shape) for p in parameters]
        self._learning_rate = self._input(LEARNING_RATE, ())
        self.step = self._input(STEP, (), ir.DataType.INT64)
        scale = self._input(GRADIENT_SCALE, ())
        self.updates: Sequence[Update] = [
            Update(parameter, weight, self._builder(parameter).Mul(gradient, scale))
            for parameter, weight, gradient in zip(parameters, weights, gradients)
        ]
        self._weights = dict(zip((p.name for p in parameters), weights))
        self.updates = [
            replace(u, weight=self._rule.read(self, u.parameter.name, u.weight))
            for u in self.updates
        ]

    def of(self, update: Update) -> Builder:
        """The builder of nodes that belong to one parameter."""
        return self._builder(update.parameter)

    def then(self, update: Update, op_type: str, *others: ir.Value) -> Update:
        """``update`` after one more node, which takes its value and ``others``."""
        plain = self.plain(update)
        return replace(plain, value=self.of(update).node(op_type, (plain.value, *others)))

    def plain(self, update: Update) -> Update:
        """The same update with its scale multiplied in."""
        if update.scale is None:
            return update
        return replace(update, value=self.of(update).Mul(update.value, update.scale), scale=None)

    def slot(self, parameter: Parameter, name: str, fill: float = 0.0) -> ir.Value:
        """Declare a slot of the parameter's shape; its present value."""
        slot = Slot(f"{parameter.name}.{name}", parameter.shape, fill)
        self.slots.append(slot)
        return self._input(slot.name, slot.shape)

    def slot_of(self, name: str, slot: str) -> ir.Value:
        """The present value of a slot of the parameter ``name``, which is declared once."""
        weight = self._weights[name]
        assert weight.shape is not None
        parameter = Parameter(name, tuple(weight.shape.numpy()))
        return self._once((name, slot), lambda: self.slot(parameter, slot))

    def keep(self, present: ir.Value, coming: ir.Value) -> ir.Value:
        """Make ``coming`` the next value of a slot, in the format of slots; returns that."""
        if not rounds(self._rule.kept):
            return self.hold(present, coming)
        name = present.name or ""
        owner = max((p for p in self._weights if name.startswith(f"{p}.")), key=len)
        return self.hold(present, self._rounded(self.named(owner), coming, Cast(self._rule.kept)))

    def hold(self, present: ir.Value, coming: ir.Value) -> ir.Value:
        """Make ``coming`` the next value of a slot or parameter, as it is; returns it."""
        assert present.name is not None and present.shape is not None
        self.result(coming, f"{present.name}{NEXT}", present.shape)
        return coming

    def descend(self, update: Update) -> None:
        """Take an update off its parameter: ``<parameter>.update`` is what is taken off."""
        name = update.parameter.name
        step = self.of(update).Mul(update.value, self.rate(update.scale))
        self._reserve(f"{name}{UPDATE}")
        step.name = f"{name}{UPDATE}"
        self.hold(self._weights[name], self._rule.descend(self, update, step))

    def decayed(self, update: Update) -> ir.Value:
        """The weight that a step is taken off: after decay, where there is some."""
        if not update.decay:
            return update.weight
        weight: ir.Value = self.of(update).Mul(update.weight, self.shrink(update.decay))
        return weight

    def rounded(self, update: Update, value: ir.Value, cast: Cast) -> ir.Value:
        """``value`` in a narrower format; itself where that is float32."""
        return self._rounded(self.of(update), value, cast) if rounds(cast.format) else value

    def coefficient(self, name: str, number: float) -> float:
        """What a slot is multiplied by in every update, as its format holds it."""
        kept = self._rule.kept
        held = round_value(number, Cast(kept)) if rounds(kept) else number
        if held == 1 != number:
            self._note_once(
                f"{number} rounds to 1 in {kept}, so that {name} never forgets: choose less, or "
                "keep it in a wider format, states=fp32."
            )
        return held

    def average(self, update: Update, name: str, value: ir.Value, decay: float) -> ir.Value:
        """The next value of a slot that is the moving average of ``value``."""
        return self._rule.average(self, update, name, value, decay)

    def constant(self, number: float, kind: ir.DataType = ir.DataType.FLOAT) -> ir.Value:
        """A scalar constant."""
        return self._once((kind, number), lambda: self.shared.constant(number, kind))

    def rate(self, scale: ir.Value | None) -> ir.Value:
        """The learning rate times ``scale``, a float32 scalar."""
        if scale is None:
            return self._learning_rate
        return self._once(("rate", scale), lambda: self.shared.Mul(self._learning_rate, scale))

    def shrink(self, decay: float) -> ir.Value:
        """``1 - learning_rate * decay``, a float32 scalar."""
        b, one, rate = self.shared, self.constant(1.0), self.constant(decay)
        return self._once(("shrink", decay), lambda: b.Sub(one, b.Mul(self._learning_rate, rate)))

    def global_norm(self, updates: Sequence[Update]) -> ir.Value:
        """The Euclidean norm of all values together, without scales: a float32 scalar."""
        values = tuple(update.value for update in updates)
        return self._once(("norm", values), lambda: self._global_norm(updates))

    def square_sum(self, parameter: Parameter, value: ir.Value) -> ir.Value:
        """The sum of squares of a tensor of the parameter's shape, a float32 scalar."""
        b, shape = self._builder(parameter), parameter.shape
        total: ir.Value
        if len(shape) < 2 or math.prod(shape) < _MANY:
            total = b.ReduceSumSquare(value, keepdims=0)
            return total
        rows = b.ReduceSum(b.Mul(value, value), self.shared.integers(*range(1, len(shape))))
        total = b.ReduceSum(rows, keepdims=0)
        return total

    def result(self, value: ir.Value, name: str, shape: ir.Shape) -> None:
        """Make ``value`` an output, under a name of its own.

        Raises:
            ModelError: the name is taken.
        """
        self._reserve(name)
        value.name, value.dtype, value.shape = name, ir.DataType.FLOAT, shape
        self.model.graph.outputs.append(value)

    def finish(self) -> ir.Model:
        """The model with all nodes, in an order that runs."""
        for builder in (self.shared, *self._builders.values()):
            self.model.graph.extend(builder.nodes)
        self.model.graph.sort()
        return self.model

    def named(self, name: str) -> Builder:
        """The builder of nodes that belong to the parameter ``name``."""
        if name not in self._builders:
            self._builders[name] = Builder(self._names, f"update/{name}", phase=Phase.UPDATE)
        return self._builders[name]

    def _builder(self, parameter: Parameter) -> Builder:
        return self.named(parameter.name)

    def _rounded(self, b: Builder, value: ir.Value, cast: Cast) -> ir.Value:
        key = zlib.crc32((value.name or "").encode())
        attributes = cast_attributes(cast, node=key)
        inputs = (value, self.step) if cast.stochastic else (value,)
        options: dict[str, Any] = {"domain": DOMAIN, **attributes}
        result: ir.Value = b.node("QuantizeDequantize", inputs, **options)
        self.model.opset_imports[DOMAIN] = VERSION
        return result

    def _note_once(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _global_norm(self, updates: Sequence[Update]) -> ir.Value:
        sums = [self.square_sum(u.parameter, u.value) for u in updates]
        norm: ir.Value = self.shared.Sqrt(self.shared.Sum(*sums))
        return norm

    def _once(self, key: Hashable, make: Callable[[], ir.Value]) -> ir.Value:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _input(
        self, name: str, shape: tuple[int, ...], kind: ir.DataType = ir.DataType.FLOAT
    ) -> ir.Value:
        self._reserve(name)
        value = ir.Value(name=name, type=ir.TensorType(kind), shape=ir.Shape(shape))
        self.model.graph.inputs.append(value)
        return value

    def _reserve(self, name: str) -> None:
        if self._names.fresh(name) != name:
            raise ModelError(
                f"Two tensors of the update would be called {name!r}: rename the parameter that "
                "this name belongs to, or begins with."
            )
