"""Saves what PyTorch's own optimizers make of given gradients, as an oracle for onnxbf's.

`torch_optimizers.npz` holds, for parameters of several shapes, `initial/<parameter>` and the
gradients of all steps, `gradient/<parameter>`; the learning rate of each step, `rate`; and
`<optimizer>/<parameter>`, the parameter after each step, where `<optimizer>` is the text by which
onnxbf knows the same optimizer.

Run with Python 3.11 and `pip install torch==2.13 numpy==2.4.6`:

    python tests/models/export_optimizers.py
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import optim
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

FILE = Path(__file__).parent / "torch_optimizers.npz"
STEPS = 20
SHAPES = {"matrix": (3, 4), "vector": (5,), "scalar": (), "kernel": (2, 1, 2, 2)}
RATES = np.linspace(0.1, 0.02, STEPS).astype(np.float32)

Tensors = list[torch.nn.Parameter]
Clip = Callable[[Iterable[torch.Tensor]], object]
MADE = {
    "sgd": partial(optim.SGD),
    "sgd{weight_decay=0.1}": partial(optim.SGD, weight_decay=0.1),
    "momentum": partial(optim.SGD, momentum=0.9),
    "sgd{momentum=0.8,dampening=0.3}": partial(optim.SGD, momentum=0.8, dampening=0.3),
    "nesterov{weight_decay=0.05}": partial(
        optim.SGD, momentum=0.9, nesterov=True, weight_decay=0.05
    ),
    "adagrad": partial(optim.Adagrad),
    "adagrad{initial=0.1,weight_decay=0.1}": partial(
        optim.Adagrad, initial_accumulator_value=0.1, weight_decay=0.1
    ),
    "rmsprop": partial(optim.RMSprop),
    "rmsprop{alpha=0.9,eps=0.001,momentum=0.5,weight_decay=0.1}": partial(
        optim.RMSprop, alpha=0.9, eps=1e-3, momentum=0.5, weight_decay=0.1
    ),
    "rmsprop{centered=true}": partial(optim.RMSprop, centered=True),
    "adam": partial(optim.Adam),
    "adam{beta1=0.8,beta2=0.95,eps=0.001,weight_decay=0.1}": partial(
        optim.Adam, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1
    ),
    "adamw": partial(optim.AdamW),
    "adamw{weight_decay=0.5}": partial(optim.AdamW, weight_decay=0.5),
}
CLIPPED: dict[str, tuple[Callable[..., optim.Optimizer], Clip]] = {
    "momentum{clip_norm=2.5}": (MADE["momentum"], partial(clip_grad_norm_, max_norm=2.5)),
    "adamw{clip_value=0.5}": (MADE["adamw"], partial(clip_grad_value_, clip_value=0.5)),
}


def draw() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """First values, and gradients of magnitudes from some thousandths to some units."""
    rng = np.random.default_rng(0)
    initial = {name: np.float32(rng.normal(size=shape)) for name, shape in SHAPES.items()}
    gradients = {}
    for name, shape in SHAPES.items():
        magnitudes = 10.0 ** rng.uniform(-2.5, 0.3, shape)
        gradients[name] = np.float32(rng.normal(0.3, 1, (STEPS, *shape)) * magnitudes)
    return initial, gradients


def train(
    make: Callable[..., optim.Optimizer],
    clip: Clip | None,
    initial: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The parameters after each step."""
    parameters = {n: torch.nn.Parameter(torch.tensor(value)) for n, value in initial.items()}
    optimizer = make(parameters.values(), lr=1.0)
    steps: dict[str, list[np.ndarray]] = {name: [] for name in initial}
    for step, rate in enumerate(RATES):
        optimizer.param_groups[0]["lr"] = float(rate)
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(gradients[name][step])
        if clip is not None:
            clip(parameters.values())
        optimizer.step()
        for name, parameter in parameters.items():
            steps[name].append(parameter.detach().numpy().copy())
    return {name: np.stack(values) for name, values in steps.items()}


def main() -> None:
    initial, gradients = draw()
    arrays = {"rate": RATES}
    arrays |= {f"initial/{name}": value for name, value in initial.items()}
    arrays |= {f"gradient/{name}": value for name, value in gradients.items()}
    for text, (make, clip) in {**{t: (m, None) for t, m in MADE.items()}, **CLIPPED}.items():
        found = train(make, clip, initial, gradients)
        arrays |= {f"{text}/{name}": value for name, value in found.items()}
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
