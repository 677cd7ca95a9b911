"""ONNX models of a few nodes, for tests of the custom operators and of sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from onnxbf.custom_ops.attributes import cast_attributes
from onnxbf.custom_ops.reference import Evaluator
from onnxbf.custom_ops.registry import DOMAIN, VERSION
from onnxbf.formats import Cast
from onnxbf.passes.base import GraphPass
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from tests.implementations import Floats, same_bits

OPSET, IR_VERSION = 21, 10  # what the oldest of the supported runtimes takes
Shape = Sequence[int | str | None] | None


def value(name: str, kind: int = TensorProto.FLOAT, shape: Shape = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def floats(*shape: int) -> Floats:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def attributes_of(each: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name; texts are decoded."""
    found = {a.name: helper.get_attribute_value(a) for a in each.attribute}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in found.items()}


def to_text(model: ir.Model) -> str:
    """The ONNX text of a valid graph, without the types and the metadata that passes leave."""
    proto = to_proto(model)
    onnx.checker.check_model(proto)
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        del node.metadata_props[:]
    return str(onnx.printer.to_text(proto)).strip()


def ours(
    op_type: str, inputs: Sequence[str], output: str, cast: Cast | None = None, **attributes: Any
) -> onnx.NodeProto:
    """A node of our domain, named after its output."""
    if cast is not None:
        random = {key: attributes.pop(key) for key in ("seed", "node") if key in attributes}
        attributes |= cast_attributes(cast, **random)
    return helper.make_node(
        op_type, inputs, [output], domain=DOMAIN, name=f"make_{output}", **attributes
    )


def node(op_type: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, [output], name=f"make_{output}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    *,
    values: Sequence[onnx.ValueInfoProto] = (),
    weights: dict[str, np.ndarray] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
    opsets: dict[str, int] | None = None,
    ir_version: int = IR_VERSION,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(
        nodes, "test", inputs, outputs, initializer=tensors, value_info=values
    )
    imports = {"": OPSET, DOMAIN: VERSION, **{f.domain: 1 for f in functions}, **(opsets or {})}
    return helper.make_model(
        graph,
        ir_version=ir_version,
        opset_imports=opset_imports(imports),
        functions=functions,
    )


def opset_imports(versions: dict[str, int]) -> list[onnx.OperatorSetIdProto]:
    return [helper.make_opsetid(domain, version) for domain, version in versions.items()]


def rewrite_text(
    text: str, make_pass: Callable[[Report], GraphPass]
) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    """A model in ONNX's text, what a pass makes of it, and whether that says it changed it."""
    before = onnx.parser.parse_model(text)
    rewritten = from_proto(before)
    modified = make_pass(Report("none"))(rewritten).modified
    after = to_proto(rewritten)
    onnx.checker.check_model(after)
    return before, after, modified


def check_same_results(
    found: onnx.ModelProto, wanted: onnx.ModelProto, feeds: Mapping[str, Any]
) -> None:
    """Both give the same bits."""
    results, expected = (
        run(make_session(proto.SerializeToString()), feeds) for proto in (found, wanted)
    )
    assert results.keys() == expected.keys()
    assert all(same_bits(results[name], expected[name]) for name in expected)


def check_same_nodes(found: onnx.ModelProto, wanted: onnx.ModelProto) -> None:
    """Both have the same nodes, whatever values are said to be."""
    for node, other in zip(found.graph.node, wanted.graph.node, strict=True):
        assert [*node.input] == [*other.input]
        assert [*node.output] == [*other.output]
        assert [*node.attribute] == [*other.attribute]


def check_in_both(
    proto: onnx.ModelProto, feeds: dict[str, np.ndarray], **options: Any
) -> dict[str, np.ndarray]:
    """Run in ONNX Runtime and in the reference evaluator: the outputs must be the same bits.

    Twice in one session: an input or a weight that was written to shows the second time.
    """
    session = make_session(proto.SerializeToString(), **options)
    wanted = Evaluator(proto).run(None, feeds)
    for _ in range(2):
        given = {name: array.copy() for name, array in feeds.items()}
        got = run(session, given)
        for (name, array), expected in zip(got.items(), wanted, strict=True):
            assert array.shape == expected.shape, name
            assert same_bits(array, expected), name
        assert all(array.tobytes() == feeds[name].tobytes() for name, array in given.items())
    return got
