"""Losses against closed forms in float64, their gradients against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from onnxbf.errors import ModelError, NameUnknown, SpecError
from onnxbf.passes.lower_gradients import LowerGradients
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run
from onnxbf.training.gradients import differentiate
from onnxbf.training.losses import LOSSES, attach_loss
from onnxbf.training.prepare import prepare
from tests.runtime import needs_training

Array = NDArray[Any]
_HEAD = '<ir_version: 8, opset_import: ["" : {}]>\n'


def model(shape: str, outputs: int = 1, opset: int = 17) -> ir.Model:
    """Outputs that are initializers plus zero, so that gradients by them can be had."""
    size = int(np.prod([int(part) for part in shape.split(",")]))
    names = [f"y{index}" for index in range(outputs)]
    given = ", ".join(f"float[{shape}] {name}" for name in names)
    numbers = ", ".join(["0"] * size)
    values = ", ".join(f"float[{shape}] p{name} = {{{numbers}}}" for name in names)
    nodes = "\n".join(f"{name} = Add (p{name}, zero)" for name in names)
    text = f"g (float[1] zero) => ({given}) <{values}> {{ {nodes} }}"
    return from_proto(onnx.parser.parse_model(_HEAD.format(opset) + text))


def evaluate(
    made: ir.Model, text: str, values: list[Array], labels: Array | None
) -> tuple[float, list[Array]]:
    """The loss and its gradients by the outputs."""
    prepared = prepare(made).model
    attached = attach_loss(prepared, text)
    names = [f"py{index}" for index in range(len(values))]
    gradient = differentiate(prepared, attached.loss, names)
    LowerGradients(Report("none"))(gradient)
    session = make_session(to_proto(gradient).SerializeToString(), threads=1)
    feeds: dict[str, Any] = dict(zip(names, values))
    feeds |= {"zero": np.zeros(1, np.float32), "loss_scale": np.ones((), np.float32)}
    if labels is not None:
        feeds[attached.labels[0]] = labels
    found = run(session, feeds)
    return float(found[attached.loss]), [found[f"{name}.gradient"] for name in names]


def log_softmax(x: Array) -> Array:
    top = x.max(1, keepdims=True)
    logged: Array = x - top - np.log(np.exp(x - top).sum(1, keepdims=True))
    return logged


def cross_entropy(
    smoothing: float = 0, weights: Array | None = None, ignore: int = -100, mean: bool = True
) -> Callable[[Array, Array], float]:
    """torch.nn.CrossEntropyLoss as its manual defines it, element by element."""

    def compute(x: Array, labels: Array) -> float:
        total = norm = 0.0
        classes = x.shape[1]
        w = np.ones(classes) if weights is None else weights
        for row, label in zip(log_softmax(x), labels):
            if label == ignore:
                continue
            total -= (1 - smoothing) * w[label] * row[label]
            total -= smoothing / classes * float((w * row).sum())
            norm += w[label]
        return total / norm if mean else total

    return compute


def info_nce(u: Array, v: Array) -> float:
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
    return float(-np.mean(np.diag(log_softmax(u @ v.T / 0.1))))


def sigmoid_entropy(x: Array, y: Array, positive: float = 1) -> float:
    p = 1 / (1 + np.exp(-x))
    return float(np.mean(-positive * y * np.log(p) - (1 - y) * np.log(1 - p)))


W = np.array([0.5, 1, 2, 3, 0.25])
CLASSES = {
    "cross-entropy": cross_entropy(),
    "cross-entropy{reduction=sum}": cross_entropy(mean=False),
    "cross-entropy{weights=[0.5,1,2,3,0.25]}": cross_entropy(weights=W),
    "cross-entropy{ignore_index=1}": cross_entropy(ignore=1),
    "cross-entropy{label_smoothing=0.1}": cross_entropy(0.1),
    "cross-entropy{label_smoothing=0.1,ignore_index=1}": cross_entropy(0.1, ignore=1),
    "cross-entropy{label_smoothing=0.1,weights=[0.5,1,2,3,0.25]}": cross_entropy(0.1, W),
}
ELEMENTS = {
    "mse": lambda x, y: float(np.mean((x - y) ** 2)),
    "mse{reduction=sum}": lambda x, y: float(np.sum((x - y) ** 2)),
    "l1": lambda x, y: float(np.mean(np.abs(x - y))),
    "huber{delta=0.5}": lambda x, y: float(
        np.mean(np.where(abs(x - y) < 0.5, (x - y) ** 2 / 2, 0.5 * (abs(x - y) - 0.25)))
    ),
    "bce-with-logits": sigmoid_entropy,
    "bce-with-logits{pos_weight=3}": lambda x, y: sigmoid_entropy(x, y, 3),
    "adversarial": sigmoid_entropy,
    "adversarial{form=hinge}": lambda x, y: float(np.mean(np.maximum(0, 1 - (2 * y - 1) * x))),
    "adversarial{form=least-squares}": lambda x, y: float(np.mean((x - y) ** 2)),
}
UNLABELLED = {
    "adversarial{role=generator}": lambda x: float(np.mean(np.log1p(np.exp(-x)))),
    "adversarial{role=generator,form=hinge}": lambda x: float(np.mean(-x)),
    "adversarial{role=generator,form=least-squares}": lambda x: float(np.mean((x - 1) ** 2)),
}


def check(found: tuple[float, list[Array]], compute: Callable[..., float], *values: Array) -> None:
    loss, gradients = found
    exact = [value.astype(np.float64) for value in values]
    assert loss == pytest.approx(compute(*exact), rel=1e-6)
    for position, gradient in enumerate(gradients):
        expected = np.empty(gradient.shape)
        for index in np.ndindex(gradient.shape):
            ends = []
            for sign in (1, -1):
                moved = [value.copy() for value in exact]
                moved[position][index] += sign * 1e-6
                ends.append(compute(*moved))
            expected[index] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(gradient, expected, atol=2e-6)


@needs_training
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("text", CLASSES)
def test_losses_of_classes(text: str, opset: int) -> None:
    generator = np.random.default_rng(1)
    x = 3 * generator.standard_normal((6, 5)).astype(np.float32)
    labels = generator.integers(0, 5, 6)
    found = evaluate(model("6,5", opset=opset), text, [x], labels)
    check(found, lambda logits: CLASSES[text](logits, labels), x)


@needs_training
@pytest.mark.parametrize("text", ELEMENTS)
def test_losses_of_elements(text: str) -> None:
    generator = np.random.default_rng(2)
    x = generator.standard_normal((4, 3)).astype(np.float32)
    labels = generator.integers(0, 2, (4, 3)).astype(np.float32)
    found = evaluate(model("4,3"), text, [x], labels)
    check(found, lambda values: ELEMENTS[text](values, labels.astype(np.float64)), x)


@needs_training
@pytest.mark.parametrize("text", UNLABELLED)
def test_losses_without_labels(text: str) -> None:
    x = np.random.default_rng(3).standard_normal((4, 3)).astype(np.float32)
    check(evaluate(model("4,3"), text, [x], None), UNLABELLED[text], x)


@needs_training
def test_contrast_of_two_outputs() -> None:
    u, v = np.random.default_rng(4).standard_normal((2, 4, 3)).astype(np.float32)
    found = evaluate(model("4,3", outputs=2), "info-nce{temperature=0.1}", [u, v], None)
    check(found, info_nce, u, v)
    both = evaluate(
        model("4,3", outputs=2), "info-nce{temperature=0.1,symmetric=true}", [u, v], None
    )
    check(both, lambda a, b: (info_nce(a, b) + info_nce(b, a)) / 2, u, v)


@needs_training
@pytest.mark.parametrize(
    ("shape", "labels_shape", "option", "axis"),
    [("2,3,5", (2, 3), "", 2), ("2,5,3", (2, 3), "axis=1", 1), ("2,5,3,2", (2, 3, 2), "", 1)],
)
def test_classes_along_another_axis(
    shape: str, labels_shape: tuple[int, ...], option: str, axis: int
) -> None:
    generator = np.random.default_rng(5)
    x = generator.standard_normal([int(part) for part in shape.split(",")]).astype(np.float32)
    labels = generator.integers(0, 5, labels_shape)

    def compute(values: Array) -> float:
        rows = np.moveaxis(values, axis, -1).reshape(-1, 5)
        return cross_entropy()(rows, labels.reshape(-1))

    text = f"cross-entropy{{{option}}}" if option else "cross-entropy"
    check(evaluate(model(shape), text, [x], labels), compute, x)


@needs_training
@pytest.mark.parametrize("text", ["bce-with-logits", "cross-entropy{label_smoothing=0.1}"])
def test_extreme_logits_stay_finite(text: str) -> None:
    x = np.float32([[1e4, -1e4], [-1e4, 1e4]])
    labels = np.array([1, 1]) if "cross" in text else np.float32([[0, 1], [1, 0]])
    loss, gradients = evaluate(model("2,2"), text, [x], labels)
    assert np.isfinite(loss)
    assert np.all(np.isfinite(gradients[0]))


def test_a_final_softmax_is_left_out() -> None:
    text = """g (float[2,3] x) => (float[2,3] y) { [last] y = Softmax (x) }"""
    made = from_proto(onnx.parser.parse_model(_HEAD.format(17) + text))
    attached = attach_loss(made, "cross-entropy")
    assert attached.notes == ("The loss is of the logits before Softmax node 'last'.",)
    loss = next(n for n in made.graph if n.op_type == "SoftmaxCrossEntropyLoss")
    assert loss.inputs[0] is made.graph.inputs[0]
    assert attached.predictions == ("y",)


def test_the_models_own_loss() -> None:
    text = (
        "g (float[2] x) => (float l, float[2] y) { l = ReduceSum <keepdims = 0> (x) y = Neg (x) }"
    )
    made = from_proto(onnx.parser.parse_model(_HEAD.format(17) + text))
    assert attach_loss(made, "output{name=l}").loss == "l"
    with pytest.raises(ModelError, match="2 outputs"):
        attach_loss(made, "output")
    with pytest.raises(ModelError, match="is no loss"):
        attach_loss(made, "output{name=y}")


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NameUnknown, match="did you mean 'huber'"):
        attach_loss(model("4,3"), "hubert")
    with pytest.raises(NameUnknown, match="label_smoothing"):
        attach_loss(model("4,3"), "cross-entropy{smoothing=0.1}")
    with pytest.raises(SpecError, match="2 class weights for the 3"):
        attach_loss(model("4,3"), "cross-entropy{weights=[1,2]}")
    with pytest.raises(SpecError, match="label_smoothing"):
        attach_loss(model("4,3"), "cross-entropy{label_smoothing=1}")
    with pytest.raises(ModelError, match="of 2 float32 outputs"):
        attach_loss(model("4,3"), "info-nce")
    with pytest.raises(ModelError, match="of 1 float32 outputs"):
        attach_loss(model("4,3", outputs=2), "mse")
    with pytest.raises(NameUnknown, match="output"):
        attach_loss(model("4,3"), "mse", outputs=["z"])


def test_every_loss_is_tested() -> None:
    tested = {text.split("{")[0] for text in (*CLASSES, *ELEMENTS, *UNLABELLED)}
    assert tested | {"info-nce", "output"} == set(LOSSES)
