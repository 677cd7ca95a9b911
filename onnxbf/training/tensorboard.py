"""The curves of a run for TensorBoard: one of its runs for each lane, drawn over each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from onnxbf.training.event_file import EventFiles
from onnxbf.training.health import Health
from onnxbf.training.lane import Lane, Scores
from onnxbf.training.trainer import Step

Kept = Mapping[str, Mapping[str, int]]


class Board:
    """Event files in a folder for each lane. What is said of other lanes is not kept.

    Args:
        folder: where the folders of the lanes are.
        lanes: at the step that they go on from.
        kept: by lane, what is kept of its files; see ``EventFiles``.

    Raises:
        ModelError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, lanes: Iterable[Lane], kept: Kept) -> None:
        self._files = {
            lane.name: EventFiles(folder / lane.name, lane.trainer.index, kept.get(lane.name, {}))
            for lane in lanes
        }

    def step(self, lane: str, done: Step, examples: int, seconds: float) -> None:
        """What one step did, and how fast it was."""
        scalars = {
            "train/loss": done.loss,
            "train/learning_rate": done.rate,
            "train/gradient_norm": done.norm,
            "train/loss_scale": done.loss_scale,
            "train/skipped": float(done.skipped),
            "train/examples_per_second": examples / seconds,
        }
        self._write(lane, done.index, scalars)

    def health(self, lane: str, measured: Sequence[Health]) -> None:
        """What was measured in a step; see docs/numeric_health.md."""
        if measured:
            scalars = {k: v for one in measured for k, v in one.scalars().items()}
            self._write(lane, measured[0].step, scalars)

    def epoch(self, lane: str, step: int, scores: Scores) -> None:
        """The scores that an epoch ended with, after a step."""
        self._write(lane, step, {f"epoch/{name}": score for name, score in scores.items()})

    def sizes(self) -> dict[str, dict[str, int]]:
        """What is ``kept`` where the run goes on from here."""
        return {lane: files.sizes() for lane, files in self._files.items()}

    def _write(self, lane: str, step: int, scalars: Mapping[str, float]) -> None:
        files = self._files.get(lane)
        if files is not None:
            files.write(step, scalars)
