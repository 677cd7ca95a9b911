"""Node names: present, unique, and kept where they were unique."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.report import Report


def test_every_node_has_a_name_of_its_own() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x, bool c) => (float[2] y) {
              [same] a = Relu (x)
              [same] b = Relu (a)
              d = If (c) < then_branch = t () => (float[2] p) { [same] p = Relu (b) },
                           else_branch = e () => (float[2] q) { q = Relu (b) } >
              [Relu_1] y = Relu (d)
            }"""
        )
    )
    outputs = [value.name for node in model.graph for value in node.outputs]
    assert Canonicalize(Report("test"))(model).modified
    names = [node.name for graph in all_graphs(model) for node in graph]
    assert len({*names}) == len(names) == 6
    assert names[0] == "same" and "Relu_1" in names and all(names)
    assert [value.name for node in model.graph for value in node.outputs] == outputs
    assert not Canonicalize(Report("test"))(model).modified
