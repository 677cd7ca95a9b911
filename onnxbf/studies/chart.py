"""What is drawn of a study's rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars, one for each value of ``x``, or a curve; one set of them for each value of ``by``.

    Rows that agree in ``x`` and ``by`` are averaged. Rows that lack a column are left out.

    Attributes:
        name: of the file.
        title: above it.
        x, y, by: columns.
        line: whether ``x`` is a number that runs.
        log: whether ``y`` is drawn on a logarithmic axis.
    """

    name: str
    title: str
    x: str
    y: str
    by: str
    line: bool = False
    log: bool = False
