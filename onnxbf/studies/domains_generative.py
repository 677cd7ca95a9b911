"""Generative networks: DC-GAN, and super-resolution with an adversarial loss, on digits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.recipe import load_recipe
from onnxbf.studies.adversaries import DISCRIMINATOR, GENERATOR, IMAGE, LOSS, Game
from onnxbf.studies.claim import Side
from onnxbf.studies.networks import Network
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import LABELS, digits
from onnxbf.training.loss_functions import Adversarial, Mse
from onnxbf.training.transitions import Cosine
from onnxbf.training.value_metrics import Psnr

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Steps of both sides, their rate, which falls along a cosine to 0, and their batch."""

    steps: int
    rate: float
    batch: int

    def real(self, rng: np.random.Generator) -> Iterator[tuple[Array, float]]:
        """Batches of training digits, drawn with replacement, and rates."""
        images = digits().training["x"]
        schedule = Cosine(init_value=self.rate, decay_steps=self.steps)
        for step in range(self.steps):
            yield images[rng.integers(len(images), size=self.batch)], schedule(step)


LATENT, SLOPE = 16, 0.2
DC_GAN, SUPER_RESOLUTION = Rounds(1500, 0.003, 64), Rounds(1200, 0.005, 32)
SAMPLES, RARE = 2000, 0.01  # RARE: the share of samples below which a class does not count as made
LINEAR = 16.85  # dB that the best linear map reaches, by least squares on the training digits
ADVERSARIAL = 0.001  # the weight beside the squared error, as in Ledig et al. (2017)


def _judged(net: Network) -> Network:
    """Two convolutions, each halving the size, and a dense layer: an image to a logit."""
    net.part = DISCRIMINATOR
    net.conv(1, 16, stride=2).then("LeakyRelu", alpha=SLOPE)
    net.conv(16, 32, stride=2).norm(32).then("LeakyRelu", alpha=SLOPE)
    return net.then("Flatten").dense(128, 1)


def discriminator(seed: int) -> ir.Model:
    return _judged(Network(seed, (1, 8, 8))).finish(1)


def _deceived(net: Network) -> ir.Value:
    """What it costs a generator that its image in ``last`` is not taken for real."""
    return Adversarial(role="generator").emit(net.loss, [_judged(net).last], None)


def dc_gan(seed: int) -> ir.Model:
    """Radford et al. (2015), for 8 by 8: noise to 32 maps of 2 by 2, doubled twice."""
    net = Network(seed, (LATENT,))
    net.part = GENERATOR
    net.dense(LATENT, 128).at(net.build.Reshape(net.last, net.build.integers(0, 32, 2, 2)))
    net.norm(32).then("Relu").deconv(32, 16).norm(16).then("Relu").deconv(16, 1).then("Sigmoid")
    net.output(IMAGE, 1, 8, 8)
    return net.at(_deceived(net)).output(LOSS, batch=False).close()


def super_resolution(seed: int) -> ir.Model:
    """Ledig et al. (2017), small: a residual block on 4 by 4, then each pixel becomes four."""
    net = Network(seed, (1, 4, 4))
    high = net.input("high", (1, 8, 8))
    net.part = GENERATOR
    first = net.conv(1, 16).then("Relu").last
    net.conv(16, 16).norm(16).then("Relu").conv(16, 16).norm(16)
    net.at(net.build.Add(first, net.last)).conv(16, 32)
    parts = net.build.Reshape(net.last, net.build.integers(0, 8, 2, 2, 4, 4))
    mixed = net.build.Transpose(parts, perm=[0, 1, 4, 2, 5, 3])
    net.at(net.build.Reshape(mixed, net.build.integers(0, 8, 8, 8))).then("Relu")
    image = net.conv(8, 1).output(IMAGE, 1, 8, 8).last
    deceived = net.loss.Mul(_deceived(net), net.loss.constant(ADVERSARIAL))
    net.at(net.loss.Add(Mse().emit(net.loss, [image], high), deceived))
    return net.output(LOSS, batch=False).close()


def shrunk(images: Array) -> Array:
    """Images of half the size: means of 2 by 2 pixels."""
    small: Array = images.reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    return small


def likeness(made: Array) -> Scores:
    """The share of images as close to one of the test digits as 95% of the training digits are.

    And ``modes``: how many of the ten digits are the nearest to 1% of the images or more.
    """
    task = digits()
    test, labels = task.testing["x"], task.testing[LABELS]
    usual, _ = _nearest(task.training["x"], test)
    distance, index = _nearest(made, test)
    good = distance <= np.quantile(usual, 0.95)
    shares = np.bincount(labels[index[good]], minlength=10) / len(made)
    return {"good-share": float(good.mean()), "modes": int(np.count_nonzero(shares >= RARE))}


def _nearest(images: Array, known: Array) -> tuple[Array, Array]:
    """Distance to the nearest known image, and its index."""
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (images, known))
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return squared.min(1), squared.argmin(1)


def _noise(rng: np.random.Generator, count: int) -> dict[str, Array]:
    return {"x": rng.normal(size=(count, LATENT)).astype(np.float32)}


def _generate(recipe: str, seed: int) -> Scores:
    game = Game(dc_gan(seed), discriminator(seed + 1000), load_recipe(recipe), seed)
    rng = np.random.default_rng(seed)
    for real, rate in DC_GAN.real(rng):
        game.step(_noise(rng, len(real)), real, rate)
    return likeness(game.sample(_noise(np.random.default_rng(0), SAMPLES)))


def _enlarge(recipe: str, seed: int) -> Scores:
    game = Game(super_resolution(seed), discriminator(seed + 1000), load_recipe(recipe), seed)
    for real, rate in SUPER_RESOLUTION.real(np.random.default_rng(seed)):
        game.step({"x": shrunk(real), "high": real}, real, rate)
    high = digits().testing["x"]
    psnr = Psnr()
    psnr.update([game.sample({"x": shrunk(high)})], high, 0.0, len(high))
    return {"psnr": psnr.result()}


GENERATIVE = (
    Subject(
        name="dc-gan",
        about="generation, DC-GAN",
        train=_generate,
        score="good-share",
        allowed=0.05,
        floors=(Floor("good-share", Side.AT_LEAST, 0.4), Floor("modes", Side.AT_LEAST, 10)),
    ),
    Subject(
        name="super-resolution",
        about="generation, super-resolution with an adversarial loss",
        train=_enlarge,
        score="psnr",
        allowed=0.15,
        floors=(Floor("psnr", Side.AT_LEAST, LINEAR + 0.15),),
    ),
)
