"""The optimizers: each a frozen dataclass whose fields are its options, and a chain of transforms.

None has a learning rate, which is the schedule's. Defaults and forms are those of torch.optim where
it has the optimizer.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from onnxbf.errors import SpecError
from onnxbf.recipe import compile_pattern
from onnxbf.training.transforms import (
    AddDecay,
    ClipByNorm,
    ClipByValue,
    DecoupledDecay,
    Momentum,
    ScaleByAdagrad,
    ScaleByAdam,
    ScaleByRms,
    Selection,
    SignOfMomentum,
    Transform,
    TrustRatio,
)

Chain = tuple[Transform, ...]

_FRACTION = ("at least 0 and below 1", lambda number: 0 <= number < 1)
_SIZE = ("finite and at least 0", lambda number: 0 <= number < math.inf)
_LIMIT = ("above 0", lambda number: number > 0)
_RANGES: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("momentum", "dampening", "alpha", "beta1", "beta2"), _FRACTION),
    **dict.fromkeys(("eps", "weight_decay", "initial", "decay_min_rank"), _SIZE),
    **dict.fromkeys(("clip_norm", "clip_value"), _LIMIT),
}


@dataclass(frozen=True, kw_only=True)
class Optimizer(ABC):
    """What all optimizers share.

    Args:
        clip_norm: gradients are scaled down to this global norm; inf: not.
        clip_value: elements of gradients are brought between this and its negative, after
            ``clip_norm``; inf: not.
        weight_decay: the rate of decay.
        decay_exclude: parameters in whose name this regular expression is found do not decay.
        decay_min_rank: parameters of fewer dimensions do not decay.

    Raises:
        SpecError: an option that is out of range, or no regular expression.
    """

    clip_norm: float = math.inf
    clip_value: float = math.inf
    weight_decay: float = 0.0
    decay_exclude: str = ""
    decay_min_rank: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check(field.name)
        compile_pattern(self.decay_exclude)

    def _check(self, option: str) -> None:
        expected, holds = _RANGES.get(option, ("", lambda _: True))
        value = getattr(self, option)
        if not holds(value):
            raise SpecError(
                f"Option {option!r} of the optimizer is {value}: it must be {expected}."
            )

    def chain(self) -> Chain:
        """The transforms from the scaled gradient to what is taken off, times the learning rate."""
        norm = (ClipByNorm(self.clip_norm),) if self.clip_norm < math.inf else ()
        value = (ClipByValue(self.clip_value),) if self.clip_value < math.inf else ()
        return (*norm, *value, *self._body())

    @abstractmethod
    def _body(self) -> Chain:
        """The transforms after clipping."""

    def _decay(self, kind: Callable[[float, Selection], Transform]) -> Chain:
        selection = Selection(self.decay_exclude, self.decay_min_rank)
        return (kind(self.weight_decay, selection),) if self.weight_decay else ()


@dataclass(frozen=True, kw_only=True)
class _Descent(Optimizer):
    """An optimizer whose decay can be either.

    Args:
        decoupled: whether decay multiplies the parameter, or is added to the gradient (L2).
    """

    decoupled: bool = False

    def _body(self) -> Chain:
        if self.decoupled:
            return (*self._direction(), *self._decay(DecoupledDecay))
        return (*self._decay(AddDecay), *self._direction())

    @abstractmethod
    def _direction(self) -> Chain:
        """The transforms that are the optimizer itself."""


@dataclass(frozen=True, kw_only=True)
class Sgd(_Descent):
    """Stochastic gradient descent.

    Raises:
        SpecError: ``nesterov`` without momentum, or with dampening.
    """

    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (not self.momentum or self.dampening):
            raise SpecError("Option 'nesterov' needs momentum above 0, and dampening 0.")

    def _direction(self) -> Chain:
        if not self.momentum:
            return ()
        return (Momentum(self.momentum, self.dampening, self.nesterov),)


@dataclass(frozen=True, kw_only=True)
class HeavyBall(Sgd):
    """``sgd`` with momentum."""

    momentum: float = 0.9


@dataclass(frozen=True, kw_only=True)
class Nesterov(HeavyBall):
    """``sgd`` with Nesterov's momentum."""

    nesterov: bool = True


@dataclass(frozen=True, kw_only=True)
class Adagrad(_Descent):
    """Adagrad; ``initial`` is what sums of squares start from."""

    initial: float = 0.0
    eps: float = 1e-10

    def _direction(self) -> Chain:
        return (ScaleByAdagrad(self.initial, self.eps),)


@dataclass(frozen=True, kw_only=True)
class RmsProp(_Descent):
    """RMSprop; ``alpha`` is the decay of the average, ``centered`` subtracts the mean."""

    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def _direction(self) -> Chain:
        scale = ScaleByRms(self.alpha, self.eps, self.centered)
        return (scale, Momentum(self.momentum)) if self.momentum else (scale,)


@dataclass(frozen=True, kw_only=True)
class Adam(_Descent):
    """Adam."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def _direction(self) -> Chain:
        return (ScaleByAdam(self.beta1, self.beta2, self.eps),)


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled decay."""

    weight_decay: float = 0.01
    decoupled: bool = True


@dataclass(frozen=True, kw_only=True)
class Lamb(Optimizer):
    """LAMB: its decay is part of the update whose norm is matched to the parameter's."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-6

    def _body(self) -> Chain:
        adam = ScaleByAdam(self.beta1, self.beta2, self.eps)
        return (adam, *self._decay(AddDecay), TrustRatio())


@dataclass(frozen=True, kw_only=True)
class Lion(_Descent):
    """Lion."""

    beta1: float = 0.9
    beta2: float = 0.99
    decoupled: bool = True

    def _direction(self) -> Chain:
        return (SignOfMomentum(self.beta1, self.beta2),)


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": Sgd,
    "momentum": HeavyBall,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RmsProp,
    "adam": Adam,
    "adamw": AdamW,
    "lamb": Lamb,
    "lion": Lion,
}
