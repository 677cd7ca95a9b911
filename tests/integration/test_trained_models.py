"""What training saves: the user's own model, which computes what training evaluates."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxbf.comparison import as_tensor
from onnxbf.files import load_model
from onnxbf.graph import all_graphs
from onnxbf.protos import from_proto, to_proto
from onnxbf.session import make_session, run
from onnxbf.training.parameters import choose_parameters
from onnxbf.training.prepare import prepare
from onnxbf.training.run import Run
from onnxbf.training.settings import Settings
from onnxbf.training.trained_model import TrainedModel
from tests.integration.test_gradients import DIFFERENTIABLE, MODELS
from tests.networks import write_data, write_mlp
from tests.runtime import needs_training

pytestmark = needs_training
TOLERANCE = 1e-6  # of the largest output: ONNX Runtime fuses the two graphs in its own ways
Array = np.ndarray[Any, Any]


def statistics(model: ir.Model) -> list[str]:
    """The running statistics of batch normalization."""
    nodes = [node for node in model.graph if node.op_type == "BatchNormalization"]
    return [value.name or "" for node in nodes for value in node.inputs[3:5] if value is not None]


def changed(model: ir.Model, names: list[str]) -> dict[str, Array]:
    """Other values for these initializers, no two elements alike."""
    generator, state = np.random.default_rng(0), {}
    for name in names:
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        array = tensor.numpy()
        noise = 0.1 * generator.standard_normal(array.shape) * (np.abs(array) + 0.05)
        state[name] = np.asarray(array + noise, np.float32)
    return state


def evaluated(model: ir.Model, state: dict[str, Array], batch: dict[str, Array]) -> dict[str, Any]:
    for name, array in state.items():
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    return run(make_session(to_proto(model).SerializeToString(), threads=1), batch)


def operators(model: ir.Model) -> Counter[tuple[str, str]]:
    return Counter((node.domain, node.op_type) for graph in all_graphs(model) for node in graph)


@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "sklearn_mlp_zipmap"])
def test_the_saved_model_is_the_users_own_with_what_was_trained(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.onnx"
    data = np.load(path.with_suffix(".npz"))
    batch = {key.split("/", 1)[1]: data[key] for key in data if key.startswith("input/")}
    model = load_model(path)
    prepared = prepare(model, training=False)
    buffers = statistics(prepared.model)
    trained = choose_parameters(prepared.model, buffers=buffers).trained
    state = changed(prepared.model, [*trained, *buffers])
    kept = TrainedModel(model, [*state], prepared.origins)
    assert not kept.notes
    kept.save(state, tmp_path / "saved.onnx")
    saved = load_model(tmp_path / "saved.onnx")
    assert operators(saved) == operators(model)
    assert saved.opset_imports == model.opset_imports
    before = run(make_session(path, threads=1), batch)
    found = run(make_session(tmp_path / "saved.onnx", threads=1), batch)
    wanted = evaluated(prepared.model, state, batch)
    moved = 0.0
    for key, value in wanted.items():
        expected, got, first = (as_tensor(v) for v in (value, found[key], before[key]))
        if np.issubdtype(expected.dtype, np.floating):
            bound = TOLERANCE * float(np.abs(expected).max())
            np.testing.assert_allclose(got, expected, rtol=0, atol=bound)
            moved = max(moved, float(np.abs(first - expected).max()) / bound)
    assert moved > 1000


def exported_for_training() -> onnx.ModelProto:
    """Batch normalization and dropout in training mode, as PyTorch writes them."""
    text = """<ir_version: 10, opset_import: ["": 17]>
        net (float[4,3] x) => (float[4,3] y)
        <float[3] s = {1,2,3}, float[3] b = {0,1,0}, float[3] m = {5,6,7}, float[3] v = {4,5,6},
         float half = {0.5}, bool on = {1}> {
            [n] n, mm, vv = BatchNormalization<training_mode = 1>(x, s, b, m, v)
            [d] y, mask = Dropout(n, half, on)
        }"""
    return onnx.parser.parse_model(text)


def test_what_was_exported_for_training_is_saved_for_inference(tmp_path: Path) -> None:
    model = from_proto(exported_for_training())
    prepared = prepare(model, training=False)
    assert "training_mode" not in {key for node in prepared.model.graph for key in node.attributes}
    names = ["s", "b", "m", "v"]
    state = changed(prepared.model, names)
    TrainedModel(model, names, prepared.origins).save(state, tmp_path / "saved.onnx")
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    (found,) = run(make_session(tmp_path / "saved.onnx"), {"x": x}).values()
    scale = state["s"] / np.sqrt(state["v"] + 1e-5)
    np.testing.assert_allclose(found, (x - state["m"]) * scale + state["b"], rtol=1e-5)


def test_weights_that_a_function_shares_are_saved_written_out_and_said_to_be(
    tmp_path: Path,
) -> None:
    ones = helper.make_tensor("w", TensorProto.FLOAT, [3], [1.0, 1.0, 1.0])
    body = [
        helper.make_node("Constant", [], ["w"], value=ones),
        helper.make_node("Mul", ["a", "w"], ["c"], "first"),
        helper.make_node("Add", ["c", "w"], ["d"], "second"),
    ]
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "f", ["a"], ["d"], body, imports)
    graph = helper.make_graph(
        [helper.make_node("f", ["x"], ["y"], "call", domain="mine")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
    )
    proto = helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=10)
    model = from_proto(proto)
    prepared = prepare(model, training=False)
    names = [*choose_parameters(prepared.model).trained]
    assert len(names) == 2  # one for each node
    state = changed(prepared.model, names)
    kept = TrainedModel(model, names, prepared.origins)
    assert "written out" in kept.notes[0] and names[1] in kept.notes[0]
    kept.save(state, tmp_path / "saved.onnx")
    x = np.ones((2, 3), np.float32)
    (found,) = run(make_session(tmp_path / "saved.onnx"), {"x": x}).values()
    (wanted,) = evaluated(prepared.model, state, {"x": x}).values()
    np.testing.assert_array_equal(found, wanted)
    assert not load_model(tmp_path / "saved.onnx").functions


def test_initializers_that_are_inputs_too_are_trained_and_stay_both(tmp_path: Path) -> None:
    proto = onnx.load(write_mlp(tmp_path / "mlp.onnx"))
    for tensor in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims)
        )
    proto.ir_version = 3  # which asks for that
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", 11))
    onnx.save(proto, tmp_path / "old.onnx")
    write_data(tmp_path / "data.npz", 64, 1)
    settings = Settings(
        model=str(tmp_path / "old.onnx"), data=str(tmp_path / "data.npz"), recipe="none"
    )
    list(Run(settings, tmp_path / "run").events())
    saved = onnx.load(tmp_path / "run" / "seed-0" / "none.onnx")
    assert [v.name for v in saved.graph.input] == [v.name for v in proto.graph.input]
    for before, after in zip(proto.graph.initializer, saved.graph.initializer):
        assert before.name == after.name
        assert np.abs(numpy_helper.to_array(before) - numpy_helper.to_array(after)).max() > 1e-4
