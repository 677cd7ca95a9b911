"""Operands of dot products that reach what a profile may get wrong."""

from __future__ import annotations

import numpy as np

from tests.implementations import Floats

_SPECIAL = np.array([0, -0.0, np.inf, -np.inf, 1, -1, 1e-45, -1e-40, 3e38, np.nan], np.float32)
_WEIGHTS = (0.2, 0.2, 0.03, 0.03, 0.15, 0.15, 0.05, 0.05, 0.1, 0.04)


def ordinary(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.standard_normal(shape).astype(np.float32)


def small_integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Whose sums end halfway between numbers of a narrow format, often."""
    return np.rint(ordinary(rng, shape) * 4)


def spread(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Of many magnitudes, so that sums swallow their terms."""
    return np.ldexp(ordinary(rng, shape), rng.integers(-12, 12, shape))


def tiny(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Whose products lie about the smallest normal number."""
    return np.ldexp(ordinary(rng, shape), rng.integers(-70, -55, shape))


def huge(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Whose products lie about the largest number."""
    return np.ldexp(ordinary(rng, shape), rng.integers(50, 66, shape))


def special(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Zeros, infinities, NaN, subnormals."""
    return rng.choice(_SPECIAL, shape, p=_WEIGHTS)


def any_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.float32)


FINITE = (ordinary, small_integers, spread, tiny, huge)
ALL = (*FINITE, special, any_bits)
