"""Portable form: standard ONNX alone, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxbf.errors import UnsupportedError
from onnxbf.passes.pipeline import convert

_TEXT = """<ir_version: 8, opset_import: ["" : {opset}]>
g (float[2,2] x) => (float[2,2] y) {{ [product] y = MatMul (x, x) }}"""


def _convert(cast: str, opset: int, folder: Path) -> onnx.ModelProto:
    recipe = folder / "r.toml"
    recipe.write_text(f"[[rules]]\nops = ['gemm']\ninputs = '{cast}'\n", encoding="utf-8")
    model = onnx.parser.parse_model(_TEXT.format(opset=opset))
    converted, _ = convert(model, recipe, portable=True)
    onnx.checker.check_model(converted, full_check=True)
    return converted


@pytest.mark.parametrize(
    ("cast", "opset", "saturate"),
    [
        ("bf16", 13, None),
        ("fp16", 9, None),
        ("e4m3fn", 19, 0),
        ("e5m2{overflow=saturate}", 21, None),
    ],
)
def test_standard_operators_alone(
    cast: str, opset: int, saturate: int | None, tmp_path: Path
) -> None:
    model = _convert(cast, opset, tmp_path)
    assert {node.domain for node in model.graph.node} == {""}
    assert [entry.domain for entry in model.opset_import] == [""]
    there, back = (node for node in model.graph.node if node.op_type == "Cast")
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in there.attribute}
    assert attributes.get("saturate") == saturate
    assert back.attribute[0].i == onnx.TensorProto.FLOAT


@pytest.mark.parametrize(
    ("cast", "opset", "why"),
    [
        ("bf16:rtz", 17, "rounds to nearest even"),
        ("bf16:sr", 17, "rounds to nearest even"),
        ("bf16{subnormals=flush}", 17, "keeps subnormals"),
        ("bf16{overflow=saturate}", 17, "saturates to float8 alone"),
        ("tf32", 17, "no tensor type for tf32"),
        ("e4m3fn", 17, "needs opset 19, the model has 17"),
        ("bf16", 11, "needs opset 13, the model has 11"),
    ],
)
def test_refusals(cast: str, opset: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=why) as error:
        _convert(cast, opset, tmp_path)
    assert "x_" in str(error.value)
