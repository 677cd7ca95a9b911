"""docs/studies.md has a section for every study, which names its claims."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from onnxbf.studies.registry import STUDIES

PAGE = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `([\w-]+)`(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_study_has_a_section() -> None:
    assert list(SECTIONS) == list(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_it_names_the_study_s_claims(name: str) -> None:
    pytest.importorskip("onnxruntime")
    from onnxbf.studies.registry import study_class

    for claim in study_class(name).claims:
        assert claim.name.split()[0].lower() in SECTIONS[name].lower(), claim.name
