"""Element types, judged by ONNX's own shape inference on its own test models."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.loader import load_model_tests

from onnxbf.passes.infer_types import InferTypes
from onnxbf.report import Report


def _types(model: onnx.ModelProto) -> dict[str, int]:
    values = [*model.graph.value_info, *model.graph.output]
    return {
        value.name: value.type.tensor_type.elem_type
        for value in values
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type
    }


def test_agrees_with_onnx_on_its_own_models() -> None:
    seen = 0
    for case in load_model_tests(kind="node"):
        if case.model is None and case.model_dir is None:
            continue
        proto = onnx.ModelProto()  # ONNX hands the same models to every test of a run
        proto.CopyFrom(case.model or onnx.load(f"{case.model_dir}/model.onnx"))
        expected = _types(onnx.shape_inference.infer_shapes(proto))
        for value in proto.graph.output:  # judge what the pass finds, not what the file says
            value.type.Clear()
        del proto.graph.value_info[:]
        model = ir.from_proto(proto)
        InferTypes(Report("test"))(model)
        for node in model.graph:
            for value in node.outputs:
                if value.dtype is not None and value.name in expected:
                    assert value.dtype == expected[value.name], (case.name, value.name)
                    seen += 1
    assert seen > 1000


_TEXT = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
main (float[2] x, double[2] d) => (float[2] y, double[2] z) {{
  y = local.twice (x)
  z = local.twice ({other})
}}
<domain: "local", opset_import: ["" : 17]>
twice (a) => (b) {{ b = Add (a, a) }}
"""


@pytest.mark.parametrize(("other", "inner"), [("x", ir.DataType.FLOAT), ("d", None)])
def test_a_function_has_types_where_all_calls_agree(other: str, inner: ir.DataType | None) -> None:
    text = _TEXT.format(other=other)
    model = ir.from_proto(onnx.parser.parse_model(text))
    InferTypes(Report("test"))(model)
    (function,) = model.functions.values()
    assert function.inputs[0].dtype is inner
    assert function.outputs[0].dtype is inner


def test_bodies_of_loops_and_scans_take_types_from_outside() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x, int64 n, bool c) => (float[2] y) {
              y = Loop (n, c, x) < body = b (int64 i, bool k, s) => (bool ko, t) {
                ko = Identity (k)  t = Add (s, s) } >
            }"""
        )
    )
    InferTypes(Report("test"))(model)
    body = model.graph[0].attributes["body"].as_graph()
    assert body.outputs[1].dtype is ir.DataType.FLOAT
