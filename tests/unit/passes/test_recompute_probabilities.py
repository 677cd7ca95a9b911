"""Probabilities computed from logits and two numbers a row: text in, text out; the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.passes.recompute_probabilities import RecomputeProbabilities
from tests.small_models import check_same_nodes, check_same_results, rewrite_text

HEAD = '<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1, "ai.onnxbf" : 1]>\n'
STEP = """step (float[6,8] x, int64[6] labels, float dy) => (float loss, float[6,8] dx) {
   [cost] loss, p = ai.onnxbf.SoftmaxCrossEntropyLoss <reduction = "sum"> (x, labels)
   [grad] dx = ai.onnxbf.SoftmaxCrossEntropyLossGrad <reduction = "sum"> (dy, p, labels)
}"""
TWICE = STEP.replace("dx) {", "dx, float[6,8] other) {").replace(
    "\n}",
    """
   [second] other = ai.onnxbf.SoftmaxCrossEntropyLossGrad <ignore_index = 3> (dy, p, labels)
}""",
)


def _rewritten(text: str) -> tuple[onnx.ModelProto, onnx.ModelProto, bool]:
    return rewrite_text(HEAD + text, RecomputeProbabilities)


@pytest.mark.parametrize("text", [STEP, TWICE], ids=["one gradient", "two"])
def test_gradients_read_logits_and_two_numbers_a_row_to_the_same_bits(text: str) -> None:
    before, after, modified = _rewritten(text)
    assert modified
    loss, *gradients = after.graph.node
    assert [*loss.output] == ["loss", "", "cost:largest", "cost:log_of_sum"]
    for node in gradients:
        assert [*node.input] == ["dy", "x", "labels", "cost:largest", "cost:log_of_sum"]
    for node, old in zip(after.graph.node, before.graph.node, strict=True):
        assert [*node.attribute] == [*old.attribute]
    x = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32) * 9
    feeds = {"x": x, "labels": np.arange(6), "dy": np.float32(0.3).reshape(())}
    check_same_results(after, before, feeds)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dx) {", "dx, float[6,8] p) {"),
        ("\n}", "\n   q = Exp (p)\n}"),
        ("(dy, p, labels)", "(dy, x, labels)"),
        ("(dy, p, labels)", "(dy, p, labels, dy, dy)"),
        ("] loss, p = ai.onnxbf.", "] loss, p = "),
        ("dx = ai.onnxbf.", "dx = com.microsoft."),
        ("loss, p =", "loss, p, largest ="),
        ("(dy, p, labels)", "(p, p, labels)"),
    ],
)
def test_logarithms_that_others_read_are_kept(old: str, new: str) -> None:
    assert old in STEP
    before, after, modified = _rewritten(STEP.replace(old, new))
    assert not modified
    check_same_nodes(after, before)
