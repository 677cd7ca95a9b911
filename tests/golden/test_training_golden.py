"""Gradient graphs under a recipe as text.

Each ``training/*.txt`` holds the recipe and the loss, a forward model, a line of dashes, and every
node of the training step with its phase. A line that begins with ``~`` is a rounding, with its
role.
``pytest tests/golden --update-golden`` writes the results anew.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.graph import ROLE_KEY, phase_of
from onnxbf.passes.representable import node_cast
from onnxbf.protos import from_proto
from onnxbf.recipe import load_recipe
from onnxbf.training.graphs import build_graphs
from tests.runtime import needs_training

pytestmark = needs_training

CASES = sorted((Path(__file__).parent / "training").glob("*.txt"))
RULE = "-" * 78


def test_there_are_cases() -> None:
    assert len(CASES) >= 5


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_training_golden(path: Path, request: pytest.FixtureRequest) -> None:
    source, _, expected = path.read_text(encoding="utf-8").partition(f"{RULE}\n")
    head, _, text = source.partition("\n")
    recipe, loss = head.removeprefix("# ").split(", ")
    graphs = build_graphs(from_proto(_parse(text)), loss, "sgd")
    gradient = graphs.under(load_recipe(recipe)).gradient
    gradient.clone()  # refuses nodes that stand before what they read
    found = _print(gradient)
    if request.config.getoption("--update-golden"):
        path.write_text(f"{source.strip()}\n{RULE}\n{found}", encoding="utf-8")
        return
    assert found == expected


def _parse(text: str) -> onnx.ModelProto:
    """The model; values that are declared and not computed are its weights, drawn at random."""
    model = onnx.parser.parse_model(text)
    draw = np.random.default_rng(0)
    for info in model.graph.value_info:
        shape = [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        weight = draw.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight, info.name))
    del model.graph.value_info[:]
    return model


def _print(model: ir.Model) -> str:
    outputs = ", ".join(value.name or "" for value in model.graph.outputs)
    lines = [_rounding(n) if node_cast(n) else _line(n) for n in model.graph]
    return "\n".join([*lines, f"=> {outputs}", ""])


def _line(node: ir.Node) -> str:
    return f"{phase_of(node).value:19}{_names(node.outputs)} = {node.op_type} {_inputs(node)}"


def _rounding(node: ir.Node) -> str:
    role = node.metadata_props[ROLE_KEY]
    return f"~ {role:17}{_names(node.outputs)} = {node_cast(node)} {_inputs(node)}"


def _inputs(node: ir.Node) -> str:
    return f"({_names(node.inputs)})"


def _names(values: object) -> str:
    assert isinstance(values, tuple)
    return ", ".join("-" if value is None or not value.name else value.name for value in values)
