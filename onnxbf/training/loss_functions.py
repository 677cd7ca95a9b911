"""The losses: each a frozen dataclass whose fields are its options, and the nodes that it emits.

All of them are written with operators that ONNX Runtime differentiates, in the stable form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.errors import ModelError, SpecError

Values = Sequence[ir.Value]

_FLOAT, _INT64 = ir.DataType.FLOAT, ir.DataType.INT64


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What all losses share.

    Args:
        reduction: ``mean`` or ``sum`` over the elements of the batch.
    """

    arity: ClassVar[int] = 1  # how many outputs of the model it is of
    reduction: str = "mean"

    def __post_init__(self) -> None:
        check_choice("reduction", self.reduction, ("mean", "sum"))

    @property
    def label_type(self) -> ir.DataType | None:
        """The element type of the labels; None: it has none."""
        return _FLOAT

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        """Add the nodes; returns the scalar loss."""
        raise NotImplementedError

    def label_shape(self, output: ir.Value) -> ir.Shape | None:
        """The shape of the labels for an output."""
        return output.shape

    def reduce(self, b: Builder, losses: ir.Value) -> ir.Value:
        reduced: ir.Value = b.node(f"Reduce{self.reduction.title()}", [losses], keepdims=0)
        return reduced


def check_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """SpecError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise SpecError(f"Option {option!r} must be one of {', '.join(choices)}, not {value!r}.")


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Softmax cross entropy of logits and class indices, as torch.nn.CrossEntropyLoss defines it.

    Args:
        weights: a weight for each class; the mean is then the weighted one.
        ignore_index: elements with this label do not count.
        label_smoothing: the share of each label that is spread over all classes.
        axis: of the classes; by default the second, but the last of (batch, length, classes).
    """

    weights: tuple[float, ...] = ()
    ignore_index: int = -100
    label_smoothing: float = 0.0
    axis: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise SpecError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}.")

    @property
    def label_type(self) -> ir.DataType | None:
        return _INT64

    def label_shape(self, output: ir.Value) -> ir.Shape | None:
        if output.shape is None:
            return None
        axis = self.class_axis(output)
        return ir.Shape(size for index, size in enumerate(output.shape) if index != axis)

    def class_axis(self, logits: ir.Value) -> int:
        if logits.shape is None or len(logits.shape) < 2:
            found = "unknown" if logits.shape is None else f"{logits.shape}"
            raise ModelError(
                "Cross entropy needs an output of shape (batch, classes, ...); the shape of "
                f"{logits.name!r} is {found}."
            )
        rank = len(logits.shape)
        if self.axis is None:
            return 2 if rank == 3 else 1
        if not -rank <= self.axis < rank:
            raise SpecError(f"axis {self.axis} is out of range for output {logits.name!r}.")
        return self.axis % rank

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        assert labels is not None
        (logits,) = outputs
        classes = self.classes(logits)
        logits, labels = self.as_rows(b, logits, labels, classes)
        if self.label_smoothing:
            return self.smoothed(b, logits, labels, classes)
        weights = [b.constant(self.weights)] if self.weights else []
        loss: ir.Value = b.node(
            "SoftmaxCrossEntropyLoss",
            [logits, labels, *weights],
            outputs=2,  # ONNX Runtime's gradient reads both
            reduction=self.reduction,
            ignore_index=self.ignore_index,
        )[0]
        return loss

    def classes(self, logits: ir.Value) -> int:
        axis = self.class_axis(logits)
        size = None if logits.shape is None else logits.shape[axis]
        if not isinstance(size, int):
            raise ModelError(f"The number of classes of output {logits.name!r} must be fixed.")
        if self.weights and len(self.weights) != size:
            raise SpecError(f"{len(self.weights)} class weights for the {size} of {logits.name!r}.")
        return size

    def as_rows(
        self, b: Builder, logits: ir.Value, labels: ir.Value, classes: int
    ) -> tuple[ir.Value, ir.Value]:
        """Logits as (elements, classes), labels as (elements,)."""
        assert logits.shape is not None
        rank, axis = len(logits.shape), self.class_axis(logits)
        if rank == 2 and axis == 1:
            return logits, labels
        if axis != rank - 1:
            order = [index for index in range(rank) if index != axis]
            logits = b.Transpose(logits, perm=[*order, axis])
        rows = b.Reshape(logits, b.integers(-1, classes))
        return rows, b.Reshape(labels, b.integers(-1))

    def smoothed(self, b: Builder, logits: ir.Value, labels: ir.Value, classes: int) -> ir.Value:
        """A share of the labels goes to all classes alike (Szegedy et al., 2016, section 7)."""
        log_probabilities = b.LogSoftmax(logits, axis=1)
        ignored = b.Equal(labels, b.constant(self.ignore_index, _INT64))
        safe = b.Where(ignored, b.constant(0, _INT64), labels)
        counts = b.Where(ignored, b.constant(0.0), b.constant(1.0))
        spread = log_probabilities
        if self.weights:
            weights = b.constant(self.weights)
            counts = b.Mul(counts, b.Gather(weights, safe))
            spread = b.Mul(spread, weights)
            valid = b.Where(ignored, b.constant(0.0), b.constant(1.0))
        else:
            valid = counts
        picked = b.GatherElements(log_probabilities, b.Unsqueeze(safe, b.integers(1)), axis=1)
        on_label = b.Mul(b.Squeeze(picked, b.integers(1)), counts)
        on_all = b.Mul(b.ReduceSum(spread, b.integers(1), keepdims=0), valid)
        share = b.constant(self.label_smoothing / classes)
        total = b.Add(
            b.Mul(b.ReduceSum(on_label, keepdims=0), b.constant(1 - self.label_smoothing)),
            b.Mul(b.ReduceSum(on_all, keepdims=0), share),
        )
        loss: ir.Value = b.Neg(total)
        return b.Div(loss, b.ReduceSum(counts, keepdims=0)) if self.reduction == "mean" else loss


@dataclass(frozen=True, kw_only=True)
class Mse(Loss):
    """The squared difference."""

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        difference = b.Sub(outputs[0], labels)
        return self.reduce(b, b.Mul(difference, difference))


@dataclass(frozen=True, kw_only=True)
class L1(Loss):
    """The absolute difference."""

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        return self.reduce(b, b.Abs(b.Sub(outputs[0], labels)))


@dataclass(frozen=True, kw_only=True)
class Huber(Loss):
    """Half the square up to ``delta``, linear beyond (Huber, 1964).

    With a = min(|x|, delta) that is a (|x| - a/2).
    """

    delta: float = 1.0

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        size = b.Abs(b.Sub(outputs[0], labels))
        near = b.Min(size, b.constant(self.delta))
        return self.reduce(b, b.Mul(near, b.Sub(size, b.Mul(near, b.constant(0.5)))))


def softplus(b: Builder, x: ir.Value) -> ir.Value:
    """log(1 + exp(x)) without overflow: max(x, 0) + log(1 + exp(-|x|))."""
    tail = b.Log(b.Add(b.Exp(b.Neg(b.Abs(x))), b.constant(1.0)))
    total: ir.Value = b.Add(b.Relu(x), tail)
    return total


@dataclass(frozen=True, kw_only=True)
class BceWithLogits(Loss):
    """Binary cross entropy of logits and labels between 0 and 1.

    Args:
        pos_weight: how much a positive label counts.
    """

    pos_weight: float = 1.0

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        (logits,) = outputs
        negative = b.Mul(b.Sub(b.constant(1.0), labels), softplus(b, logits))
        positive = b.Mul(labels, softplus(b, b.Neg(logits)))
        if self.pos_weight != 1:
            positive = b.Mul(positive, b.constant(self.pos_weight))
        return self.reduce(b, b.Add(negative, positive))


@dataclass(frozen=True, kw_only=True)
class InfoNce(Loss):
    """Contrast of two encoders' outputs: each row of the first belongs to that of the second.

    The mean over i of -log softmax_j(u_i v_j / temperature)_i (van den Oord et al., 2018).

    Args:
        normalize: whether rows are brought to length 1.
        symmetric: whether the mean with both sides exchanged is taken.
    """

    arity: ClassVar[int] = 2
    temperature: float = 0.5
    normalize: bool = True
    symmetric: bool = False

    @property
    def label_type(self) -> ir.DataType | None:
        return None

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        check_rows(*outputs)
        u, v = (self.rows(b, value) for value in outputs)
        product = b.MatMul(u, b.Transpose(v, perm=[1, 0]))
        logits = b.Mul(product, b.constant(1 / self.temperature))
        diagonal = b.EyeLike(product, dtype=int(_FLOAT))
        losses = [self.rows_loss(b, logits, diagonal)]
        if self.symmetric:
            losses.append(self.rows_loss(b, b.Transpose(logits, perm=[1, 0]), diagonal))
        both = losses[0] if len(losses) == 1 else b.Add(*losses)
        return b.Mul(both, b.constant(1 / len(losses))) if self.symmetric else both

    def rows(self, b: Builder, value: ir.Value) -> ir.Value:
        if not self.normalize:
            return value
        square = b.ReduceSum(b.Mul(value, value), b.integers(1), keepdims=1)
        scaled: ir.Value = b.Div(value, b.Sqrt(b.Add(square, b.constant(1e-12))))
        return scaled

    def rows_loss(self, b: Builder, logits: ir.Value, diagonal: ir.Value) -> ir.Value:
        picked = b.Mul(b.LogSoftmax(logits, axis=1), diagonal)
        return self.reduce(b, b.Neg(b.ReduceSum(picked, b.integers(1), keepdims=0)))


def check_rows(first: ir.Value, second: ir.Value) -> None:
    """ModelError unless both could be of one shape (batch, features)."""
    known = [value.shape for value in (first, second) if value.shape is not None]
    flat = all(len(shape) == 2 for shape in known)
    sizes = zip(*([size if isinstance(size, int) else None for size in s] for s in known))
    if flat and (len(known) < 2 or all(None in pair or pair[0] == pair[1] for pair in sizes)):
        return
    raise ModelError(
        "Contrast needs two outputs of one shape (batch, features); "
        + " and ".join(f"{value.name!r} is of shape {value.shape}" for value in (first, second))
        + "."
    )


@dataclass(frozen=True, kw_only=True)
class Adversarial(Loss):
    """The game of a generator and a discriminator (Goodfellow et al., 2014).

    Args:
        role: ``discriminator``, whose labels are 1 for what is real and 0 for what is generated;
            or ``generator``, which wants all of its samples to be taken for real.
        form: ``logistic`` (for the generator the one that does not saturate), ``hinge``, or
            ``least-squares``.
    """

    role: str = "discriminator"
    form: str = "logistic"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("role", self.role, ("discriminator", "generator"))
        check_choice("form", self.form, ("logistic", "hinge", "least-squares"))

    @property
    def label_type(self) -> ir.DataType | None:
        return None if self.role == "generator" else _FLOAT

    def emit(self, b: Builder, outputs: Values, labels: ir.Value | None) -> ir.Value:
        (logits,) = outputs
        if self.role == "generator":
            return self.reduce(b, self.generator(b, logits))
        assert labels is not None
        if self.form == "logistic":
            return BceWithLogits(reduction=self.reduction).emit(b, [logits], labels)
        if self.form == "least-squares":
            return Mse(reduction=self.reduction).emit(b, [logits], labels)
        sign = b.Sub(b.Mul(labels, b.constant(2.0)), b.constant(1.0))
        return self.reduce(b, b.Relu(b.Sub(b.constant(1.0), b.Mul(sign, logits))))

    def generator(self, b: Builder, logits: ir.Value) -> ir.Value:
        """What each sample costs the generator: as if its label were 1, but for the hinge."""
        negative: ir.Value = b.Neg(logits)
        if self.form == "hinge":
            return negative
        if self.form == "logistic":
            return softplus(b, negative)
        difference = b.Sub(logits, b.constant(1.0))
        square: ir.Value = b.Mul(difference, difference)
        return square
