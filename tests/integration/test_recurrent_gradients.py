"""Gradients of recurrent nodes in every form, and of loops, against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_ir.passes.common import ShapeInferencePass

from onnxbf.passes.canonicalize import Canonicalize
from onnxbf.passes.unroll_recurrent import UnrollRecurrent
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.training.prepare import prepare
from tests.gradient_check import check, with_loss
from tests.runtime import needs_training

pytestmark = needs_training
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
LENGTH, BATCH, WIDTH, HIDDEN = 3, 2, 4, 3


def recurrent(op_type: str, peepholes: bool = False, **attributes: Any) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    rows = GATES[op_type] * HIDDEN
    shapes = {"x": (LENGTH, BATCH, WIDTH), "w": (1, rows, WIDTH), "r": (1, rows, HIDDEN)}
    shapes |= {"b": (1, 2 * rows)} | ({"p": (1, 3 * HIDDEN)} if peepholes else {})
    arrays = {k: generator.standard_normal(v).astype(np.float32) for k, v in shapes.items()}
    inputs = ["x", "w", "r", "b", *(["", "", "", "p"] if peepholes else [])]
    node = helper.make_node(op_type, inputs, ["y"], "cell", hidden_size=HIDDEN, **attributes)
    return with_loss([node], arrays)


@pytest.mark.parametrize(
    ("op_type", "options"),
    [
        ("RNN", {}),
        ("RNN", {"clip": 0.75}),
        ("RNN", {"activations": ["ThresholdedRelu"]}),
        ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [0.5]}),
        ("GRU", {"activations": ["HardSigmoid", "Softsign"]}),
        ("GRU", {"clip": 0.75, "linear_before_reset": 1}),
        ("LSTM", {"peepholes": True}),
        ("LSTM", {"clip": 0.75, "input_forget": 1}),
        ("LSTM", {"activations": ["HardSigmoid", "Elu", "Softplus"]}),
    ],
)
def test_every_form_of_a_recurrent_node_is_differentiated(
    op_type: str, options: dict[str, Any]
) -> None:
    model = recurrent(op_type, **options)
    forward = from_proto(model)  # unrolled, as other tests hold against ONNX Runtime's kernels
    ShapeInferencePass()(forward)
    Canonicalize(Report("none"))(forward)
    UnrollRecurrent(Report("none"))(forward)
    parameters = [tensor.name for tensor in model.graph.initializer]
    check(model, parameters, reference=to_proto(forward), tolerance=3e-5)


LOOP = """<ir_version: 10, opset_import: ["": 17]>
    net () => (float[2,3] y, float loss)
    <int64 most = {3}, bool yes = {1}, float[2,4] x = {1,2,3,4,-1,-2,0.5,1},
     float[4,3] w = {0.1,0.2,0.3,0.4,0.5,-0.6,0.7,-0.8,0.9,1,-1.1,0.3},
     float[2,3] s0 = {0,0,0,0,0,0}> {
        y, every = Loop (most, yes, s0) <body = b
            (int64 i, bool going, float[2,3] s) => (bool on, float[2,3] t, float[2,3] out)
            <float[3,3] r = {0.5,0.1,-0.2,0.3,-0.4,0.2,0.1,0.6,-0.1}> {
                on = Identity (going)
                p = MatMul (s, r)
                q = MatMul (x, w)
                a = Add (p, q)
                t = Tanh (a)
                out = Mul (t, s)
            }>
        z = ReduceSum <keepdims = 0> (every)
        sin = Sin (y)
        v = ReduceSum <keepdims = 0> (sin)
        loss = Add (z, v)
    }"""


def test_a_loop_is_differentiated_through_its_states_and_its_stacked_values() -> None:
    model = onnx.parser.parse_model(LOOP)
    prepared = prepare(from_proto(model)).model
    assert "r" in prepared.graph.initializers
    found = check(model, ["x", "w"])
    assert np.abs(found["w.gradient"]).min() > 0
