"""A gradient graph and an update graph, running over one store of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.graph import GRADIENT, NEXT
from onnxbf.passes.fold_transposes import FoldTransposes
from onnxbf.passes.fuse_elementwise import FuseElementwise
from onnxbf.passes.fuse_pooling import FusePooling
from onnxbf.passes.fuse_products import FuseProducts
from onnxbf.passes.mark_rounded import MarkRounded
from onnxbf.passes.observe_roundings import ROUNDINGS
from onnxbf.passes.observe_updates import UPDATES
from onnxbf.passes.pool_relu_gradients import PoolReluGradients
from onnxbf.passes.recompute_probabilities import RecomputeProbabilities
from onnxbf.passes.round_at_source import RoundAtSource
from onnxbf.passes.sum_lookups import SumLookups
from onnxbf.protos import to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run_bound, share
from onnxbf.training.accumulate import SUM, make_accumulation
from onnxbf.training.emitter import GRADIENT_NORM, GRADIENT_SCALE, LEARNING_RATE, STEP
from onnxbf.training.gradients import LOSS_SCALE
from onnxbf.training.text_part import TextPart, has_text
from onnxbf.training.variables import Store, Variables

if TYPE_CHECKING:
    from onnxruntime import IOBinding, OrtValue

Array = NDArray[Any]
Batch = Mapping[str, Array]
Find = Callable[[str], "OrtValue | None"]
Key = tuple[object, ...]  # the state of stores
Measured = dict[str, Array]  # what nodes of observing graphs measured, a row each, added up


class Scalars:
    """Numbers that graphs take as inputs, in memory that they are bound to."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {
            LOSS_SCALE: np.ones((), np.float32),
            GRADIENT_SCALE: np.ones((), np.float32),
            LEARNING_RATE: np.zeros((), np.float32),
            STEP: np.zeros((), np.int64),
        }
        self.values = {name: share(array) for name, array in self.arrays.items()}

    def set(self, **numbers: float) -> None:
        for name, number in numbers.items():
            self.arrays[name][...] = number


class _Bound:
    """A session whose inputs and outputs are bound once for each state of the stores."""

    def __init__(self, model: ir.Model, threads: int | None, scalars: Scalars) -> None:
        self._text = TextPart(model, threads) if has_text(model) else None
        self.session = make_session(to_proto(model).SerializeToString(), threads=threads)
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.outputs = [value.name for value in self.session.get_outputs()]
        self._health: Measured = {}
        self._values: dict[str, OrtValue] = {}  # the rows of these
        for kind in (ROUNDINGS, UPDATES):
            self._prepare(kind)
        self._bindings: dict[Key, IOBinding] = {}
        self._shapes: dict[Key, list[tuple[int, ...]]] = {}
        self._scalars = scalars

    def _prepare(self, kind: str) -> None:
        """Memory for what nodes measure: outputs of one kind are the rows of one array."""
        found = [v for v in self.session.get_outputs() if v.name.startswith(f"{kind}/")]
        if found:
            self._health[kind] = np.zeros((len(found), *found[0].shape))
            rows = zip(found, self._health[kind], strict=True)
            self._values.update({value.name: share(row) for value, row in rows})

    def run(self, key: Key, reads: Find, writes: Find, batch: Batch) -> IOBinding:
        """Run once. ``key`` tells apart the states in which ``reads`` and ``writes`` differ."""
        if key not in self._bindings:
            self._bindings[key] = self._bind(reads, writes)
        binding = self._bindings[key]
        batch = batch if self._text is None else self._text(batch)
        for name, array in batch.items():
            binding.bind_cpu_input(name, array)
        self._fit(key, binding, writes, [array.shape for array in batch.values()])
        run_bound(self.session, binding)
        return binding

    def _bind(self, reads: Find, writes: Find) -> IOBinding:
        binding: IOBinding = self.session.io_binding()
        for name in self.inputs:
            value = self._scalars.values.get(name) or reads(name)
            if value is not None:
                binding.bind_ortvalue_input(name, value)
        for name in self.outputs:
            value = self._values.get(name) or writes(name)
            if value is None:
                binding.bind_output(name)
            else:
                binding.bind_ortvalue_output(name, value)
        return binding

    def _fit(
        self,
        key: Key,
        binding: IOBinding,
        writes: Find,
        shapes: list[tuple[int, ...]],
    ) -> None:
        """Forget the memory of outputs that ONNX Runtime made for batches of another size."""
        if self._shapes.get(key) == shapes:
            return
        self._shapes[key] = shapes
        for name in self.outputs:
            if name not in self._values and writes(name) is None:
                binding.bind_output(name)

    def output(self, binding: IOBinding, name: str) -> Array:
        """An output that is bound to no memory of ours."""
        array: Array = binding.get_outputs()[self.outputs.index(name)].numpy()
        return array

    def measure(self, measured: Measured | None) -> None:
        """Add what the graph observed."""
        if measured is not None:
            for kind, rows in self._health.items():
                measured[kind] = measured.get(kind, 0) + rows


def _fused(model: ir.Model, *, around_casts: bool = False, loss: str | None = None) -> ir.Model:
    """The same, to be run rather than read. ``loss``: of a gradient graph."""
    fused = model.clone()
    if loss is not None:
        _drop_outputs(fused.graph, loss)
    report = Report("none")
    for graph_pass in (
        SumLookups(report),
        FoldTransposes(report),
        RecomputeProbabilities(report),
        RoundAtSource(report),
        PoolReluGradients(report),
        FuseProducts(report),
        FuseElementwise(report, around_casts),
        FusePooling(report),
        MarkRounded(report),
    ):
        graph_pass(fused)
    return fused


def _drop_outputs(graph: ir.Graph, loss: str) -> None:
    """The model's own, which a step does not read: ONNX Runtime would copy them."""
    read = (GRADIENT, NEXT)
    measured = tuple(f"{kind}/" for kind in (ROUNDINGS, UPDATES))
    names = ((value, value.name or "") for value in graph.outputs)
    graph.outputs[:] = [
        value
        for value, name in names
        if name == loss or name.endswith(read) or name.startswith(measured)
    ]


class _Graphs(NamedTuple):
    gradient: _Bound
    update: _Bound


class Program:
    """One training step: ``backward``, each followed by ``accumulate`` if several, then ``update``.

    Args:
        gradient: a gradient graph (see gradients.py).
        update: an update graph of the same parameters (see update.py).
        loss: the name of the loss, an output of ``gradient``.
        store: parameters, slots and buffers; those that ``update`` does not change stay.
        threads: how many ONNX Runtime uses; None: one for each core.
        observed: observing forms of ``gradient`` and ``update``, run where a step is measured.
    """

    def __init__(
        self,
        gradient: ir.Model,
        update: ir.Model,
        loss: str,
        store: Store,
        threads: int | None = None,
        observed: tuple[ir.Model, ir.Model] | None = None,
    ) -> None:
        trained = stems(gradient, GRADIENT)
        moved = stems(update, NEXT)
        self._loss = loss
        self.scalars = Scalars()
        self.weights, self.buffers = store
        self._moved = self.weights.groups_of(moved)
        self._renewed = self.buffers.groups_of(stems(gradient, NEXT))
        state = self.weights.arrays()
        self.gradients = {f"{name}{GRADIENT}": np.zeros_like(state[name]) for name in trained}
        self._gradients = {name: share(array) for name, array in self.gradients.items()}
        self._sums: Variables | None = None
        self._plain = self._bind(gradient, update, threads)
        self._observed = self._plain if observed is None else self._bind(*observed, threads)
        shapes = {name: array.shape for name, array in self.gradients.items()}
        self._accumulate = _Bound(_fused(make_accumulation(shapes)), threads, self.scalars)

    def backward(self, batch: Batch, measured: Measured | None = None) -> float:
        """The loss of a batch; its gradients stand in ``gradients`` afterwards.

        Args:
            measured: where to add what roundings do to numbers; None: that is not measured.
        """
        graph = self._graphs(measured).gradient
        key = (self.weights.sides, self.buffers.sides)
        binding = graph.run(key, self._read, self._write, batch)
        self.buffers.advance(self._renewed)
        graph.measure(measured)
        return float(graph.output(binding, self._loss))

    def measure_again(self, batch: Batch) -> Measured:
        """What roundings did in the last ``backward``, which was of this batch."""
        measured: Measured = {}
        self.buffers.advance(self._renewed)  # back to what it read
        self.backward(batch, measured)
        return measured

    def accumulate(self) -> None:
        """Add the gradients to the sums, which the next update uses in their place."""
        if self._sums is None:
            zeros = {name: np.zeros_like(array) for name, array in self.gradients.items()}
            self._sums = Variables({f"{name}{SUM}": array for name, array in zeros.items()})
        self._accumulate.run(self._sums.sides, self._read, self._write, {})
        self._sums.advance()

    def update(self, measured: Measured | None = None) -> float:
        """One update of the weights by the gradients; returns the gradients' global norm.

        Where that is not finite, the weights stay as they were. ``measured`` is as in ``backward``.
        """
        graph, sums = self._graphs(measured).update, self._sums
        key = (self.weights.sides, () if sums is None else sums.sides)
        binding = graph.run(key, self._read_summed, self._write, {})
        norm = float(graph.output(binding, GRADIENT_NORM))
        if math.isfinite(norm):
            graph.measure(measured)
            self.weights.advance(self._moved)
        if sums is not None:
            sums.clear()
        return norm

    def _bind(self, gradient: ir.Model, update: ir.Model, threads: int | None) -> _Graphs:
        models = (_fused(gradient, around_casts=True, loss=self._loss), _fused(update))
        return _Graphs(*(_Bound(model, threads, self.scalars) for model in models))

    def _graphs(self, measured: Measured | None) -> _Graphs:
        return self._plain if measured is None else self._observed

    def _read(self, name: str) -> OrtValue | None:
        if name in self._gradients:
            return self._gradients[name]
        store = self._store(name)
        return None if store is None else store.present(name)

    def _read_summed(self, name: str) -> OrtValue | None:
        if self._sums is not None and name in self._gradients:
            return self._sums.present(f"{name}{SUM}")
        return self._read(name)

    def _write(self, name: str) -> OrtValue | None:
        if name in self._gradients:
            return self._gradients[name]
        name = name.removesuffix(NEXT)
        store = self._store(name)
        return None if store is None else store.coming(name)

    def _store(self, name: str) -> Variables | None:
        stores = (self.weights, self.buffers, self._sums)
        return next((store for store in stores if store is not None and name in store), None)


def stems(model: ir.Model, ending: str) -> list[str]:
    """Of what outputs with this ending are: their names without it."""
    names = (value.name or "" for value in model.graph.outputs)
    return [name.removesuffix(ending) for name in names if name.endswith(ending)]
