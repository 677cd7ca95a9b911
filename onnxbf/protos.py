"""``onnx.ModelProto`` to ``onnx_ir.Model`` and back, for every type that ONNX has.

onnx_ir knows tensors, sequences and optionals. Maps, which classifiers exported from scikit-learn
give, it refuses; their types travel as text with the value, which no pass touches.
"""

from __future__ import annotations

import base64

import onnx
import onnx_ir as ir

_KEY = "onnxbf.type"


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """An ``onnx_ir.Model``; ``proto`` stays as it is."""
    graph = proto.graph
    if not any(_holds_map(v.type) for v in (*graph.input, *graph.output, *graph.value_info)):
        return ir.from_proto(proto)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for value in (*copy.graph.input, *copy.graph.output):
        if _holds_map(value.type):
            kept = base64.b64encode(value.type.SerializeToString()).decode()
            value.metadata_props.add(key=_KEY, value=kept)
            value.ClearField("type")
    for value in tuple(copy.graph.value_info):
        if _holds_map(value.type):
            copy.graph.value_info.remove(value)  # of inner values, types are but a help
    return ir.from_proto(copy)


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The ``onnx.ModelProto`` of a model that ``from_proto`` made."""
    proto = ir.to_proto(model)
    restore_types(proto)
    return proto


def keeps_types(model: ir.Model) -> bool:
    """Whether types travel as text in this model."""
    return any(_KEY in v.metadata_props for v in (*model.graph.inputs, *model.graph.outputs))


def restore_types(proto: onnx.ModelProto) -> None:
    """Put types that travelled as text into their place."""
    for value in (*proto.graph.input, *proto.graph.output):
        for entry in tuple(value.metadata_props):
            if entry.key == _KEY:
                value.type.ParseFromString(base64.b64decode(entry.value))
                value.metadata_props.remove(entry)


def _holds_map(kind: onnx.TypeProto) -> bool:
    match kind.WhichOneof("value"):
        case "map_type":
            return True
        case "sequence_type":
            return _holds_map(kind.sequence_type.elem_type)
        case "optional_type":
            return _holds_map(kind.optional_type.elem_type)
    return False
