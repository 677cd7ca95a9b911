"""What a seed's training leaves to be read: the lines of its log, and its event files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxbf.training.lane import Lane, Scores
from onnxbf.training.run_log import RunLog
from onnxbf.training.tensorboard import Board
from onnxbf.training.trainer import Step

_LOG, _EVENTS = "log", "events"


class Recording(RunLog):
    """A log that is drawn, too.

    Args:
        path: the file of the log.
        board: the folder of the event files.
        seed: what every line names.
        drawn: the lanes that have event files, at the step that they go on from.
        kept: what ``keep`` gave at the checkpoint that the run goes on from; empty at its start.

    Raises:
        ModelError: a file cannot be written.
    """

    def __init__(
        self, path: Path, board: Path, seed: int, drawn: Iterable[Lane], kept: Mapping[str, Any]
    ) -> None:
        super().__init__(path, kept.get(_LOG, 0))
        self._board = Board(board, drawn, kept.get(_EVENTS, {}))
        self._seed = seed

    def begin(self, lane: Lane) -> str:
        """What numeric health will not tell of a lane, which the log's first line names, too."""
        left = lane.trainer.unobserved()
        text = "" if left is None else str(left)
        if left is not None and text and lane.trainer.index == 0:
            self.write({**self._at(lane, 0), **left.record()})
        return text

    def step(self, lane: Lane, epoch: int, done: Step, examples: int, seconds: float) -> None:
        """What a lane did in a step, and what was measured there."""
        self.write({"kind": "step", **self._at(lane, epoch), **asdict(done)})
        self._board.step(lane.name, done, examples, seconds)
        self.health(lane, epoch)

    def health(self, lane: Lane, epoch: int) -> None:
        """What was measured in a lane's last step, if it was."""
        measured = lane.trainer.health()
        for one in measured:
            self.write({**self._at(lane, epoch), **one.record()})
        self._board.health(lane.name, measured)

    def epoch(self, lane: Lane, scores: Scores) -> None:
        """The scores of a lane's last epoch."""
        epoch = len(lane.history) - 1
        self.write({"kind": "epoch", **self._at(lane, epoch), **scores})
        self._board.epoch(lane.name, lane.trainer.index - 1, scores)

    def keep(self) -> dict[str, Any]:
        """Have all of it in the files; what a checkpoint says of it."""
        return {_LOG: self.flush(), _EVENTS: self._board.sizes()}

    def _at(self, lane: Lane, epoch: int) -> dict[str, Any]:
        return {"seed": self._seed, "lane": lane.name, "epoch": epoch}
