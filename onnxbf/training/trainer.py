"""One network in training, step by step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import OnnxbfError
from onnxbf.graph import NEXT
from onnxbf.training.emitter import GRADIENT_SCALE, LEARNING_RATE, STEP
from onnxbf.training.evaluation import Evaluation, first_not_finite
from onnxbf.training.gradients import LOSS_SCALE
from onnxbf.training.graphs import TrainingGraphs
from onnxbf.training.health import Health, Observer
from onnxbf.training.loss_scale import LossScale
from onnxbf.training.program import Measured, Program, stems
from onnxbf.training.unobserved import Unobserved
from onnxbf.training.variables import Store, make_store

Array = NDArray[Any]
Batch = Mapping[str, Array]


class _Part:
    """The program of some graphs, and what observes it."""

    def __init__(
        self, graphs: TrainingGraphs, store: Store, threads: int | None, observes: bool
    ) -> None:
        self.graphs = graphs
        self.observer = Observer(graphs.gradient, graphs.update) if observes else None
        self.program = Program(
            graphs.gradient,
            graphs.update,
            graphs.attached.loss,
            store,
            threads,
            None if self.observer is None else self.observer.models,
        )


class LossNotFinite(OnnxbfError):
    """The loss became infinite or NaN; the message names the first node that made it so."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did.

    Attributes:
        index: which update this is, from 0, those that were skipped included.
        loss: the mean over the accumulated batches.
        norm: the global norm of the gradients, scaling taken out.
        rate: the learning rate.
        loss_scale: what the loss was scaled by.
        skipped: whether the update was left out, because a gradient was not finite.
    """

    index: int
    loss: float
    norm: float
    rate: float
    loss_scale: float
    skipped: bool


class Trainer:
    """A network, its optimizer and its loss scale.

    Args:
        graphs: see ``build_graphs`` and ``TrainingGraphs.under``.
        loss_scale: how the loss is scaled.
        threads: how many ONNX Runtime uses; None: one for each core.
        stop_on_nan: raise where a loss is not finite, rather than go on.
        health_every: measure numeric health in every so many-th step, the first among them; 0:
            never. The weights stay the same bits.

    Raises:
        UnsupportedError: numeric health of roundings that are pairs of Cast nodes.
    """

    def __init__(
        self,
        graphs: TrainingGraphs,
        *,
        loss_scale: LossScale | None = None,
        threads: int | None = None,
        stop_on_nan: bool = True,
        health_every: int = 0,
    ) -> None:
        self.graphs = graphs
        self.loss_scale = loss_scale or LossScale()
        self.index = 0
        self.updates = 0  # those that counted, which is what optimizers correct their bias by
        self.batches = 0
        self._stop_on_nan = stop_on_nan
        self._health_every = health_every
        partial = graphs.partial
        fewest = graphs if partial is None else partial.graphs
        moved, renewed = (stems(model, NEXT) for model in (fewest.update, fewest.gradient))
        self._store = make_store(graphs.gradient, graphs.state, [moved], [renewed])
        observes = health_every > 0
        self._whole = self._part = _Part(graphs, self._store, threads, observes)
        self._partial = partial and _Part(partial.graphs, self._store, threads, observes)
        self._measured: tuple[int, Measured | None] = (0, None)
        self._evaluation = Evaluation(graphs, threads)

    def step(self, batches: Sequence[Batch], rate: float) -> Step:
        """One update by the mean gradient of ``batches``."""
        self._part = self._part_of(self.index)
        program, scale = self._part.program, self.loss_scale.scale
        measured: Measured | None = {} if self._is_observed() else None
        self._measured = (self.index, measured)
        losses = []
        for batch in batches:
            program.scalars.set(**{LOSS_SCALE: scale, STEP: self.batches})
            losses.append(program.backward(batch, measured))
            self._check(losses[-1], batch)
            self.batches += 1
            if len(batches) > 1:
                program.accumulate()
        program.scalars.set(
            **{GRADIENT_SCALE: 1 / (scale * len(batches)), LEARNING_RATE: rate, STEP: self.updates}
        )
        norm = program.update(measured)
        self.loss_scale = self.loss_scale.after(norm)
        skipped = not math.isfinite(norm)
        done = Step(self.index, float(np.mean(losses)), norm, rate, scale, skipped)
        self.index += 1
        self.updates += not skipped
        return done

    def unobserved(self) -> Unobserved | None:
        """The roundings that ``health`` does not tell of; None where nothing is ever measured."""
        observer = self._whole.observer
        return None if observer is None else observer.unobserved

    def health(self) -> list[Health]:
        """What was measured in the last step: node by node, parameter by parameter.

        Empty where the last step was none that is measured; of a step that was skipped, the nodes
        alone. Of one that stopped at its loss, the nodes alone, too, and of the batch with that
        loss where the step was none to be measured.
        """
        step, measured = self._measured
        observer = self._part.observer
        return [] if observer is None else observer.read(measured or {}, step)

    def evaluate(self, batch: Batch) -> tuple[float, list[Array]]:
        """The loss of a batch and the predictions, as the network is used after training."""
        return self._evaluation.run(batch, self.state())

    def state(self) -> dict[str, Array]:
        """Parameters, slots and buffers by name, on the memory that training changes."""
        return self._store.arrays()

    def counters(self) -> dict[str, Any]:
        """What a checkpoint holds besides ``state``."""
        return {
            "index": self.index,
            "updates": self.updates,
            "batches": self.batches,
            "loss_scale": asdict(self.loss_scale),
        }

    def resume(self, state: Batch, counters: Mapping[str, Any]) -> None:
        """Go on where ``state`` and ``counters`` were taken.

        Raises:
            ModelError: a state of another network.
        """
        self._store.load(state)
        self.index, self.updates = counters["index"], counters["updates"]
        self.batches = counters["batches"]
        self.loss_scale = LossScale(**counters["loss_scale"])

    def _part_of(self, step: int) -> _Part:
        """What a step runs."""
        partial = self.graphs.partial
        runs_partial = partial is not None and partial.covers(step)
        return self._partial if runs_partial and self._partial else self._whole

    def _is_observed(self) -> bool:
        return self._health_every > 0 and self.index % self._health_every == 0

    def _check(self, loss: float, batch: Batch) -> None:
        if math.isfinite(loss) or not self._stop_on_nan:
            return
        part = self._part
        if part.observer is not None and self._measured[1] is None:
            self._measured = (self.index, part.program.measure_again(batch))
        given = next((k for k, a in batch.items() if a.dtype.kind == "f" and not _finite(a)), None)
        if given is not None:
            raise LossNotFinite(
                f"The loss of step {self.index} is {loss}: input {given!r} of its batch holds "
                "numbers that are not finite. Take them out of the data."
            )
        node = first_not_finite(part.graphs, batch, self.state())
        made = f": the first to give such a number is {node}" if node else ""
        raise LossNotFinite(
            f"The loss of step {self.index} is {loss}{made}. Lower the learning rate, or scale the "
            "loss if the format is narrow."
        )


def _finite(array: Array) -> bool:
    return bool(np.all(np.isfinite(array)))
