"""A generator and a discriminator that learn from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxbf.protos import to_proto
from onnxbf.recipe import Recipe
from onnxbf.session import make_session, run
from onnxbf.training.graphs import build_graphs
from onnxbf.training.trainer import Trainer

Array = NDArray[Any]
GENERATOR, DISCRIMINATOR = "generator/", "discriminator/"  # what names of their weights begin with
IMAGE, LOSS = "image", "loss"
_ADAM = "adam{beta1=0.5}"  # as Radford et al. (2015) found stable


class Game:
    """Two networks in training, under one recipe.

    The generator learns through a copy of the discriminator that stands in its graph and gets the
    weights of the real one after each of its steps.

    Args:
        chain: inputs, the generator, ``image``, the discriminator, and the generator's ``loss``.
        discriminator: ``x``, an image, to ``logits`` (N, 1); its weights are named as in ``chain``.
        recipe: what is rounded.
        seed: of stochastic rounding.
    """

    def __init__(
        self, chain: ir.Model, discriminator: ir.Model, recipe: Recipe, seed: int = 0
    ) -> None:
        whole = build_graphs(chain, f"output{{name={LOSS}}}", _ADAM)
        made = [name for name in whole.trained if name.startswith(GENERATOR)]
        judge = build_graphs(discriminator, "adversarial", _ADAM)
        one = whole.truncated(made).under(recipe, seed=seed)
        other = judge.under(recipe, seed=seed)
        self._generator, self._discriminator = (
            Trainer(graphs, threads=1, stop_on_nan=False) for graphs in (one, other)
        )
        self._copied, (self._labels,) = judge.trained, judge.attached.labels
        self._training, self._trained = _Sampler(one.gradient), _Sampler(one.evaluation)
        self._copy()

    def step(self, inputs: Mapping[str, Array], real: Array, rate: float) -> None:
        """A step of the discriminator, on real and on generated images, then of the generator.

        Args:
            inputs: of the chain.
            real: images, (N, ...).
        """
        made = self._training(inputs, self._generator.state())
        ones = np.ones((len(real), 1), np.float32)
        batches = {"x": real, self._labels: ones}, {"x": made, self._labels: 0 * ones}
        self._discriminator.step(batches, rate)
        self._copy()
        self._generator.step([inputs], rate)

    def sample(self, inputs: Mapping[str, Array]) -> Array:
        """Images, by running statistics."""
        return self._trained(inputs, self._generator.state())

    def _copy(self) -> None:
        learned, copy = self._discriminator.state(), self._generator.state()
        for name in self._copied:
            np.copyto(copy[name], learned[name])


class _Sampler:
    """The part of a graph that makes images."""

    def __init__(self, model: ir.Model) -> None:
        part = model.clone()
        image = [value for node in part.graph for value in node.outputs if value.name == IMAGE]
        part.graph.outputs[:] = image
        RemoveUnusedNodesPass()(part)
        part.graph.inputs[:] = [value for value in part.graph.inputs if value.uses()]
        self._session = make_session(to_proto(part).SerializeToString(), threads=1)
        self._inputs = {value.name for value in self._session.get_inputs()}

    def __call__(self, inputs: Mapping[str, Array], state: Mapping[str, Array]) -> Array:
        given = {**state, **inputs, "step": np.zeros((), np.int64)}
        feeds = {name: array for name, array in given.items() if name in self._inputs}
        image: Array = run(self._session, feeds)[IMAGE]
        return image
