"""From a forward model to the graphs of training under a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from onnxbf.errors import ModelError
from onnxbf.graph import BUFFER, GRADIENT, PARAMETER, mark_kind
from onnxbf.passes.choose import EVERYTHING, Selection
from onnxbf.passes.counter_dropout import CounterDropout
from onnxbf.passes.lower_gradients import LowerGradients
from onnxbf.passes.lower_lookups import LowerLookups
from onnxbf.passes.pipeline import rewrite
from onnxbf.passes.replace_gradients import ReplaceGradients
from onnxbf.passes.representable import node_cast
from onnxbf.passes.scale_states import ReadScales, TrackScales
from onnxbf.passes.split_gradients import SplitGradients
from onnxbf.passes.stamp_phases import is_gradient_graph
from onnxbf.recipe import Recipe
from onnxbf.report import Report
from onnxbf.training.differentiable import depended_on
from onnxbf.training.emitter import Parameter
from onnxbf.training.gradients import differentiate
from onnxbf.training.layers import find_layers
from onnxbf.training.layerwise import LayerPolicy, parse_layer_policy
from onnxbf.training.loss_functions import Loss
from onnxbf.training.losses import Attached, attach_loss
from onnxbf.training.optimizers import Optimizer
from onnxbf.training.parameters import choose_parameters
from onnxbf.training.prepare import Origins, prepare
from onnxbf.training.update import make_update
from onnxbf.training.weight_update import WeightUpdate, parse_weight_update

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TrainingGraphs:
    """What a trainer runs.

    Attributes:
        gradient: batch, parameters, buffers in; loss, predictions, gradients, next buffers out.
        update: parameters, slots, gradients, learning rate in; next parameters and slots out.
        evaluation: batch, parameters, buffers in; loss and predictions out.
        state: the initial value of every parameter, slot and buffer, among them the states of
            delayed scaling.
        attached: the names of the loss, the labels and the predictions.
        trained: the names of the parameters.
        buffers: the names of the running statistics.
        report: what the recipe rounds in the gradient graph.
        notes: what else the user should know.
        origins: where the tensors of ``state`` stand in the model that all this was made of.
        optimizer: what ``update`` does.
        weight_update: how it keeps weights.
        partial: what steps run that do not train all layers; see ``layerwise``.
    """

    gradient: ir.Model
    update: ir.Model
    evaluation: ir.Model
    state: dict[str, Array]
    attached: Attached
    trained: tuple[str, ...]
    buffers: tuple[str, ...]
    report: Report
    notes: tuple[str, ...]
    origins: Origins
    optimizer: str | Optimizer
    weight_update: WeightUpdate
    partial: Partial | None = None

    def under(
        self,
        recipe: Recipe,
        *,
        selection: Selection = EVERYTHING,
        portable: bool = False,
        seed: int = 0,
    ) -> TrainingGraphs:
        """The same graphs rewritten as a recipe and a selection say; these stay as they are."""
        gradient, evaluation, update = (
            model.clone() for model in (self.gradient, self.evaluation, self.update)
        )
        report, evaluated = (
            rewrite(
                model, recipe, selection=selection, portable=portable, seed=seed, keeps_scales=True
            )
            for model in (gradient, evaluation)
        )
        scales = TrackScales(report)
        scales(gradient)
        ReadScales(evaluated, scales.states)(evaluation)
        CounterDropout(report, seed)(gradient)
        _seed(update, seed)
        if not portable:
            ReplaceGradients(report)(gradient)
        partial = self.partial and self.partial.under(recipe, selection, portable, seed)
        return replace(
            self,
            gradient=gradient,
            evaluation=evaluation,
            update=update,
            state={**self.state, **scales.states},
            report=report,
            partial=partial,
        )

    def layerwise(self, policy: str | LayerPolicy) -> TrainingGraphs:
        """The same training, of some layers only in all or most of its steps.

        Args:
            policy: text such as ``static{bottom=1,top=1}`` or ``probabilistic{p=0.2,top=1}``.

        Raises:
            NameUnknown, SpecError: text that cannot be read.
            ModelError: layers that there are not.
        """
        chosen = parse_layer_policy(policy) if isinstance(policy, str) else policy
        names = chosen.parameters(find_layers(self.gradient, self.trained))
        return replace(self, partial=Partial(self.truncated(names), chosen))

    def truncated(self, trained: Sequence[str]) -> TrainingGraphs:
        """The same training, of some parameters only: what only others' gradients need is cut."""
        gradient = self.gradient.clone()
        unwanted = {f"{name}{GRADIENT}" for name in self.trained if name not in trained}
        outputs = gradient.graph.outputs
        outputs[:] = [value for value in outputs if value.name not in unwanted]
        RemoveUnusedNodesPass()(gradient)
        parameters = [Parameter(name, self.state[name].shape) for name in trained]
        update = make_update(parameters, self.optimizer, self.weight_update)
        return replace(self, gradient=gradient, update=update.model, trained=tuple(trained))


@dataclass(frozen=True, slots=True)
class Partial:
    """What runs in steps that do not train all layers, and which steps those are."""

    graphs: TrainingGraphs
    policy: LayerPolicy
    seed: int = 0

    def covers(self, step: int) -> bool:
        """Whether a step runs these graphs."""
        return not self.policy.is_full(self.seed, step)

    def under(self, recipe: Recipe, selection: Selection, portable: bool, seed: int) -> Partial:
        """As ``TrainingGraphs.under``."""
        graphs = self.graphs.under(recipe, selection=selection, portable=portable, seed=seed)
        return replace(self, graphs=graphs, seed=seed)


def build_graphs(
    model: ir.Model,
    loss: str | Loss,
    optimizer: str | Optimizer,
    *,
    outputs: Sequence[str] | None = None,
    train: str | Sequence[str] = (),
    freeze: str | Sequence[str] = (),
    unroll: bool = True,
    weight_update: str | WeightUpdate = "fp32_master",
    inputs: Sequence[str] = (),
) -> TrainingGraphs:
    """The graphs of training ``model`` in float32; ``under`` brings them under a recipe.

    Args:
        model: a forward model; it is not changed.
        loss: text such as ``cross-entropy{label_smoothing=0.1}``.
        optimizer: text such as ``sgd{momentum=0.9}``.
        outputs: the outputs that the loss is of, where the model has several.
        train: regular expressions, see ``choose_parameters``.
        freeze: likewise.
        unroll: whether recurrent nodes are unrolled, see ``prepare``.
        weight_update: text such as ``kahan``: how weights are kept, see weight_update.py.
        inputs: text such as ``flag=true``: inputs that are constants, see ``prepare``.

    Raises:
        ModelError: the model holds gradients already.
        OnnxbfError: whatever ``prepare``, ``attach_loss``, ``choose_parameters``, ``differentiate``
            and ``make_update`` raise.
    """
    if is_gradient_graph(model):
        raise ModelError(
            "The model holds gradients already: rewrite it with 'onnxbf convert', or give the "
            "forward model."
        )
    prepared = prepare(model, unroll=unroll, inputs=inputs)
    attached = attach_loss(prepared.model, loss, outputs=outputs)
    choice = choose_parameters(prepared.model, train=train, freeze=freeze, buffers=prepared.buffers)
    trained = depended_on(prepared.model, attached.loss, choice.trained)
    idle = [name for name in choice.trained if name not in trained]
    evaluated = prepare(model, training=False, unroll=unroll, inputs=inputs).model
    state = _initial(prepared.model, [*trained, *prepared.buffers])
    gradient = differentiate(prepared.model, attached.loss, trained, prepared.buffers)
    report = Report("none")
    for graph_pass in (SplitGradients(report), LowerGradients(report), LowerLookups(report)):
        graph_pass(gradient)
    rule = parse_weight_update(weight_update) if isinstance(weight_update, str) else weight_update
    update = make_update([Parameter(n, state[n].shape) for n in trained], optimizer, rule)
    for slot in update.slots:
        state[slot.name] = np.full(slot.shape, slot.fill, np.float32)
    for name in trained:
        state.update(rule.initial(name, state[name]))
    return TrainingGraphs(
        gradient,
        update.model,
        _evaluation(evaluated, loss, outputs, trained, prepared.buffers),
        state,
        attached,
        trained,
        prepared.buffers,
        Report("none"),
        (*prepared.notes, *attached.notes, *_told(idle), *update.notes),
        prepared.origins,
        optimizer,
        rule,
    )


def _seed(update: ir.Model, seed: int) -> None:
    """Give the nodes that round stochastically their seed."""
    for node in update.graph:
        cast = node_cast(node)
        if cast is not None and cast.stochastic:
            node.attributes["seed"] = ir.AttrInt64("seed", seed)


def _told(idle: Sequence[str]) -> list[str]:
    if not idle:
        return []
    return [f"Not trained, since the loss does not depend on them: {', '.join(idle)}."]


def _initial(model: ir.Model, names: Sequence[str]) -> dict[str, Array]:
    initializers = model.graph.initializers
    values = {name: initializers[name].const_value for name in names}
    return {name: np.array(value.numpy()) for name, value in values.items() if value is not None}


def _evaluation(
    evaluated: ir.Model,
    loss: str | Loss,
    outputs: Sequence[str] | None,
    trained: Sequence[str],
    buffers: Sequence[str],
) -> ir.Model:
    """The model as it is used after training, its weights and running statistics as inputs."""
    attach_loss(evaluated, loss, outputs=outputs)
    graph = evaluated.graph
    for name in (*trained, *buffers):
        value = graph.initializers.pop(name)
        value.const_value = None
        mark_kind(value, BUFFER if name in buffers else PARAMETER)
        graph.inputs.append(value)
    return evaluated
