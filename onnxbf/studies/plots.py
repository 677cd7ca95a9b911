"""Charts by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxbf.studies.chart import Chart
from onnxbf.studies.optional import needed
from onnxbf.studies.study import Row, means

_WIDTH = 0.8  # of all the bars over one tick


def draw(chart: Chart, rows: Sequence[Row], folder: Path) -> Path:
    """Draw a chart into ``<folder>/<name>.png``.

    Raises:
        RuntimeMissing: matplotlib is not installed.
    """
    figures = needed("matplotlib.figure")
    figure = figures.Figure(figsize=(8, 4.5), layout="constrained")  # no global state, no display
    axes = figure.subplots()
    columns = {chart.x, chart.y, chart.by}
    drawn = means([row for row in rows if columns <= row.keys()], (chart.by, chart.x), (chart.y,))
    curves: dict[str, dict[Any, float]] = {}
    for row in drawn:
        curves.setdefault(str(row[chart.by]), {})[row[chart.x]] = float(row[chart.y])
    (_lines if chart.line else _bars)(axes, curves)
    axes.set(title=chart.title, xlabel=chart.x, ylabel=chart.y)
    if chart.log:
        axes.set_yscale("log")
    if len(curves) > 1:
        axes.legend(title=chart.by)
    path = folder / f"{chart.name}.png"
    figure.savefig(path, dpi=120)
    return path


def _lines(axes: Any, curves: Mapping[str, Mapping[Any, float]]) -> None:
    for name, curve in curves.items():
        axes.plot([*curve.keys()], [*curve.values()], marker="o", label=name)


def _bars(axes: Any, curves: Mapping[str, Mapping[Any, float]]) -> None:
    ticks = list(dict.fromkeys(x for curve in curves.values() for x in curve))
    width = _WIDTH / max(len(curves), 1)
    for index, (name, curve) in enumerate(curves.items()):
        places = [ticks.index(x) + (index - (len(curves) - 1) / 2) * width for x in curve]
        axes.bar(places, [*curve.values()], width, label=name)
    axes.set_xticks(range(len(ticks)), [str(tick) for tick in ticks], rotation=30, ha="right")
