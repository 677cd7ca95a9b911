"""MaxPool and what stands around it: text in, text out; and the bits of both graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.base import GraphPass
from onnxbf.passes.fuse_elementwise import FuseElementwise
from onnxbf.passes.fuse_pooling import FusePooling
from onnxbf.passes.pool_relu_gradients import PoolReluGradients
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from tests.small_models import same_bits

HEAD = '<ir_version: 8, opset_import: ["" : 17, "ai.onnxbf" : 1]>\n'
WHOLE = """
step (float[2,3,9,11] a, float[2,3,{rows},{columns}] dy)
 => (float[2,3,9,11] da, float[2,3,{rows},{columns}] y)
<float[2,3,9,11] b, float[2,3,9,11] x, float[2,3,{rows},{columns}] g, float[2,3,9,11] dx> {{
    b = ai.onnxbf.QuantizeDequantize (a)
    x = Relu (b)
    y, at = ai.onnxbf.MaxPool <{window}> (x)
    g = ai.onnxbf.QuantizeDequantize (dy)
    dx = ai.onnxbf.MaxPoolGrad <spatial = [9, 11]> (g, at)
    da = ai.onnxbf.ReluGrad (dx, x)
}}
"""
WINDOWS = {
    "apart": ("kernel_shape = [2, 2], strides = [2, 2]", 4, 5),
    "overlapping": ("kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]", 5, 6),
}


def _rewritten(text: str, *passes: type[GraphPass]) -> onnx.ModelProto:
    model = from_proto(onnx.parser.parse_model(HEAD + text))
    for each in passes:
        if each is FuseElementwise:
            FuseElementwise(Report("none"), True)(model)
        else:
            each(Report("none"))(model)
    return to_proto(model)


def _nodes(proto: onnx.ModelProto) -> list[str]:
    for node in proto.graph.node:
        node.ClearField("name")
        del node.metadata_props[:]
    return [onnx.printer.to_text(node).strip() for node in proto.graph.node]


def _whole(window: str) -> str:
    attributes, rows, columns = WINDOWS[window]
    return WHOLE.format(window=attributes, rows=rows, columns=columns)


def test_pooling_rounds_and_masks_itself_and_gradients_are_masked_where_they_are_fewer() -> None:
    proto = _rewritten(_whole("apart"), PoolReluGradients, FuseElementwise, FusePooling)
    assert _nodes(proto) == [
        "y, at = ai.onnxbf.MaxPool <kernel_shape: ints = [2, 2], strides: ints = [2, 2], program:"
        ' string = "bf16:rne t0 x0; Relu y0 t0"> (a)',
        'g_masked = ai.onnxbf.Elementwise <program: string = "bf16:rne t0 x0; ReluGrad y0 t0 x1">'
        " (dy, y)",
        "da = ai.onnxbf.MaxPoolGrad <spatial: ints = [9, 11]> (g_masked, at)",
    ]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("passes", [[PoolReluGradients], [FuseElementwise, FusePooling], None])
def test_the_bits_stay_as_they_are(window: str, passes: list[type[GraphPass]] | None) -> None:
    """Of windows without a number above zero, or without any, too; NaN is NaN."""
    random = np.random.default_rng(0)
    shape = (2, 3, *WINDOWS[window][1:])
    feeds = {
        "a": np.round(random.normal(-1, 2, (2, 3, 9, 11))).astype(np.float32),
        "dy": random.normal(size=shape).astype(np.float32),
    }
    feeds["a"][0, 1, :5] = np.nan
    feeds["a"][0, 2, 3:] = -np.inf
    feeds["a"][1, 0, :4, ::2] = -0.0
    feeds["dy"][1, 1, 0] = [np.inf, np.nan, -0.0, -np.inf, 1e-40, 0][: shape[3]]
    plain = onnx.parser.parse_model(HEAD + _whole(window))
    wanted = run(make_session(plain.SerializeToString(), optimize=False), feeds)  # node by node
    chosen = passes or [PoolReluGradients, FuseElementwise, FusePooling]
    rewritten = _rewritten(_whole(window), *chosen)
    assert len(rewritten.graph.node) < len(plain.graph.node) or chosen == [PoolReluGradients]
    found = run(make_session(rewritten.SerializeToString()), feeds)
    assert all(same_bits(found[name], array) for name, array in wanted.items())


UNTOUCHED = {
    "what is pooled is read elsewhere": """
        step (float[1,1,4,4] a) => (float[1,1,2,2] y, float[1,1,4,4] x) {
            x = Relu (a)
            y, at = ai.onnxbf.MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        }""",
    "the mask is of another tensor": """
        step (float[1,1,4,4] a, float[1,1,4,4] b, float[1,1,2,2] dy) => (float[1,1,4,4] da) {
            y, at = ai.onnxbf.MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
            dx = ai.onnxbf.MaxPoolGrad <spatial = [4, 4]> (dy, at)
            da = ai.onnxbf.ReluGrad (dx, a)
        }""",
    "the gradient is wanted before it is masked": """
        step (float[1,1,4,4] a, float[1,1,2,2] dy) => (float[1,1,4,4] da, float[1,1,4,4] dx) {
            y, at = ai.onnxbf.MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
            dx = ai.onnxbf.MaxPoolGrad <spatial = [4, 4]> (dy, at)
            da = ai.onnxbf.ReluGrad (dx, a)
        }""",
    "pooling of ONNX Runtime's": """
        step (float[1,1,4,4] a) => (float[1,1,2,2] y, int64[1,1,2,2] at) {
            x = Relu (a)
            y, at = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
        }""",
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_left_as_it_is(name: str) -> None:
    wanted = _nodes(to_proto(from_proto(onnx.parser.parse_model(HEAD + UNTOUCHED[name]))))
    assert _nodes(_rewritten(UNTOUCHED[name], PoolReluGradients, FusePooling)) == wanted
