"""The model that training leaves behind, to be used as the one before it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.files import save_model
from onnxbf.graph import all_graphs, constant_of
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.inline_functions import function_constants
from onnxbf.passes.remove_dropout import RemoveDropout
from onnxbf.passes.untie_constants import Copy
from onnxbf.passes.use_running_statistics import UseRunningStatistics
from onnxbf.report import Report
from onnxbf.training.prepare import Origins, prepare

Array = NDArray[Any]


class TrainedModel:
    """The user's own model, to be given what training made of its weights and statistics.

    Its nodes stay as they are, but for those of dropout and of batch normalization that were
    exported for training. A model that has no place for each trained weight is saved as training
    evaluates it instead, with its functions written out, and ``notes`` say so.

    Args:
        model: the forward model; it is not changed.
        names: the parameters and running statistics, as the graphs of training call them.
        origins: what ``prepare`` says of these.
        inputs: those that are constants in training, see ``prepare``.
    """

    def __init__(
        self,
        model: ir.Model,
        names: Sequence[str],
        origins: Origins,
        inputs: Sequence[str] = (),
    ) -> None:
        self._model, self._names, self._origins, self._inputs = model, names, origins, inputs
        lost = _Own(model, origins).lost(names)
        self._has_place = not lost
        self.notes: tuple[str, ...] = ()
        if lost:
            self.notes = (
                f"The trained model will be saved with its functions written out: {lost[0]} has no "
                "place of its own in the model as it is.",
            )

    def save(self, state: Mapping[str, Array], path: Path) -> None:
        """Write it in float32 with the values of ``state``; other entries are left out."""
        values = {name: np.array(state[name]) for name in self._names}
        if self._has_place:
            own = _Own(self._model, self._origins)
            own.fill(values)
            save_model(own.model, path)
            return
        evaluated = prepare(self._model, training=False, unroll=False, inputs=self._inputs).model
        for name, array in values.items():
            value = evaluated.graph.initializers[name]
            value.const_value = ir.tensor(array, name=name)
        save_model(evaluated, path)


class _Own:
    """A copy of the user's model, and where its tensors stand."""

    def __init__(self, model: ir.Model, origins: Origins) -> None:
        self.model, self._origins = model.clone(), origins
        Canonicalize(Report("none"))(self.model)  # as it was when copies were named
        graphs = [*all_graphs(self.model)]
        named = [(name, v) for graph in graphs for name, v in graph.initializers.items()]
        count = Counter(name for name, _ in named)  # two bodies may have one of the same name each
        self._initializers = {name: v for name, v in named if count[name] == 1}
        self._nodes = {node.name or "": node for graph in graphs for node in graph}
        self._constants = function_constants(self.model)
        self._copies = {copy.name: copy for copy in origins.copies}

    def lost(self, names: Sequence[str]) -> list[str]:
        """Those of the names, and of what is tied to them, that stand nowhere in the model."""
        tied = [tie.name for tie in self._origins.ties if tie.source in names]
        return [name for name in (*names, *tied) if not self._has(name)]

    def _has(self, name: str) -> bool:
        if name in self._initializers:
            return True
        copy = self._copies.get(name)
        if copy is None:
            return self._origins.lifted.get(name) in self._constants
        reader = self._nodes.get(copy.node)
        read = None if reader is None else dict(enumerate(reader.inputs)).get(copy.index)
        return read is not None and read is self._initializers.get(copy.source)

    def fill(self, values: dict[str, Array]) -> None:
        """Put values where they stand; none of the names may be lost."""
        for tie in self._origins.ties:
            if tie.source in values:
                source = values[tie.source]
                values[tie.name] = source.T.copy() if tie.transposed else source
        for copy in self._origins.copies:  # before their sources change
            self._copy(copy, values)
        for name, array in values.items():
            if name in self._initializers:
                value = self._initializers[name]
                assert value.const_value is not None
                value.const_value = _like(value.const_value, array, name)
            else:
                node = self._constants[self._origins.lifted[name]]
                before = node.attributes["value"].as_tensor()
                node.attributes["value"] = ir.AttrTensor("value", _like(before, array, name))
        _use(self.model)

    def _copy(self, copy: Copy, values: dict[str, Array]) -> None:
        """Give a reader of a tensor that it shared one of its own, where they now differ."""
        source = self._initializers.get(copy.source)
        if source is None or not self._has(copy.name):  # of a function, and not trained
            return
        assert source.const_value is not None and source.graph is not None
        before = source.const_value.numpy()
        wanted = values.pop(copy.name, before)
        if np.array_equal(wanted, values.get(copy.source, before)):
            return
        tensor = _like(source.const_value, wanted, copy.name)
        made = ir.Value(name=copy.name, type=source.type, shape=source.shape, const_value=tensor)
        source.graph.register_initializer(made)
        self._nodes[copy.node].replace_input_with(copy.index, made)


def _like(before: ir.TensorProtocol, array: Array, name: str) -> ir.TensorProtocol:
    """What training made of a tensor, in the type that the model has it in."""
    return ir.tensor(array.astype(before.dtype.numpy()), name=name)


def _use(model: ir.Model) -> None:
    """Bring nodes that were exported for training into the form of inference."""
    report = Report("none")
    UseRunningStatistics(report)(model)
    if any(_drops(node) for graph in all_graphs(model) for node in graph):
        RemoveDropout(report)(model)


def _drops(node: ir.Node) -> bool:
    """Whether a node is a Dropout in training mode."""
    mode = node.inputs[2] if node.op_type == "Dropout" and len(node.inputs) > 2 else None
    constant = None if mode is None else constant_of(mode)
    return constant is not None and bool(constant.numpy().any())
