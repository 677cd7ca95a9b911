"""LRBench's table of policies as it is printed, by other means than ``training/lrbench.py`` takes.

Source: Wu et al., Demystifying Learning Rate Policies (2019), table 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

_CYCLE = "k0=0.01,k1=0.1,l=20"
_K0, _K1, _L, _GAMMA = 0.01, 0.1, 20, 0.99

STEPS = (0, 1, 10, 20, 40, 45)

# The learning rates at STEPS, to six decimals; None: not worked out.
PUBLISHED: Mapping[str, tuple[float | None, ...]] = {
    f"TRI{{{_CYCLE}}}": (0.01, 0.0145, 0.055, 0.1, 0.01, 0.0325),
    f"TRI2{{{_CYCLE}}}": (0.01, 0.0145, 0.055, 0.1, 0.01, 0.02125),
    f"TRIEXP{{{_CYCLE},gamma=0.99}}": (0.01, None, 0.050697, None, None, None),
    f"SIN{{{_CYCLE}}}": (0.01, 0.017061, 0.07364, 0.1, 0.01, None),
    f"SIN2{{{_CYCLE}}}": (0.01, 0.017061, 0.07364, 0.1, 0.01, 0.027221),
    f"SINEXP{{{_CYCLE},gamma=0.99}}": (0.01, None, 0.067555, None, None, None),
    f"COS{{{_CYCLE}}}": (0.1, 0.097798, 0.01, 0.1, 0.1, 0.055),
    "STEP{k0=0.1,gamma=0.1,l=30}": (0.1, 0.1, 0.1, 0.1, 0.01, 0.01),
    "EXP{k0=0.1,gamma=0.99}": (0.1, 0.099, None, None, 0.066897, None),
    "INV{k0=0.1,gamma=0.01,p=0.75}": (0.1, None, None, None, 0.077697, None),
    "POLY{k0=0.1,p=1.2,l=200}": (0.1, None, None, None, 0.076508, None),
}


def _tri(t: int) -> float:
    return 2 / math.pi * abs(math.asin(math.sin(math.pi * t / (2 * _L))))


def _sin(t: int) -> float:
    return abs(math.sin(math.pi * t / (2 * _L)))


def _cyclic(g: Callable[[int], float]) -> Callable[[int], float]:
    return lambda t: abs(_K0 - _K1) * g(t) + min(_K0, _K1)


# The same policies as formulas.
FORMULAS: Mapping[str, Callable[[int], float]] = {
    f"TRI{{{_CYCLE}}}": _cyclic(_tri),
    f"TRI2{{{_CYCLE}}}": _cyclic(lambda t: 2.0 ** -(t // (2 * _L)) * _tri(t)),
    f"TRIEXP{{{_CYCLE},gamma=0.99}}": _cyclic(lambda t: _GAMMA**t * _tri(t)),
    f"SIN{{{_CYCLE}}}": _cyclic(_sin),
    f"SIN2{{{_CYCLE}}}": _cyclic(lambda t: 2.0 ** -(t // (2 * _L)) * _sin(t)),
    f"SINEXP{{{_CYCLE},gamma=0.99}}": _cyclic(lambda t: _GAMMA**t * _sin(t)),
    f"COS{{{_CYCLE}}}": _cyclic(lambda t: (1 + math.cos(2 * math.pi * t / _L)) / 2),
    "STEP{k0=0.1,gamma=0.1,l=30}": lambda t: 0.1 * 0.1 ** (t // 30),
    "EXP{k0=0.1,gamma=0.99}": lambda t: 0.1 * 0.99**t,
    "INV{k0=0.1,gamma=0.01,p=0.75}": lambda t: 0.1 / (1 + 0.01 * t) ** 0.75,
    "POLY{k0=0.1,p=1.2,l=200}": lambda t: 0.1 * (1 - t / 200) ** 1.2,
}
