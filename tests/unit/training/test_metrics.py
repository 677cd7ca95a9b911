"""Metrics against their definitions, written out element by element and pair by pair."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxbf.errors import DataError, NameUnknown, SpecError
from onnxbf.training.loss_functions import CrossEntropy, Loss, Mse
from onnxbf.training.losses import LOSSES
from onnxbf.training.metrics import METRICS, Metric, parse_metric
from onnxbf.training.options import build

Array = NDArray[Any]
_INF, _NAN = math.inf, math.nan


def _metric(text: str) -> Metric:
    return build(text, METRICS, "metric")


def _measure(metric: str | Metric, output: Any, labels: Any, parts: int = 1) -> float:
    """The metric of an epoch that is cut into batches; the loss is no matter."""
    made = _metric(metric) if isinstance(metric, str) else metric
    output, labels = np.asarray(output, np.float32), np.asarray(labels)
    for scores, truth in zip(np.array_split(output, parts), np.array_split(labels, parts)):
        made.update([scores], truth, 0.0, len(scores))
    return made.result()


def _among_first(scores: list[float], label: int, k: int) -> bool:
    """By sorting the classes, as a person would; Python's sort keeps equal ones in order."""
    return label in sorted(range(len(scores)), key=lambda c: -scores[c])[:k]


def _logits(rows: int, classes: int, seed: int = 0) -> Array:
    """With ties: a few values only."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, classes)).astype(np.float32)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("k", [1, 2, 3, 7, 9])
def test_top_k_is_found_by_sorting(k: int, parts: int) -> None:
    scores = _logits(200, 7)
    labels = np.random.default_rng(1).integers(0, 7, 200)
    right = [_among_first(row.tolist(), int(label), k) for row, label in zip(scores, labels)]
    assert _measure(f"top-k{{k={k}}}", scores, labels, parts) == sum(right) / 200
    if k == 1:
        assert _measure("accuracy", scores, labels, parts) == sum(right) / 200
        assert sum(right) == np.sum(scores.argmax(1) == labels)


def test_a_network_that_predicts_all_alike_is_not_right_about_everything() -> None:
    labels = np.arange(10) % 5
    assert _measure("accuracy", np.zeros((10, 5)), labels) == 0.2
    assert _measure("top-k{k=2}", np.zeros((10, 5)), labels) == 0.4


def test_elements_with_nan_are_wrong_and_infinities_are_numbers() -> None:
    scores = [[_NAN, 1], [1, _NAN], [_INF, 1], [-_INF, 1], [_NAN, _NAN]]
    assert _measure("accuracy", scores, [0, 0, 0, 1, 0]) == 2 / 5
    assert _measure("top-k{k=2}", scores, [0, 0, 0, 1, 0]) == 2 / 5


def test_ignored_elements_do_not_count() -> None:
    scores = [[1, 0], [1, 0], [1, 0], [0, 1]]
    assert _measure("accuracy", scores, [0, -100, 1, -100]) == 0.5
    assert _measure("accuracy{ignore_index=1}", scores, [0, 1, 1, 0]) == 0.5
    assert math.isnan(_measure("accuracy", scores, [-100] * 4))
    assert math.isnan(_metric("accuracy").result())


@pytest.mark.parametrize(
    ("shape", "option", "axis"),
    [
        ((4, 5, 3), "", 2),  # (batch, length, classes)
        ((4, 3, 5), "{axis=1}", 1),
        ((4, 3, 5, 2), "", 1),  # (batch, classes, height, width)
        ((4, 5, 2, 3), "{axis=-1}", 3),
    ],
)
def test_the_axis_of_classes(shape: tuple[int, ...], option: str, axis: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.standard_normal(shape).astype(np.float32)
    labels = generator.integers(0, 3, [size for at, size in enumerate(shape) if at != axis])
    expected = np.mean(scores.argmax(axis) == labels)
    assert _measure(f"accuracy{option}", scores, labels, 2) == expected


def _pairs(scores: list[float], truth: list[int]) -> float:
    """The area under the curve, pair by pair."""
    positives = [s for s, t in zip(scores, truth) if t]
    negatives = [s for s, t in zip(scores, truth) if not t]
    won = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    return won / (len(positives) * len(negatives))


@settings(max_examples=100, deadline=None)
@given(data=st.data(), parts=st.integers(1, 5))
def test_auc_is_that_of_all_pairs(data: st.DataObject, parts: int) -> None:
    score = st.sampled_from([-_INF, -1.5, 0.0, 1e-30, 0.25, 2.0, _INF]) | st.floats(
        width=32
    ).filter(lambda x: not math.isnan(x))
    scores = data.draw(st.lists(score, min_size=5, max_size=40))
    truth = data.draw(st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores)))
    found = _measure("auc", scores, truth, parts)
    if len({*truth}) == 2:
        assert found == pytest.approx(_pairs(scores, truth), rel=1e-12)
    else:
        assert math.isnan(found)


def test_auc_of_two_outputs_is_that_of_their_difference() -> None:
    scores = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)
    truth = np.arange(60) % 3 // 2
    expected = _pairs((scores[:, 1] - scores[:, 0]).tolist(), truth.tolist())
    assert _measure("auc", scores, truth, 3) == pytest.approx(expected, rel=1e-12)
    softmax = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert _measure("auc", softmax, truth) == pytest.approx(expected, rel=1e-2)


def test_auc_where_labels_have_the_shape_of_the_output() -> None:
    scores, truth = [[1], [2], [3], [0]], np.array([[0], [1], [1], [0]], np.float32)
    assert _measure("auc", scores, truth) == 1
    assert _measure("auc", -np.array(scores), truth) == 0
    assert _measure("auc", np.zeros((4, 1)), truth) == 0.5


def test_auc_that_is_not_defined() -> None:
    assert math.isnan(_measure("auc", [1.0, _NAN], [0, 1]))
    assert math.isnan(_measure("auc", [1.0, 2.0], [1, 1]))
    assert math.isnan(_measure("auc", [[_INF, _INF], [0, 1]], [0, 1]))
    assert math.isnan(_metric("auc").result())


def test_auc_of_many_scores_is_exact() -> None:
    """The number of pairs is beyond 32 bits."""
    count = 200_000
    scores = np.arange(count, dtype=np.float32)
    truth = np.arange(count) % 2
    half = count // 2
    assert _measure("auc", scores, truth, 3) == (half * (half + 1) // 2) / half**2


def test_perplexity_is_the_inverse_of_the_geometric_mean_of_probabilities() -> None:
    """Over batches of different sizes, some of whose elements do not count."""
    probabilities = [[0.5, 0.25, 0.125], [0.1], [0.9, 0.3]]
    metric = _metric("perplexity")
    for batch in probabilities:
        loss = -sum(map(math.log, batch)) / len(batch)
        labels = np.array([1] * len(batch) + [-100])
        metric.update([np.zeros((len(labels), 2))], labels, loss, len(labels))
    metric.update([np.zeros((1, 2))], np.array([-100]), math.nan, 1)
    known = [p for batch in probabilities for p in batch]
    assert metric.result() == pytest.approx(math.prod(known) ** (-1 / len(known)), rel=1e-12)


def test_perplexity_beyond_all_numbers() -> None:
    for loss, expected in ((1e4, _INF), (_INF, _INF)):
        metric = _metric("perplexity")
        metric.update([np.zeros((1, 2))], np.array([0]), loss, 1)
        assert metric.result() == expected
    metric = _metric("perplexity")
    metric.update([np.zeros((1, 2))], np.array([0]), _NAN, 1)
    assert math.isnan(metric.result())
    assert math.isnan(_metric("perplexity").result())


@pytest.mark.parametrize("parts", [1, 3])
def test_differences(parts: int) -> None:
    generator = np.random.default_rng(0)
    output = generator.standard_normal((7, 2, 3)).astype(np.float32)
    labels = generator.standard_normal((7, 2, 3)).astype(np.float32)
    differences = [float(o) - float(t) for o, t in zip(output.ravel(), labels.ravel())]
    squares = [d * d for d in differences]
    assert _measure("mse", output, labels, parts) == pytest.approx(sum(squares) / 42, rel=1e-14)
    expected = sum(map(abs, differences)) / 42
    assert _measure("mae", output, labels, parts) == pytest.approx(expected, rel=1e-14)
    errors = [sum(squares[at : at + 6]) / 6 for at in range(0, 42, 6)]
    expected = sum(10 * math.log10(4 / error) for error in errors) / 7
    assert _measure("psnr{peak=2}", output, labels, parts) == pytest.approx(expected, rel=1e-13)


def test_differences_are_those_of_float64() -> None:
    assert _measure("mse", [3e38], np.float32([-3e38])) == pytest.approx(3.6e77)


def test_psnr_of_an_error_of_a_tenth_is_twenty_decibels() -> None:
    labels = np.float32([[0.5, 0.25], [0, 0.75]])
    assert _measure("psnr", labels + np.float32(0.1), labels) == pytest.approx(20, abs=1e-5)
    assert _measure("psnr", labels, labels) == _INF


@pytest.mark.parametrize("name", ["mse", "mae", "psnr"])
def test_nan_stays(name: str) -> None:
    assert math.isnan(_measure(name, [[1.0], [_NAN]], np.float32([[1], [1]])))
    assert math.isnan(_metric(name).result())


@pytest.mark.parametrize(
    ("text", "output", "labels", "message"),
    [
        (
            "accuracy",
            [[1, 2]],
            [2],
            "Label 2 of row 0 of the batch is out of range: expected 0 to 1",
        ),
        ("accuracy", [[1, 2]], [[0]], r"Labels of shape \(1, 1\) are no classes"),
        ("accuracy", [1, 2], [0, 1], "have no axis 1 of classes"),
        ("auc", [[1, 2, 3]], [0], "of two classes, but there are 3"),
        ("auc", [1.0, 2.0], [0, 2], "of labels 0 and 1"),
        ("mse", [[1], [2]], [1, 2], "compares them element by element"),
        ("psnr", [[1], [2]], [1, 2], "compares them element by element"),
    ],
)
def test_what_metrics_are_not_defined_for(
    text: str, output: Any, labels: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _measure(text, output, labels)


@pytest.mark.parametrize("name", sorted(METRICS.keys() - {"retrieval"}))
def test_labels_and_one_output_are_needed(name: str) -> None:
    output = np.zeros((2, 2), np.float32)
    with pytest.raises(DataError, match="needs labels"):
        _metric(name).update([output], None, 0.0, 2)
    if name != "perplexity":
        with pytest.raises(DataError, match="of one output, but the loss is of 2"):
            _metric(name).update([output, output], np.zeros(2, np.int64), 0.0, 2)


def test_metrics_say_which_is_better() -> None:
    better = {name: _metric(name).better for name in METRICS}
    lower = {"mae", "mse", "perplexity", "confidence-deviation", "class-confidence-deviation"}
    assert better == {name: "lower" if name in lower else "higher" for name in METRICS}


def test_what_the_text_leaves_open_is_as_the_loss_has_it() -> None:
    loss = CrossEntropy(ignore_index=7, axis=1)
    assert parse_metric("accuracy", loss) == _metric("accuracy{ignore_index=7,axis=1}")
    assert parse_metric("accuracy{axis=2}", loss) == _metric("accuracy{ignore_index=7,axis=2}")
    assert parse_metric("top-k{k=2}", loss) == _metric("top-k{k=2,ignore_index=7,axis=1}")
    assert parse_metric("perplexity", loss) == _metric("perplexity{ignore_index=7}")
    assert parse_metric("mse", Mse()) == _metric("mse")
    assert parse_metric("accuracy", loss) is not parse_metric("accuracy", loss)


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "output",
        "cross-entropy{label_smoothing=0.1}",
        "cross-entropy{reduction=sum}",
        "cross-entropy{weights=[1,2]}",
    ],
)
def test_perplexity_needs_the_mean_cross_entropy(loss: str) -> None:
    made: Loss = build(loss, LOSSES, "loss")
    with pytest.raises(SpecError, match="perplexity needs the loss cross-entropy"):
        parse_metric("perplexity", made)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("accurracy", NameUnknown, "did you mean 'accuracy'"),
        (
            "accuracy{k=2}",
            NameUnknown,
            "Metric 'accuracy' has no option 'k': known: axis, ignore_index",
        ),
        ("top-k{k=0}", SpecError, "k must be at least 1"),
        ("psnr{peak=0}", SpecError, "peak must be above 0"),
        ("psnr{peak=nan}", SpecError, "peak must be above 0"),
        ("auc{_scores=1}", NameUnknown, "Metric 'auc' has no option '_scores'"),
    ],
)
def test_texts_that_name_no_metric(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_metric(text, CrossEntropy())


def test_retrieval_is_by_cosine_within_a_batch() -> None:
    metric = _metric("retrieval")
    first = np.array([[1, 0], [0, 2], [3, 3], [0, 0], [_NAN, 1]], np.float32)
    second = np.array([[9, 1], [0.1, 1], [-1, -1], [1, 1], [1, 1]], np.float32)
    metric.update([first, second], None, 0.0, 5)
    assert metric.result() == 2 / 5
    metric.update([first[:1], second[2:3]], None, 0.0, 1)  # alone in a batch: found
    assert metric.result() == 3 / 6
    assert math.isnan(_metric("retrieval").result())
    for outputs in ([first], [first, second[:, :1]], [first[0], second[0]]):
        with pytest.raises(DataError, match="two outputs"):
            metric.update(outputs, None, 0.0, 5)


def _softmax(scores: list[float]) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


@settings(max_examples=50)
@given(data=st.data(), parts=st.integers(1, 4))
def test_confidences_are_those_of_the_softmax(data: st.DataObject, parts: int) -> None:
    classes = data.draw(st.integers(2, 4))
    row = st.lists(st.integers(-8, 8), min_size=classes, max_size=classes, unique=True)
    scores = data.draw(st.lists(row, min_size=4, max_size=12)) if classes > 0 else []
    labels = [data.draw(st.integers(0, classes - 1)) for _ in scores]
    right = [
        (max(_softmax(row)), label)
        for row, label in zip(scores, labels)
        if row.index(max(row)) == label
    ]
    sure = [confidence for confidence, _ in right]
    by_class = [[c for c, label in right if label == k] for k in range(classes)]
    means = [float(np.mean(each)) if each else 0.0 for each in by_class]
    expected = {
        "confidence": np.mean(sure) if sure else _NAN,
        "confidence-deviation": np.std(sure) if sure else _NAN,
        "class-confidence-deviation": np.std(means),
    }
    for name, value in expected.items():
        assert _measure(name, scores, labels, parts) == pytest.approx(value, nan_ok=True), name


def test_confidence_of_what_is_ignored_and_of_nan() -> None:
    scores = [[0.0, 100.0], [_NAN, 1.0], [0.0, 3.0]]
    assert _measure("confidence", scores, [1, 1, -100]) == 1.0
    assert math.isnan(_measure("confidence", scores[1:], [1, -100]))
