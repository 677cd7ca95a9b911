"""Image classification: a residual network and one like AlexNet, on digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from onnxbf.studies.claim import Side
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import Network
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import digits
from onnxbf.training.class_metrics import Accuracy

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


def residual(seed: int) -> ir.Model:
    """As He et al. (2015) on small images: a stem, blocks of 8, 16 and 32 channels, their means."""
    net = Network(seed, (1, 8, 8)).conv(1, 8).norm(8).then("Relu")
    for channels_in, channels in ((8, 8), (8, 16), (16, 32)):
        _block(net, channels_in, channels)
    return net.then("GlobalAveragePool").then("Flatten").dense(32, 10).finish(10)


def alexnet(seed: int) -> ir.Model:
    """As Krizhevsky et al. (2012): a wide first kernel, pooling that overlaps, dropout; no LRN."""
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    net = Network(seed, (1, 8, 8)).conv(1, 16, 5).then("Relu").then("MaxPool", **pool)
    net.conv(16, 32).then("Relu").conv(32, 32).then("Relu").then("MaxPool", **pool)
    net.then("Flatten").dropout(0.25).dense(128, 64).then("Relu")
    return net.dropout(0.25).dense(64, 10).finish(10)


def _classify(make: Callable[[int], ir.Model], recipe: str, seed: int) -> Scores:
    return scores(make(seed), "cross-entropy", digits(), PLAN, {"accuracy": Accuracy}, recipe, seed)


IMAGES = tuple(
    Subject(
        name=name,
        about=about,
        train=partial(_classify, make),
        score="accuracy",
        allowed=0.01,
        floors=(Floor("accuracy", Side.AT_LEAST, 0.95),),
    )
    for name, about, make in (
        ("residual", "image, a residual network with batch normalization", residual),
        ("alexnet", "image, a network like AlexNet", alexnet),
    )
)
