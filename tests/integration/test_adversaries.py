"""A generator and a discriminator in training."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")
from tests.runtime import needs_training

pytestmark = needs_training

from onnxbf.recipe import load_recipe  # noqa: E402
from onnxbf.studies.adversaries import DISCRIMINATOR, GENERATOR, Game  # noqa: E402
from onnxbf.studies.domains_generative import dc_gan, discriminator, shrunk  # noqa: E402


@pytest.mark.parametrize("recipe", ["none", "bf16", "avx512-bf16"])
def test_both_learn_and_the_copy_follows(recipe: str) -> None:
    game = Game(dc_gan(0), discriminator(1), load_recipe(recipe))
    rng = np.random.default_rng(0)
    generator, judge = game._generator, game._discriminator
    before = {name: array.copy() for name, array in generator.state().items()}
    for _ in range(2):
        noise = {"x": rng.normal(size=(8, 16)).astype(np.float32)}
        game.step(noise, rng.random((8, 1, 8, 8), np.float32), 0.01)
    after, real = generator.state(), judge.state()
    made, judged = generator.graphs.trained, judge.graphs.trained
    assert made and all(name.startswith(GENERATOR) for name in made)
    assert judged and all(name.startswith(DISCRIMINATOR) for name in judged)
    for name in judged:
        np.testing.assert_array_equal(after[name], real[name])
    moved = [name for name in (*made, *judged) if not np.array_equal(after[name], before[name])]
    assert {*moved} >= {name for name in (*made, *judged) if before[name].ndim > 1}
    sums = {
        node.op_type for node in generator.graphs.gradient.graph if "arithmetic" in node.attributes
    }
    emulated = {"ConvTranspose", "Conv", "ConvInputGrad", "ConvWeightGrad", "Gemm"}
    assert (emulated <= sums) is (recipe == "avx512-bf16")
    sample = game.sample(noise)
    assert sample.shape == (8, 1, 8, 8) and 0 <= sample.min() <= sample.max() <= 1


def test_shrinking_takes_means() -> None:
    image = np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)
    assert shrunk(image).shape == (1, 1, 4, 4)
    assert shrunk(image)[0, 0, 0, 0] == pytest.approx((0 + 1 + 8 + 9) / 4)
