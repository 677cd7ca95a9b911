"""Every schedule by name, and how one is read."""

from __future__ import annotations

from onnxbf.training import lrbench, plateau, transitions
from onnxbf.training.options import build
from onnxbf.training.schedule import Schedule

SCHEDULES: dict[str, type[Schedule]] = {
    made.name: made
    for made in (
        transitions.Constant,
        transitions.Linear,
        transitions.Polynomial,
        transitions.Cosine,
        transitions.Exponential,
        transitions.Piecewise,
        transitions.OneCycle,
        transitions.WarmUp,
        transitions.Joined,
        transitions.Epochs,
        lrbench.Fix,
        lrbench.Step,
        lrbench.NStep,
        lrbench.Exp,
        lrbench.Inv,
        lrbench.Poly,
        lrbench.Sig,
        lrbench.Tri,
        lrbench.Tri2,
        lrbench.TriExp,
        lrbench.Sin,
        lrbench.Sin2,
        lrbench.SinExp,
        lrbench.Cos,
        lrbench.Cos2,
        lrbench.CosExp,
        plateau.OnPlateau,
    )
}


def parse_schedule(text: str) -> Schedule:
    """Read a schedule such as ``SIN{k0=0.01,k1=0.1,l=20}``; a bare number is constant.

    Raises:
        NameUnknown, SpecError: see ``build``.
    """
    number = _number(text)
    if number is not None:
        return transitions.Constant(value=number)
    return build(text, SCHEDULES, "schedule", {Schedule: parse_schedule})


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
