"""Networks and data of study bf16."""

from __future__ import annotations

from collections.abc import Callable, Set

import numpy as np
import onnx
import onnx_ir as ir
import pytest

pytest.importorskip("onnxruntime")

from onnxbf.protos import to_proto
from onnxbf.session import make_session, run
from onnxbf.studies import (
    domains_generative,
    domains_image,
    domains_language,
    domains_recommender,
    domains_speech,
    speech,
)
from onnxbf.studies.bf16 import Bf16
from onnxbf.studies.task import LABELS, digits

# What makes a network one of its kind.
KINDS: dict[Callable[[int], ir.Model], Set[str]] = {
    domains_image.residual: {"Conv", "BatchNormalization", "Add", "GlobalAveragePool"},
    domains_image.alexnet: {"Conv", "MaxPool", "Dropout", "Gemm"},
    domains_speech.recognizer: {"Conv", "BatchNormalization", "GRU"},
    domains_language.transformer: {"LayerNormalization", "Softmax", "MatMul", "Gather"},
    domains_language.attention_lstm: {"LSTM", "Softmax", "MatMul", "Gather"},
    domains_generative.dc_gan: {"ConvTranspose", "BatchNormalization", "Conv", "LeakyRelu"},
    domains_generative.super_resolution: {"Conv", "BatchNormalization", "Transpose"},
    domains_recommender.deep_and_cross: {"Gather", "Mul", "Gemm", "Concat"},
    domains_recommender.deep: {"Gather", "Gemm", "Concat"},
}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_networks_are_valid_and_of_their_kind(make: Callable[[int], ir.Model]) -> None:
    proto = to_proto(make(0))
    onnx.checker.check_model(proto, full_check=True)
    assert KINDS[make] <= {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_a_seed_draws_the_weights(make: Callable[[int], ir.Model]) -> None:
    first, again, other = (to_proto(make(seed)).SerializeToString() for seed in (0, 0, 1))
    assert first == again != other


def test_clicks_follow_their_law() -> None:
    task = domains_recommender.clicks()
    fields, clicked = task.training["fields"], task.training[LABELS][:, 0]
    assert fields.shape == (40_000, 6) and fields.min() >= 0 and fields.max() < 300
    assert ((fields // 50) == np.arange(6)).all()
    assert 0.3 < clicked.mean() < 0.6
    often, rare = (np.mean(fields[:, 0] == value) for value in (0, 49))
    assert 30 < often / rare < 80  # Zipf: 50
    rates = [clicked[fields[:, 1] == 50 + value].mean() for value in range(5)]
    assert np.ptp(rates) > 0.1


def test_a_spectrogram_shows_a_tone_in_its_band() -> None:
    time = np.arange(speech.SAMPLES) / speech.FREQUENCY
    for hertz in (400, 1200, 3000):
        found = speech.spectrogram(np.sin(2 * np.pi * hertz * time))
        assert found.shape == (speech.FRAMES, speech.BANDS)
        line = hertz / speech.FREQUENCY * speech.WINDOW  # of the transform; 5 make a band, from 1
        assert (found.argmax(1) == (line - 1) // 5).all()


def test_a_spoken_vowel_has_its_formants() -> None:
    rng = np.random.default_rng(0)
    heard = np.mean([speech.spectrogram(speech._say(rng, 1, 1)).mean(0) for _ in range(20)], axis=0)
    band = speech.FREQUENCY / speech.WINDOW * 5
    low, gap, high = (heard[int(hertz / band)] for hertz in (270, 1200, 2290))
    assert low > gap + 1 and high > gap


@pytest.mark.parametrize("make", [domains_language.transformer, domains_language.attention_lstm])
def test_no_character_sees_those_that_follow(make: Callable[[int], ir.Model]) -> None:
    session = make_session(to_proto(make(0)).SerializeToString())
    x = domains_language.text().testing["x"][:2]
    changed = np.where(np.arange(24) < 10, x, (x + 1) % 64)
    first, second = (run(session, {"x": each})["logits"] for each in (x, changed))
    np.testing.assert_array_equal(first[:, :10], second[:, :10])
    assert (first[:, 10:] != second[:, 10:]).any(axis=(0, 2)).all()


def test_labels_are_the_next_characters() -> None:
    task = domains_language.text()
    for part in (task.training, task.testing):
        np.testing.assert_array_equal(part["x"][:, 1:], part[LABELS][:, :-1])
        assert part["x"].min() >= 0 and part["x"].max() < 64
    assert len(task.training["x"]) == 12_000 and len(task.testing["x"]) == 1_500


def test_digits_are_like_digits_and_noise_is_not() -> None:
    pytest.importorskip("sklearn")
    images = digits().training["x"]
    assert domains_generative.likeness(images)["good-share"] == pytest.approx(0.95, abs=0.01)
    assert domains_generative.likeness(images)["modes"] == 10
    one = np.repeat(images[:1], 100, axis=0)
    assert domains_generative.likeness(one)["modes"] <= 1
    noise = np.random.default_rng(0).random((100, 1, 8, 8))
    assert domains_generative.likeness(noise) == {"good-share": 0.0, "modes": 0}


def test_the_floor_of_super_resolution_is_above_the_best_linear_map() -> None:
    pytest.importorskip("sklearn")
    task = digits()
    high, test = task.training["x"].reshape(-1, 64), task.testing["x"].reshape(-1, 64)
    low, low_test = (
        np.c_[domains_generative.shrunk(x).reshape(-1, 16), np.ones(len(x))] for x in (high, test)
    )
    linear = low_test @ np.linalg.lstsq(low, high, rcond=None)[0]
    found = np.mean(10 * np.log10(1 / np.square(linear - test).mean(1)))
    assert found == pytest.approx(domains_generative.LINEAR, abs=0.005)


def test_claims_are_those_of_the_networks() -> None:
    study = Bf16()
    names = [claim.name for claim in study.claims]
    assert len({*names}) == len(names) >= 2 * len(study.subjects)
    assert all(subject.floors for subject in study.subjects)
