"""The operators of ``ai.onnxbf``: each has a row in its page, and an oracle."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbf.custom_ops.reference import REFERENCE_OPS
from onnxbf.custom_ops.registry import OPS

PAGE = Path(__file__).parents[2] / "docs" / "custom_operators.md"


def test_every_operator_has_a_row_in_its_page() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.M)[: len(OPS)] == [
        *OPS
    ]


def test_every_operator_has_an_oracle() -> None:
    assert [op.__name__ for op in REFERENCE_OPS] == [*OPS]
