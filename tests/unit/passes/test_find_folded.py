"""Traces of folded batch normalizations, in models of which we know what was exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbf.files import load_model
from onnxbf.passes.find_folded import FindFolded
from onnxbf.report import Report

MODELS = Path(__file__).parents[2] / "models"
FOLDED = {
    "keras_cnn": ["Conv__47"],
    "torch_cnn": ["node_Conv_25", "node_Conv_26", "node_Conv_27"],
    "torch_resnet": ["node_Conv_140", "node_Conv_142", "node_Conv_146"],
    "torchscript_resnet": ["/stem/stem.0/Conv", "/blocks/blocks.0/conv1/Conv"],
}
PLAIN = sorted(path.stem for path in MODELS.glob("*.onnx") if path.stem not in FOLDED)


def warnings(name: str) -> list[str]:
    report = Report("none")
    FindFolded(report)(load_model(MODELS / f"{name}.onnx"))
    return report.warnings


@pytest.mark.parametrize("name", [*FOLDED])
def test_folded_batch_normalization_is_named(name: str) -> None:
    (text,) = warnings(name)
    assert text.startswith("The export folded batch normalization into ")
    assert all(repr(node) in text for node in FOLDED[name])


@pytest.mark.parametrize("name", [name for name in PLAIN if "zipmap" not in name])
def test_no_false_alarm(name: str) -> None:
    assert warnings(name) == []
