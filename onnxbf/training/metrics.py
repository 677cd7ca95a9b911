"""Every metric by name, and how one is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from onnxbf.errors import SpecError
from onnxbf.spec import parse_spec
from onnxbf.training.class_metrics import Accuracy, Auc, Perplexity, TopK
from onnxbf.training.confidence_metrics import (
    ClassConfidenceDeviation,
    Confidence,
    ConfidenceDeviation,
)
from onnxbf.training.loss_functions import CrossEntropy, Loss
from onnxbf.training.losses import Output
from onnxbf.training.metric import Metric
from onnxbf.training.options import build
from onnxbf.training.retrieval_metric import Retrieval
from onnxbf.training.value_metrics import Mae, Mse, Psnr

__all__ = ["METRICS", "Metric", "parse_metric"]

METRICS: Mapping[str, Callable[..., Metric]] = {
    "accuracy": Accuracy,
    "auc": Auc,
    "class-confidence-deviation": ClassConfidenceDeviation,
    "confidence": Confidence,
    "confidence-deviation": ConfidenceDeviation,
    "mae": Mae,
    "mse": Mse,
    "perplexity": Perplexity,
    "psnr": Psnr,
    "retrieval": Retrieval,
    "top-k": TopK,
}


def parse_metric(text: str, loss: Loss | Output) -> Metric:
    """Read a metric such as ``top-k{k=3}``; what its text leaves open is as the loss has it.

    Raises:
        NameUnknown, SpecError: see ``build``; or a metric that cannot be had from this loss.
    """
    made = build(text, METRICS, "metric")
    told = parse_spec(text).options
    own = {option.name for option in fields(made) if option.init} - told.keys()
    made = replace(made, **{o: getattr(loss, o) for o in own if hasattr(loss, o)})
    if isinstance(made, Perplexity) and not _is_plain(loss):
        raise SpecError(
            "perplexity needs the loss cross-entropy with reduction=mean, without weights and "
            "label_smoothing."
        )
    return made


def _is_plain(loss: Loss | Output) -> bool:
    return isinstance(loss, CrossEntropy) and loss == CrossEntropy(
        axis=loss.axis, ignore_index=loss.ignore_index
    )
