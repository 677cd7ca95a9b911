"""inspect's data: every node is counted once, and the model is not touched."""

from __future__ import annotations

import json

import onnx
import onnx_ir as ir

from onnxbf.passes.pipeline import convert
from onnxbf.passes.survey import survey
from onnxbf.recipe import load_recipe

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,2] x) => (float[2,2] y) <float[2,2] w = {1,2,3,4}> {
  a = MatMul (x, w)
  b = Relu (a)
  c = MatMul (b, w)
  y = Hardmax (c)
}"""


def test_rows_add_up() -> None:
    proto = onnx.parser.parse_model(_TEXT)
    model = ir.from_proto(proto)
    found = survey(model, load_recipe("bf16"))
    assert {row.op_type: (row.kind, row.nodes, row.covered) for row in found.rows} == {
        "MatMul": ("gemm", 2, 2),
        "Relu": ("selection", 1, 1),
        "Hardmax": ("other", 1, 0),
    }
    assert sum(sum(row.reasons.values()) + row.covered for row in found.rows) == 4
    assert found.parameters == 4 and found.opset == 17
    assert json.loads(json.dumps(found.as_dict()))["operators"][0]["class"] == "gemm"
    assert ir.to_proto(model) == ir.to_proto(ir.from_proto(proto))


def test_nodes_under_an_arithmetic_are_named_before_and_after() -> None:
    proto = onnx.parser.parse_model(_TEXT)
    for number, node in enumerate(proto.graph.node):
        node.name = f"n{number}"
    recipe = load_recipe("bf16-accumulate")
    wanted = {"MatMul": {"sequential{format=bf16,rounding=rne}": ["n0", "n2"]}}
    model = ir.from_proto(proto)
    assert not any(row.arithmetics for row in survey(model, load_recipe("bf16")).rows)
    for found in (survey(model, recipe), survey(convert(model, recipe)[0], recipe)):
        listed = found.as_dict()["operators"]
        assert {row["op_type"]: row["arithmetic"] for row in listed if row["arithmetic"]} == wanted
