"""Options that sessions are made with."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from onnxbf.session import make_session


def test_threads_of_one_session_leave_the_cores_to_the_next() -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "network", [x], [y])
    opset = helper.make_opsetid("", 18)
    model: onnx.ModelProto = helper.make_model(graph, ir_version=10, opset_imports=[opset])
    options = make_session(model.SerializeToString(), threads=2).get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
