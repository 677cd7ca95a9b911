"""Every arithmetic profile stands in its page, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path

from onnxbf.arithmetic import MAKERS, PROFILES, parse_arithmetic

PAGE = (Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| `([^`]+)` \| (?!.*VDPBF16PS, where)", PAGE.split("## To the last bit")[0], re.M
)


def test_every_profile_has_a_row() -> None:
    assert {row.partition("{")[0] for row in ROWS} == {*PROFILES, *MAKERS}


def test_the_options_shown_are_those_that_are_left_out() -> None:
    for row in ROWS:
        profile = parse_arithmetic(row.partition("{")[0])
        assert str(profile) == row
