"""Train some layers only: always, or in most steps (layer-wise sparse SGD).

Gradients of what is not trained are not computed: the backward graph is cut.
Source: Li and Banerjee, Experiments with Rich Regime Training, 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxbf.errors import ModelError, SpecError
from onnxbf.training.layers import Layer, choose_layers
from onnxbf.training.options import build


@dataclass(frozen=True, kw_only=True)
class LayerPolicy:
    """Which layers are trained.

    Args:
        top: how many, counted from the output.
        bottom: how many, counted from the input.
        layers: regular expressions, found in the name of a layer or of a parameter.
    """

    name: ClassVar[str]
    top: int = 0
    bottom: int = 0
    layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.top, self.bottom) < 0:
            raise SpecError(f"top={self.top} and bottom={self.bottom} must be 0 or more.")
        if not (self.top or self.bottom or self.layers):
            raise SpecError(f"{self.name} must be told which layers: {self.name}{{top=1}}.")

    def parameters(self, layers: Sequence[Layer]) -> tuple[str, ...]:
        """The parameters of the chosen layers.

        Args:
            layers: all there are, from the bottom to the top.

        Raises:
            ModelError: fewer layers than are asked for, or a pattern that names none.
        """
        if max(self.top, self.bottom) > len(layers):
            raise ModelError(
                f"top={self.top} and bottom={self.bottom}, but the network has {len(layers)} "
                "layers."
            )
        ends = (*layers[: self.bottom], *layers[len(layers) - self.top :])
        chosen = (*ends, *choose_layers(layers, self.layers))
        return tuple(name for layer in layers if layer in chosen for name in layer.parameters)

    def is_full(self, seed: int, step: int) -> bool:
        """Whether a step trains all layers."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Static(LayerPolicy):
    """The same layers in every step; the others keep their initial weights."""

    name: ClassVar[str] = "static"

    def is_full(self, seed: int, step: int) -> bool:
        return False


@dataclass(frozen=True, kw_only=True)
class Probabilistic(LayerPolicy):
    """All layers with probability ``p``, else the chosen ones; the others' slots stay, too.

    A step's choice depends on the seed and the step alone.
    """

    name: ClassVar[str] = "probabilistic"
    p: float = 0.2
    top: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.p < 1:
            raise SpecError(f"p={self.p} must be between 0 and 1.")

    def is_full(self, seed: int, step: int) -> bool:
        return bool(np.random.default_rng((seed, step)).random() < self.p)


LAYER_POLICIES: dict[str, type[LayerPolicy]] = {
    policy.name: policy for policy in (Static, Probabilistic)
}


def parse_layer_policy(text: str) -> LayerPolicy:
    """Read ``static{bottom=1,top=1}`` or ``probabilistic{p=0.2,top=1}``.

    Raises:
        NameUnknown, SpecError: see ``build``.
    """
    return build(text, LAYER_POLICIES, "layer policy")
