"""What ``onnxbf train`` shows: progress while it runs, a line for each epoch, a verdict."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from onnxbf.cli.console import Steps, console, warn
from onnxbf.training.run import EpochDone, Event, Finished, Remark, StepDone
from onnxbf.training.settings import Settings
from onnxbf.training.verdict import Contrast, Summary


class Report:
    """Shows the events of a run."""

    def __init__(self, settings: Settings, bar: Steps) -> None:
        self._settings = settings
        self._bar = bar

    def show(self, event: Event) -> None:
        if isinstance(event, Remark):
            warn(f"{event.lane}: {event.text}")
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, EpochDone):
            self._epoch(event)
        elif isinstance(event, Finished):
            self._verdict(event)
        else:
            place = event.place
            _say(
                f"Stopped after batch {place.batches} of epoch {place.epoch + 1}, seed "
                f"{place.seed}. Go on with --resume."
            )

    def _step(self, event: StepDone) -> None:
        losses = "  ".join(f"{name} {step.loss:.4f}" for name, step in event.steps.items())
        rate = next(iter(event.steps.values())).rate
        text = f"{self._where(event)}  loss {losses}  rate {rate:.3g}"
        if event.total is None:
            self._bar.step(text)
            return
        place, epochs = event.place, self._settings.epochs
        seeds = self._settings.seeds
        done = (seeds.index(place.seed) * epochs + place.epoch) * event.total + place.batches
        self._bar.show(text, done, event.total * epochs * len(seeds))

    def _epoch(self, event: EpochDone) -> None:
        width = max(map(len, event.scores))
        for name, scores in event.scores.items():
            shown = "  ".join(f"{score} {value:.5g}" for score, value in scores.items())
            if event.skipped[name]:
                shown += f"  skipped {event.skipped[name]}"
            _say(f"{self._where(event)}  {name:<{width}}  {shown}")

    def _where(self, event: StepDone | EpochDone) -> str:
        settings, place = self._settings, event.place
        seed = f"seed {place.seed}  " if len(settings.seeds) > 1 else ""
        return f"{seed}epoch {place.epoch + 1}/{settings.epochs}"

    def _verdict(self, event: Finished) -> None:
        if not event.contrasts:
            _finals(event.summaries)
            return
        name, baseline = event.summaries
        table = Table(box=None, pad_edge=False)
        for heading in ("", f"{name} final", "best", f"{baseline} final", "best", "difference", ""):
            table.add_column(heading, justify="left" if not heading else "right")
        for item in event.contrasts:
            table.add_row(*_row(item))
        console.print(table)
        _say(_sentence(name, baseline, event.contrasts[-1], len(self._settings.seeds)))


def _finals(summaries: Mapping[str, Mapping[str, Summary]]) -> None:
    for name, scores in summaries.items():
        for score, summary in scores.items():
            _say(f"{name}  {score}: final {summary.mean_final:.5g}, best {summary.mean_best:.5g}")


def _row(item: Contrast) -> tuple[str, ...]:
    numbers = (
        item.lane.mean_final,
        item.lane.mean_best,
        item.baseline.mean_final,
        item.baseline.mean_best,
    )
    return (item.score, *(f"{n:.5g}" for n in numbers), f"{item.difference:+.3g}", _noise(item))


def _noise(item: Contrast) -> str:
    if item.noise is None:
        return ""
    return f"{'within' if item.within_noise else 'beyond'} seed noise {item.noise:.2g}"


def _sentence(name: str, baseline: str, item: Contrast, seeds: int) -> str:
    """The verdict on the score that matters: the last, which is a metric where there is one."""
    if item.difference == 0:
        return f"{name} ends exactly where {baseline} does in {item.score}."
    side = "worse" if item.worse else "better"
    ends = f"{name} ends {abs(item.difference):.3g} {side} than {baseline} in {item.score}"
    if item.noise is None:
        return f"{ends}. Whether that is noise takes several seeds: --seed 0 --seed 1 --seed 2."
    verdict = "within" if item.within_noise else "beyond"
    return f"{ends}: {verdict} the noise of {seeds} seeds ({item.noise:.2g})."


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False)
