"""The pieces that optimizers are chains of: updates of all parameters in, updates out.

The idea is optax's: clipping, decay, momentum and scaling are functions of the update alone, and an
optimizer is a few of them in a row. Here they emit ONNX nodes. Moving averages are written as
``m + (1 - beta) * (x - m)``: as many nodes as ``beta * m + (1 - beta) * x``, and only one constant
to round, so that the two weights sum to exactly one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxbf.errors import ModelError
from onnxbf.recipe import compile_pattern
from onnxbf.training.emitter import Emitter, Parameter, Update

Transform = Callable[[Emitter, Sequence[Update]], Sequence[Update]]


@dataclass(frozen=True, slots=True)
class ClipByNorm:
    """Scale all updates by one factor, so that their global norm is at most ``limit``.

    The factor is exactly 1 where the norm is not above the limit.
    """

    limit: float

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        updates, limit = [emitter.plain(u) for u in updates], emitter.constant(self.limit)
        largest = emitter.shared.Max(emitter.global_norm(updates), limit)
        factor = emitter.shared.Div(limit, largest)
        return [replace(update, scale=factor) for update in updates]


@dataclass(frozen=True, slots=True)
class ClipByValue:
    """Bring every element between ``-limit`` and ``limit``."""

    limit: float

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        bounds = emitter.constant(-self.limit), emitter.constant(self.limit)
        return [emitter.then(update, "Clip", *bounds) for update in updates]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which parameters decay.

    Args:
        exclude: a regular expression; a parameter in whose name it is found does not decay. Empty:
            none is excluded.
        min_rank: parameters with fewer dimensions do not decay; 2 leaves biases and norms alone.
    """

    exclude: str = ""
    min_rank: int = 0

    def __call__(self, parameters: Sequence[Parameter]) -> frozenset[str]:
        """The names of the parameters that decay.

        Raises:
            SpecError: ``exclude`` is not a regular expression.
            ModelError: ``exclude`` is found in no parameter's name.
        """
        pattern = compile_pattern(self.exclude)
        excluded = {p.name for p in parameters if self.exclude and pattern.search(p.name)}
        if self.exclude and not excluded:
            names = ", ".join(parameter.name for parameter in parameters)
            raise ModelError(
                f"Option decay_exclude={self.exclude!r} is found in no parameter's name: correct "
                f"it or leave it out. There are: {names}."
            )
        return frozenset(
            p.name for p in parameters if p.name not in excluded and len(p.shape) >= self.min_rank
        )


@dataclass(frozen=True, slots=True)
class AddDecay:
    """Add ``rate`` times the parameter: L2 regularization where it stands before all else."""

    rate: float
    decays: Selection = Selection()

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        chosen = self.decays([update.parameter for update in updates])
        return [
            self._decayed(emitter, update) if update.parameter.name in chosen else update
            for update in updates
        ]

    def _decayed(self, emitter: Emitter, update: Update) -> Update:
        decay = emitter.of(update).Mul(update.weight, emitter.constant(self.rate))
        return emitter.then(update, "Add", decay)


@dataclass(frozen=True, slots=True)
class DecoupledDecay:
    """Multiply the parameter by ``1 - learning_rate * rate`` before its update is taken off.

    Source: Loshchilov and Hutter, arXiv 1711.05101, in the form of torch.optim.AdamW.
    """

    rate: float
    decays: Selection = Selection()

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        chosen = self.decays([update.parameter for update in updates])
        return [
            replace(update, decay=self.rate) if update.parameter.name in chosen else update
            for update in updates
        ]


@dataclass(frozen=True, slots=True)
class Momentum:
    """``v = momentum * v + (1 - dampening) * g``; the update is v, or ``g + momentum * v``.

    Source: torch.optim.SGD, which does not dampen the first step.
    """

    momentum: float
    dampening: float = 0.0
    nesterov: bool = False

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        weight = self._weight(emitter) if self.dampening else None
        return [self._moved(emitter, emitter.plain(update), weight) for update in updates]

    def _weight(self, emitter: Emitter) -> ir.Value:
        """What a gradient is multiplied by."""
        first = emitter.shared.Equal(emitter.step, emitter.constant(0, ir.DataType.INT64))
        weight: ir.Value = emitter.shared.Where(
            first, emitter.constant(1.0), emitter.constant(1 - self.dampening)
        )
        return weight

    def _moved(self, emitter: Emitter, update: Update, weight: ir.Value | None) -> Update:
        b = emitter.of(update)
        momentum = emitter.constant(emitter.coefficient("momentum", self.momentum))
        slot = emitter.slot(update.parameter, "momentum")
        gradient = update.value if weight is None else b.Mul(update.value, weight)
        velocity = emitter.keep(slot, b.Add(b.Mul(slot, momentum), gradient))
        if not self.nesterov:
            return replace(update, value=velocity)
        return replace(update, value=b.Add(gradient, b.Mul(velocity, momentum)))


@dataclass(frozen=True, slots=True)
class ScaleByAdagrad:
    """``s = s + g^2``; the update is ``g / (sqrt(s) + eps)``.

    Source: Duchi, Hazan and Singer, 2011, in the form of torch.optim.Adagrad.
    """

    initial: float
    eps: float

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        return [self._scaled(emitter, emitter.plain(update)) for update in updates]

    def _scaled(self, emitter: Emitter, update: Update) -> Update:
        b = emitter.of(update)
        slot = emitter.slot(update.parameter, "square_sum", self.initial)
        total = emitter.keep(slot, b.Add(slot, b.Mul(update.value, update.value)))
        return emitter.then(update, "Div", b.Add(b.Sqrt(total), emitter.constant(self.eps)))


@dataclass(frozen=True, slots=True)
class ScaleByRms:
    """``s = average of g^2``; the update is ``g / (sqrt(s) + eps)``.

    Centered, the square of the average gradient is taken off ``s``: its variance is left. Rounding
    can make that negative, where torch would give NaN; here it is 0 then.

    Source: Hinton's lecture 6 of 2012; Graves, arXiv 1308.0850; the form of torch.optim.RMSprop.
    """

    decay: float
    eps: float
    centered: bool

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        return [self._scaled(emitter, emitter.plain(update)) for update in updates]

    def _scaled(self, emitter: Emitter, update: Update) -> Update:
        b = emitter.of(update)
        square = b.Mul(update.value, update.value)
        power = emitter.average(update, "square_average", square, self.decay)
        if self.centered:
            mean = emitter.average(update, "gradient_average", update.value, self.decay)
            power = b.Relu(b.Sub(power, b.Mul(mean, mean)))
        return emitter.then(update, "Div", b.Add(b.Sqrt(power), emitter.constant(self.eps)))


@dataclass(frozen=True, slots=True)
class ScaleByAdam:
    """``(m / c1) / (sqrt(v / c2) + eps)`` with ``c = 1 - beta^(step + 1)``.

    It is emitted as ``m / (sqrt(v) + eps * sqrt(c2))`` times the number ``sqrt(c2) / c1``, which is
    computed in float64, once for all parameters.

    Source: Kingma and Ba, arXiv 1412.6980.
    """

    beta1: float
    beta2: float
    eps: float

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        b = emitter.shared
        root = b.Sqrt(self._correction(emitter, self.beta2))
        scale = b.Div(root, self._correction(emitter, self.beta1))
        eps = b.Mul(root, emitter.constant(self.eps, ir.DataType.DOUBLE))
        scale, eps = (b.Cast(number, to=ir.DataType.FLOAT) for number in (scale, eps))
        return [self._scaled(emitter, emitter.plain(update), scale, eps) for update in updates]

    def _correction(self, emitter: Emitter, beta: float) -> ir.Value:
        b, kind = emitter.shared, ir.DataType.DOUBLE
        one = emitter.constant(1.0, kind)
        power = b.Pow(emitter.constant(beta, kind), b.Add(b.Cast(emitter.step, to=kind), one))
        correction: ir.Value = b.Sub(one, power)
        return correction

    def _scaled(self, emitter: Emitter, update: Update, scale: ir.Value, eps: ir.Value) -> Update:
        b = emitter.of(update)
        square = b.Mul(update.value, update.value)
        mean = emitter.average(update, "first_moment", update.value, self.beta1)
        power = emitter.average(update, "second_moment", square, self.beta2)
        return replace(update, value=b.Div(mean, b.Add(b.Sqrt(power), eps)), scale=scale)


@dataclass(frozen=True, slots=True)
class TrustRatio:
    """Give each update the norm of its parameter; where one of both is 0, leave it as it is.

    Source: You et al., arXiv 1904.00962, algorithm 2, with the identity for phi.
    """

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        return [self._scaled(emitter, update) for update in updates]

    def _scaled(self, emitter: Emitter, update: Update) -> Update:
        """A scale that the update has drops out of the ratio times the update."""
        b = emitter.of(update)
        scale = emitter.constant(1.0) if update.scale is None else update.scale
        weight = emitter.square_sum(update.parameter, update.weight)
        change = emitter.square_sum(update.parameter, update.value)
        usable = b.Greater(b.Min(weight, change), emitter.constant(0.0))
        ratio = b.Where(usable, b.Sqrt(b.Div(weight, change)), scale)
        return replace(update, scale=ratio)


@dataclass(frozen=True, slots=True)
class SignOfMomentum:
    """The sign of an average that leans to the gradient (beta1); what is kept leans less (beta2).

    Source: Chen et al., arXiv 2302.06675 (Lion).
    """

    beta1: float
    beta2: float

    def __call__(self, emitter: Emitter, updates: Sequence[Update]) -> Sequence[Update]:
        return [self._signed(emitter, emitter.plain(update)) for update in updates]

    def _signed(self, emitter: Emitter, update: Update) -> Update:
        b = emitter.of(update)
        slot = emitter.slot(update.parameter, "momentum")
        away = b.Sub(update.value, slot)
        kept = emitter.coefficient("momentum", self.beta2)
        emitter.keep(slot, b.Add(slot, b.Mul(away, emitter.constant(1 - kept))))
        leaning = b.Add(slot, b.Mul(away, emitter.constant(1 - self.beta1)))
        return replace(update, value=b.Sign(leaning))
