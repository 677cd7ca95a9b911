"""Image classification: a residual network and one like AlexNet, on digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import onnx_ir as ir

from onnxbf.studies.claim import Side
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import Network
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import Task, classes_of, digits
from onnxbf.training.class_metrics import Accuracy

DIGIT = (1, 8, 8)
PLAN = Plan(epochs=12, rate=0.004)


def _block(net: Network, channels_in: int, channels: int) -> Network:
    """Two convolutions beside a shortcut, which is a convolution of 1 by 1 where sizes differ."""
    start, stride = net.last, channels // channels_in
    net.conv(channels_in, channels, stride=stride).norm(channels).then("Relu")
    inner = net.conv(channels, channels).norm(channels).last
    shortcut = start
    if channels != channels_in:
        shortcut = net.at(start).conv(channels_in, channels, 1, stride).norm(channels).last
    return net.at(net.build.Add(inner, shortcut)).then("Relu")


def residual(seed: int, shape: Sequence[int] = DIGIT, classes: int = 10) -> ir.Model:
    """As He et al. (2015) on small images: a stem, blocks of 8, 16 and 32 channels, their means."""
    net = Network(seed, shape).conv(shape[0], 8).norm(8).then("Relu")
    for channels_in, channels in ((8, 8), (8, 16), (16, 32)):
        _block(net, channels_in, channels)
    return net.then("GlobalAveragePool").then("Flatten").dense(32, classes).finish(classes)


def alexnet(seed: int, shape: Sequence[int] = DIGIT, classes: int = 10) -> ir.Model:
    """As Krizhevsky et al. (2012): a wide first kernel, pooling that overlaps, dropout; no LRN."""
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    net = Network(seed, shape).conv(shape[0], 16, 5).then("Relu").then("MaxPool", **pool)
    net.conv(16, 32).then("Relu").conv(32, 32).then("Relu").then("MaxPool", **pool)
    pixels = shape[1] // 4 * (shape[2] // 4)
    net.then("Flatten").dropout(0.25).dense(32 * pixels, 64).then("Relu")
    return net.dropout(0.25).dense(64, classes).finish(classes)


Make = Callable[[int, Sequence[int], int], ir.Model]


def _classify(make: Make, data: Callable[[], Task], recipe: str, seed: int) -> Scores:
    task = data()
    model = make(seed, task.training["x"].shape[1:], classes_of(task))
    return scores(model, "cross-entropy", task, PLAN, {"accuracy": Accuracy}, recipe, seed)


def image_subjects(data: Callable[[], Task] = digits, floor: float = 0.95) -> tuple[Subject, ...]:
    """Both networks on images ``x`` (N, channels, height, width), of sizes that 4 divides."""
    return tuple(
        Subject(
            name=name,
            about=about,
            train=partial(_classify, make, data),
            score="accuracy",
            allowed=0.01,
            floors=(Floor("accuracy", Side.AT_LEAST, floor),),
        )
        for name, about, make in (
            ("residual", "image, a residual network with batch normalization", residual),
            ("alexnet", "image, a network like AlexNet", alexnet),
        )
    )
