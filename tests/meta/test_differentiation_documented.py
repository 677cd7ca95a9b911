"""docs/differentiation.md names what is expanded, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbf.passes.expand_ungraded import EXPANSIONS
from onnxbf.training.differentiable import GRADED
from onnxbf.training.prepare import BY_DEFINITION

PAGE = Path(__file__).parents[2] / "docs" / "differentiation.md"


def test_every_expansion_is_documented() -> None:
    table = PAGE.read_text().split("## Operators that are written out")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {*EXPANSIONS, *BY_DEFINITION}


def test_nothing_that_has_a_gradient_is_expanded() -> None:
    assert not GRADED & {*EXPANSIONS, *BY_DEFINITION}
