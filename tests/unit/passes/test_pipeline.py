"""convert() as a whole: what it takes, what it gives back, what it leaves as it was."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import ModelError, NameUnknown, SpecError
from onnxbf.passes.pipeline import convert
from onnxbf.recipe import RECIPES

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,2] x) => (float[2,2] y) {
  [first] a = MatMul (x, x)
  [second] b = Sigmoid (a)
  [third] y = MatMul (b, b)
}"""


@pytest.fixture
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(_TEXT)


def test_takes_paths_protos_and_ir_models(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    before = model.SerializeToString()
    from_path, _ = convert(path)
    from_proto, _ = convert(model)
    ir_model = ir.from_proto(model)
    from_ir, _ = convert(ir_model)
    assert from_path == from_proto == ir.to_proto(from_ir)
    assert isinstance(from_ir, ir.Model)
    assert model.SerializeToString() == before
    assert "ai.onnxbf" not in ir_model.opset_imports


def test_a_second_conversion_changes_nothing(model: onnx.ModelProto) -> None:
    once, _ = convert(model)
    twice, report = convert(once, "fp16")
    assert twice == once
    assert report.already_converted and "recipe 'bf16'" in str(report)


def test_none_leaves_a_model_open_for_another_recipe(model: onnx.ModelProto) -> None:
    none, report = convert(model, "none")
    assert report.changes == []
    assert convert(none, "bf16")[1].changes != []


def test_portable_models_are_known_as_converted(model: onnx.ModelProto) -> None:
    once, _ = convert(model, portable=True)
    assert convert(once)[1].already_converted


def test_names_of_inputs_and_outputs_stay(model: onnx.ModelProto) -> None:
    for recipe in RECIPES.values():
        converted, _ = convert(model, recipe)
        assert [*converted.graph.input] == [*model.graph.input]
        assert [*converted.graph.output] == [*model.graph.output]


def test_selection(model: onnx.ModelProto) -> None:
    _, report = convert(model, include=["first", "second"], exclude="sec", op_types="gemm")
    assert [covered.node for covered in report.covered] == ["first"]
    assert report.warnings == []
    assert {skipped.reason for skipped in report.skipped} == {
        "named by --exclude",
        "not named by --include",
    }


def test_what_selects_nothing_is_warned_of(model: onnx.ModelProto) -> None:
    _, report = convert(model, include="encoder", exclude="third", op_types=["Conv", "MatMul"])
    assert len(report.warnings) == 2
    assert "--include 'encoder'" in report.warnings[0] and "Conv" in report.warnings[1]


def test_bad_arguments(model: onnx.ModelProto) -> None:
    with pytest.raises(SpecError, match="not a regular expression"):
        convert(model, include="(")
    with pytest.raises(NameUnknown, match="did you mean 'MatMul'"):
        convert(model, op_types=["Matmul"])
    with pytest.raises(NameUnknown, match="did you mean 'bf16'"):
        convert(model, "bf61")
    with pytest.raises(NameUnknown, match="number format"):
        convert(model, store_weights="bf17")
    with pytest.raises(ModelError, match="checker"):
        model.graph.node[0].input[0] = "nowhere"
        convert(model)


def test_the_report_is_json(model: onnx.ModelProto) -> None:
    _, report = convert(model)
    assert '"role": "inputs"' in report.to_json()
    assert report.nodes == 3 and report.operators() == {"MatMul": 2, "Sigmoid": 1}
