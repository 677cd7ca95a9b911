"""Speech: convolution and a bidirectional GRU on spectrograms, as DeepSpeech 2 has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import onnx_ir as ir

from onnxbf.studies.claim import Side
from onnxbf.studies.learning import Plan, scores
from onnxbf.studies.networks import Network
from onnxbf.studies.speech import BANDS, FRAMES, WORDS, words
from onnxbf.studies.subject import Floor, Scores, Subject
from onnxbf.studies.task import Task, classes_of
from onnxbf.training.class_metrics import Accuracy

CHANNELS, UNITS = 8, 24
PLAN = Plan(epochs=8, rate=0.006)


def recognizer(seed: int, classes: int = len(WORDS)) -> ir.Model:
    """Amodei et al. (2015), small: a convolution over time and bands, GRUs in both directions.

    Without connectionist temporal classification: a spectrogram is one word.
    """
    net = Network(seed, (FRAMES, BANDS))
    net.at(net.build.Unsqueeze(net.last, net.build.integers(1))).conv(1, CHANNELS, 5, 2)
    net.norm(CHANNELS).then("Relu").then("Transpose", perm=[2, 0, 1, 3])  # time first
    size = CHANNELS * BANDS // 2
    net.at(net.build.Reshape(net.last, net.build.integers(0, 0, size)))
    net.recurrent("GRU", size, UNITS, directions=2)
    net.at(net.build.ReduceMean(net.last, net.build.integers(0), keepdims=0))
    return net.dense(2 * UNITS, classes).finish(classes)


def _recognize(data: Callable[[], Task], recipe: str, seed: int) -> Scores:
    task, metrics = data(), {"accuracy": Accuracy}
    model = recognizer(seed, classes_of(task))
    return scores(model, "cross-entropy", task, PLAN, metrics, recipe, seed)


def speech_subjects(data: Callable[[], Task] = words, floor: float = 0.9) -> tuple[Subject, ...]:
    """The network on spectrograms ``x`` (N, frames, bands)."""
    return (
        Subject(
            name="speech",
            about="speech, a convolution and a bidirectional GRU",
            train=partial(_recognize, data),
            score="accuracy",
            allowed=0.01,
            floors=(Floor("accuracy", Side.AT_LEAST, floor),),
        ),
    )
