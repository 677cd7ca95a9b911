"""A run: a recipe and its baseline trained in step on the same batches, logged and resumable.

The folder of a run holds ``run.json``, its settings, ``results.json`` and, for each seed, a folder
with ``log.jsonl``, ``checkpoint.safetensors`` and the trained model of each lane; if asked for,
``tensorboard`` holds event files.
"""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from onnxbf.errors import ModelError
from onnxbf.files import load_model, write_text
from onnxbf.training.checkpoint import load_checkpoint, save_checkpoint
from onnxbf.training.lane import Batch, Lane, Scores, batch_size
from onnxbf.training.recording import Recording
from onnxbf.training.setting_up import SetUp
from onnxbf.training.settings import Settings, check_same, load_settings
from onnxbf.training.trainer import LossNotFinite, Step
from onnxbf.training.verdict import Contrast, History, Summary, contrast, record, summarize

SETTINGS, RESULTS = "run.json", "results.json"
LOG, CHECKPOINT, BOARD = "log.jsonl", "checkpoint.safetensors", "tensorboard"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is: the seed, the epoch, and the batches of it that are done."""

    seed: int
    epoch: int = 0
    batches: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the user should know of a lane, before it is trained."""

    lane: str
    text: str


@dataclass(frozen=True, slots=True)
class StepDone:
    """Every lane made a step. ``total``: the batches of an epoch, where that is known."""

    place: Place
    steps: Mapping[str, Step]
    total: int | None


@dataclass(frozen=True, slots=True)
class EpochDone:
    """Every lane ended an epoch, with these scores; ``skipped``: its updates that did not count."""

    place: Place
    scores: Mapping[str, Scores]
    skipped: Mapping[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Stopped:
    """The run was asked to stop, and did after writing a checkpoint."""

    place: Place


@dataclass(frozen=True, slots=True)
class Finished:
    """All seeds are trained: scores by lane, and each beside the baseline's."""

    summaries: Mapping[str, Mapping[str, Summary]]
    contrasts: Sequence[Contrast]


Event = Remark | StepDone | EpochDone | Stopped | Finished


class Run:
    """Settings and the folder that they are carried out in.

    Args:
        settings: what to train and how.
        folder: made if it is not there.
        resume: whether to go on with what the folder holds.

    Raises:
        ModelError: a model, data or folder that cannot be used; the folder holds a run and
            ``resume`` is false, or none and it is true.
        OnnxbfError: whatever reading the settings' text raises.
    """

    def __init__(self, settings: Settings, folder: str | Path, *, resume: bool = False) -> None:
        self.settings, self.folder = settings, Path(folder)
        path = self.folder / SETTINGS
        if resume:
            check_same(load_settings(path), settings)
        elif path.exists():
            raise ModelError(
                f"{str(folder)!r} holds a run already: go on with it by --resume, or name another "
                "folder."
            )
        self._set_up = SetUp(settings, load_model(settings.model))
        self.notes = self._set_up.notes
        self._stop = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ModelError(f"Cannot make folder {str(folder)!r}: {error.strerror}.") from None
        write_text(path, settings.to_json())

    def stop(self) -> None:
        """End after the step that is being made, with a checkpoint."""
        self._stop = True

    def events(self) -> Iterator[Event]:
        """Carry the run out; what happens is told step by step.

        Raises:
            LossNotFinite: see ``Trainer``.
            CheckpointNotWritten: the disk is full.
        """
        histories: list[dict[str, History]] = []
        for seed in self.settings.seeds:
            lanes = self._set_up.lanes(seed)
            for event in self._train(seed, lanes):
                yield event
                if isinstance(event, Stopped):
                    return
            histories.append({lane.name: lane.history for lane in lanes})
        yield self._conclude(histories)

    def _train(self, seed: int, lanes: Sequence[Lane]) -> Iterator[Event]:
        folder = self._folder(seed)
        folder.mkdir(exist_ok=True)
        for unfinished in folder.glob(".*"):  # what a process that was killed was writing
            shutil.rmtree(unfinished) if unfinished.is_dir() else unfinished.unlink()
        place, kept = self._resumed(seed, lanes)
        batches = self._set_up.batches(seed)
        drawn = lanes if self.settings.tensorboard else ()
        board = self.folder / BOARD / folder.name
        with Recording(folder / LOG, board, seed, drawn, kept) as log:
            for lane in lanes:
                text = log.begin(lane)
                if text and seed == self.settings.seeds[0]:
                    yield Remark(lane.name, text)
            for epoch in range(place.epoch, self.settings.epochs):
                started = time.monotonic()
                done = place.batches if epoch == place.epoch else 0
                for group in _grouped(batches.epoch(epoch, done), self.settings.accumulate):
                    done += len(group)
                    at = Place(seed, epoch, done)
                    yield StepDone(at, self._step(group, lanes, at, log), batches.steps(epoch))
                    if self._stop or self._is_due(lanes[0]):
                        self._save(at, lanes, log)
                    if self._stop:
                        yield Stopped(at)
                        return
                if done == 0:
                    raise ModelError(f"The data {self.settings.data!r} gives no batches.")
                scores = {lane.name: self._end_epoch(lane, log) for lane in lanes}
                self._save(Place(seed, epoch + 1), lanes, log)
                skipped = {lane.name: lane.trainer.loss_scale.skipped for lane in lanes}
                at, seconds = Place(seed, epoch, done), time.monotonic() - started
                yield EpochDone(at, scores, skipped, seconds)

    def _folder(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"

    def _resumed(self, seed: int, lanes: Sequence[Lane]) -> tuple[Place, Mapping[str, Any]]:
        """Bring lanes to where the seed's checkpoint was taken: the place, and what it says.

        Raises:
            ModelError: it is of another network, or of other recipes.
        """
        path = self._folder(seed) / CHECKPOINT
        if not path.is_file():
            return Place(seed), {}
        tensors, notes = load_checkpoint(path)
        if [*notes["lanes"]] != [lane.name for lane in lanes]:
            raise ModelError(
                f"{str(path)!r} is a checkpoint of another run, of {', '.join(notes['lanes'])}: "
                "put this run's back, or begin a new one."
            )
        for lane in lanes:
            mine = f"{lane.name}/"
            state = {k.removeprefix(mine): v for k, v in tensors.items() if k.startswith(mine)}
            try:
                lane.resume(state, notes["lanes"][lane.name])
            except ModelError as error:
                raise ModelError(
                    f"{str(path)!r} is a checkpoint of another network: {error} Put this run's "
                    "back, or begin a new one."
                ) from None
        return Place(**notes["place"]), notes

    def _step(
        self, group: Sequence[Batch], lanes: Sequence[Lane], place: Place, log: Recording
    ) -> dict[str, Step]:
        fitted = [self._set_up.fit(batch) for batch in group]
        examples = sum(map(batch_size, fitted))
        steps = {}
        for lane in lanes:
            started = time.perf_counter()
            try:
                steps[lane.name] = step = lane.step(fitted)
            except LossNotFinite:
                log.health(lane, place.epoch)
                raise
            log.step(lane, place.epoch, step, examples, time.perf_counter() - started)
        return steps

    def _end_epoch(self, lane: Lane, log: Recording) -> Scores:
        setup = self._set_up
        scores = lane.end_epoch(setup.validation(), setup.labels, setup.metrics())
        log.epoch(lane, scores)
        return scores

    def _is_due(self, lane: Lane) -> bool:
        every = self.settings.checkpoint_every
        return every > 0 and lane.trainer.index % every == 0

    def _save(self, place: Place, lanes: Sequence[Lane], log: Recording) -> None:
        """Write a checkpoint.

        The trained models come before the last one: they are not missed, then, where the process
        ends between the two.
        """
        states = {lane.name: lane.trainer.state() for lane in lanes}
        if place.epoch == self.settings.epochs:
            for name, state in states.items():
                self._set_up.trained.save(state, self._folder(place.seed) / f"{name}.onnx")
        tensors = {f"{name}/{k}": v for name, state in states.items() for k, v in state.items()}
        notes = {
            "place": asdict(place),
            "lanes": {lane.name: lane.notes() for lane in lanes},
            **log.keep(),
        }
        save_checkpoint(self._folder(place.seed) / CHECKPOINT, tensors, notes)

    def _conclude(self, seeds: Sequence[Mapping[str, History]]) -> Finished:
        """The verdict, which ``results.json`` keeps."""
        directions, names = self._set_up.scores, self._set_up.names
        histories = {name: [seed[name] for seed in seeds] for name in names}
        summaries = {
            name: {score: summarize(histories[name], score, d) for score, d in directions.items()}
            for name in names
        }
        contrasts = [
            contrast(histories[names[0]], histories[names[1]], score, direction)
            for score, direction in directions.items()
            if len(names) > 1
        ]
        text = json.dumps(record(summaries, contrasts), indent=2)
        write_text(self.folder / RESULTS, text + "\n")
        return Finished(summaries, contrasts)


def _grouped(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while group := [*itertools.islice(iterator, size)]:
        yield group
