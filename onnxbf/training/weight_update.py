"""How an update reaches weights that are kept in a narrow format.

Optimizers compute in float32 from what is kept; what is kept is rounded. With a float32 copy of the
weights nothing is lost; without one, an update below half a unit in the last place of its weight
is, unless rounding is stochastic or what was lost is kept, too.

Sources: Zamirai et al., Revisiting BFloat16 Training, 2020 (stochastic, kahan); Kalamkar et al.,
Optimizing Deep Learning Recommender Systems' Training, 2020 (split_sgd); Yu et al., Collage, 2024
(mcf_light, mcf_plus: numbers as sums of two).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.formats import FLOAT32, Cast, NumberFormat, Rounding, parse_format
from onnxbf.rounding import round_array, round_value
from onnxbf.training.options import build

if TYPE_CHECKING:
    from onnxbf.training.emitter import Emitter, Update

Array = NDArray[Any]
LOW = "low"  # the slot of what a narrow weight leaves over
COMPENSATION = "compensation"


@dataclass(frozen=True, kw_only=True)
class WeightUpdate:
    """The rule by which a step is taken off a weight; its fields are its options.

    Args:
        format: of the weights.
        states: the format of what optimizers keep; that of the weights unless told.
    """

    name: ClassVar[str]
    format: str = "bf16"
    states: str = ""

    def __post_init__(self) -> None:
        _ = self.kept, self.weights  # formats that do not exist are told here

    @property
    def weights(self) -> NumberFormat:
        """The format of the weights."""
        return parse_format(self.format)

    @property
    def kept(self) -> NumberFormat:
        """The format of what optimizers keep."""
        return parse_format(self.states or self.format)

    @property
    def nearest(self) -> Cast:
        """Rounding to the weights' format."""
        return Cast(self.weights)

    def read(self, emitter: Emitter, name: str, weight: ir.Value) -> ir.Value:
        """What the optimizer takes for the weight."""
        return weight

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        """The next weight, ``step`` taken off."""
        raise NotImplementedError

    def average(
        self, emitter: Emitter, update: Update, name: str, value: ir.Value, decay: float
    ) -> ir.Value:
        """The next value of a slot that is the moving average of ``value``.

        Where slots are narrow, both numbers that it is made with are as narrow, each on its own.
        """
        b, slot = emitter.of(update), emitter.slot(update.parameter, name)
        if not rounds(self.kept):
            away = b.Mul(b.Sub(value, slot), emitter.constant(1 - decay))
            return emitter.keep(slot, b.Add(slot, away))
        kept = b.Mul(slot, emitter.constant(emitter.coefficient(name, decay)))
        more = b.Mul(value, emitter.constant(emitter.coefficient(name, 1 - decay)))
        return emitter.keep(slot, b.Add(kept, more))

    def initial(self, name: str, weight: Array) -> dict[str, Array]:
        """What is kept of an initial weight, by name: the weight, and slots that begin with it."""
        return {name: round_array(weight, self.nearest)}


@dataclass(frozen=True, kw_only=True)
class Fp32Master(WeightUpdate):
    """Weights in float32, of which the network reads rounded copies."""

    name: ClassVar[str] = "fp32_master"
    format: str = "fp32"

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        result: ir.Value = emitter.of(update).Sub(emitter.decayed(update), step)
        return result

    def initial(self, name: str, weight: Array) -> dict[str, Array]:
        return {name: weight}


@dataclass(frozen=True, kw_only=True)
class Nearest(WeightUpdate):
    """The step, the decayed weight and their difference are rounded to nearest even."""

    name: ClassVar[str] = "nearest"

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        q = _Rounded(emitter, update, self.nearest)
        return q("Sub", q.decayed(), q.of(step))


@dataclass(frozen=True, kw_only=True)
class Stochastic(WeightUpdate):
    """The weight less the step, in float32, is rounded stochastically."""

    name: ClassVar[str] = "stochastic"

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        cast = Cast(self.weights, Rounding.STOCHASTIC)
        return _Rounded(emitter, update, cast)("Sub", emitter.decayed(update), step)


@dataclass(frozen=True, kw_only=True)
class Kahan(WeightUpdate):
    """What rounding to nearest lost is kept, and taken off the next step (Kahan, 1965)."""

    name: ClassVar[str] = "kahan"

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        q = _Rounded(emitter, update, self.nearest)
        lost = emitter.slot(update.parameter, COMPENSATION)
        weight = q.decayed()
        y = q("Sub", q("Neg", step), lost)
        total = q("Add", weight, y)
        emitter.hold(lost, q("Sub", q("Sub", total, weight), y))
        return total


@dataclass(frozen=True, kw_only=True)
class SplitSgd(WeightUpdate):
    """A float32 weight in two parts: the narrow one, cut off, that the network reads, and the rest.

    What optimizers keep is in float32 unless told.
    """

    name: ClassVar[str] = "split_sgd"
    states: str = "fp32"

    @property
    def cut(self) -> Cast:
        """What the narrow part is of the whole."""
        return Cast(self.weights, Rounding.TOWARD_ZERO)

    def read(self, emitter: Emitter, name: str, weight: ir.Value) -> ir.Value:
        whole: ir.Value = emitter.named(name).Add(weight, emitter.slot_of(name, LOW))
        return whole

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        b = emitter.of(update)
        whole = b.Sub(emitter.decayed(update), step)
        high = emitter.rounded(update, whole, self.cut)
        emitter.hold(emitter.slot_of(update.parameter.name, LOW), b.Sub(whole, high))
        return high

    def initial(self, name: str, weight: Array) -> dict[str, Array]:
        high = round_array(weight, self.cut)
        return {name: high, f"{name}.{LOW}": weight - high}


@dataclass(frozen=True, kw_only=True)
class McfLight(WeightUpdate):
    """A weight is the sum of two narrow numbers, of which the network reads the larger."""

    name: ClassVar[str] = "mcf_light"

    def descend(self, emitter: Emitter, update: Update, step: ir.Value) -> ir.Value:
        q = _Rounded(emitter, update, self.nearest)
        low = emitter.slot(update.parameter, LOW)
        high, rest = q.grow(q.decayed(), low, q("Neg", step))
        emitter.hold(low, rest)
        return high


@dataclass(frozen=True, kw_only=True)
class McfPlus(McfLight):
    """The average of squares is such a sum, too, and so is the number that it decays by."""

    name: ClassVar[str] = "mcf_plus"
    SQUARES: ClassVar[frozenset[str]] = frozenset({"second_moment", "square_average"})

    def average(
        self, emitter: Emitter, update: Update, name: str, value: ir.Value, decay: float
    ) -> ir.Value:
        if name not in self.SQUARES:
            return super().average(emitter, update, name, value, decay)
        b, q = emitter.of(update), _Rounded(emitter, update, Cast(self.kept))
        high = emitter.slot(update.parameter, name)
        low = emitter.slot(update.parameter, f"{name}_{LOW}")
        larger = round_value(decay, Cast(self.kept))
        smaller = round_value(decay - larger, Cast(self.kept))
        beta, rest = emitter.constant(larger), emitter.constant(smaller)
        product = b.Mul(high, beta)  # exact in float32
        kept = q.of(product)
        small = q("Add", q("Mul", low, beta), q("Mul", high, rest))
        error = q("Add", q("Sub", product, kept), small)
        new = q("Mul", value, emitter.constant(1 - decay))
        next_high, next_low = q.grow(kept, error, new)
        emitter.hold(low, next_low)
        return emitter.hold(high, next_high)


class _Rounded:
    """Nodes of one parameter, the result of each rounded."""

    def __init__(self, emitter: Emitter, update: Update, cast: Cast) -> None:
        self._emitter, self._update, self._cast = emitter, update, cast

    def __call__(self, op_type: str, *inputs: ir.Value) -> ir.Value:
        return self.of(self._emitter.of(self._update).node(op_type, inputs))

    def of(self, value: ir.Value) -> ir.Value:
        return self._emitter.rounded(self._update, value, self._cast)

    def decayed(self) -> ir.Value:
        """The weight, after decay where there is some."""
        weight = self._emitter.decayed(self._update)
        return self.of(weight) if self._update.decay else weight

    def grow(self, high: ir.Value, low: ir.Value, more: ir.Value) -> tuple[ir.Value, ir.Value]:
        """``high + low + more`` as such a sum: Collage's Grow."""
        total = self("Add", high, more)
        rest = self("Add", low, self("Sub", more, self("Sub", total, high)))
        larger = self("Add", total, rest)
        return larger, self("Sub", rest, self("Sub", larger, total))


WEIGHT_UPDATES: Mapping[str, type[WeightUpdate]] = {
    rule.name: rule
    for rule in (Fp32Master, Nearest, Stochastic, Kahan, SplitSgd, McfLight, McfPlus)
}


def parse_weight_update(text: str) -> WeightUpdate:
    """Read ``kahan`` or ``nearest{format=fp16,states=fp32}``.

    Raises:
        NameUnknown: a rule, option or format that does not exist. SpecError: text of another form.
    """
    return build(text, WEIGHT_UPDATES, "weight update")


def rounds(fmt: NumberFormat) -> bool:
    """Whether a format is narrower than float32."""
    return fmt is not FLOAT32
