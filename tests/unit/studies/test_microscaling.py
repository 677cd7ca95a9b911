"""What study ``mx`` says of quantizers that are broken, and of networks that it did not train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from onnxbf.block_cast import BlockCast
from onnxbf.block_quantizer import quantize_blocks
from onnxbf.formats import Rounding
from onnxbf.studies import microscaling
from onnxbf.studies.claim import Finding
from onnxbf.studies.microscaling import FORMATS, Array, Microscaling, _errors
from onnxbf.studies.study import Row


def _truncated(x: Array, cast: BlockCast) -> Array:
    return quantize_blocks(x, replace(cast, rounding=Rounding.TOWARD_ZERO))


def _halved(x: Array, cast: BlockCast) -> Array:
    """As if the shared exponent were one too small: half of the range is cut off."""
    largest = np.abs(x).max(1, keepdims=True)
    return np.clip(quantize_blocks(x, cast), -largest / 2, largest / 2)


def _trained(**losses: float) -> list[Row]:
    return [
        {
            "network": subject.name,
            "recipe": recipe,
            "metric": subject.score,
            "score": 0.98 - loss / 10 if subject.score == "accuracy" else loss,
            "loss": loss,
        }
        for subject in microscaling.SUBJECTS
        for recipe, loss in losses.items()
    ]


LOSSES = {"none": 0.1, "mxfp8": 0.1, "mxint8": 0.1, "mxfp6": 0.11, "mxfp4": 0.15}


def _failed(rows: list[Row]) -> set[str]:
    measured = Microscaling().judge(rows)
    return {c.name for c in Microscaling.claims if not Finding(c, measured[c.name]).passed}


def _all_errors(quantize: Callable[[Array, BlockCast], Array]) -> list[Row]:
    return [row for name in FORMATS for row in _errors(name, quantize)]


@pytest.mark.parametrize(
    ("quantize", "failed"),
    [
        (quantize_blocks, set()),
        (_truncated, {"bound", "noise most"}),
        (_halved, {"bound", "noise most"}),
    ],
)
def test_errors_are_what_the_format_leaves(
    quantize: Callable[[Array, BlockCast], Array], failed: set[str]
) -> None:
    assert _failed([*_all_errors(quantize), *_trained(**LOSSES)]) == failed


def test_a_format_that_trains_worse_than_it_may_fails() -> None:
    errors = _all_errors(quantize_blocks)
    worse = _trained(**{**LOSSES, "mxfp8": 0.25})
    assert {"mxfp8 digits", "mxfp8 transformer", "digits loss"} <= _failed([*errors, *worse])
    level = _trained(**{**LOSSES, "mxfp4": 0.11})
    assert _failed([*errors, *level]) == {"mxfp4 digits", "mxfp4 transformer"}
