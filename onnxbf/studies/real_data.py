"""Real data in a folder, and the networks of study ``bf16`` that learn it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxbf.errors import DataError
from onnxbf.studies.cifar import FILES as CIFAR_FILES
from onnxbf.studies.cifar import open_cifar
from onnxbf.studies.click_log import FIELDS, NUMBERS, VALUES, open_click_log
from onnxbf.studies.domains_image import image_subjects
from onnxbf.studies.domains_recommender import Sizes, click_subjects
from onnxbf.studies.domains_speech import speech_subjects
from onnxbf.studies.subject import Subject
from onnxbf.studies.task import LABELS, Task
from onnxbf.studies.wav_folder import open_wav_folder

IMAGES, SPEECH, CLICKS = "images", "speech", "clicks"
FORMS = (
    "CIFAR's data_batch_1.bin or data_batch_1 and so on, folders of speakers with .wav files, or "
    "click logs in .tsv files"
)
_LEAST_AUC = 0.6


@dataclass(frozen=True, slots=True)
class RealData:
    """What a folder holds: a domain, and the examples."""

    domain: str
    task: Task


_OPENERS: Mapping[str, tuple[str, Callable[[Path], Task]]] = {  # domain -> files, who reads them
    **{pattern: (IMAGES, open_cifar) for pattern in CIFAR_FILES},
    "*.tsv": (CLICKS, open_click_log),
    "*/**/*.wav": (SPEECH, open_wav_folder),
}


@functools.cache
def open_folder(folder: Path) -> RealData:
    """Read a folder of images, speech or clicks, told by its files.

    Raises:
        DataError: there is no such folder, none of the known forms in it, or a file is broken.
    """
    for pattern, (domain, opener) in _OPENERS.items():
        if next(folder.glob(pattern), None) is not None:
            return RealData(domain, opener(folder))
    raise DataError(f"{str(folder)!r} holds no data for a study: expected {FORMS}.")


def subjects_on(data: RealData) -> Sequence[Subject]:
    """The networks of a domain, to be trained on this data.

    What learned nothing names the most frequent class. The floor of accuracy is twice that, or half
    way from there to 1; of the area under the curve, where chance has 0.5, it is 0.6.
    """
    task = data.task
    if data.domain == CLICKS:
        return click_subjects(lambda: task, Sizes(NUMBERS, FIELDS, VALUES), _LEAST_AUC)
    subjects = image_subjects if data.domain == IMAGES else speech_subjects
    most = float(np.bincount(task.testing[LABELS]).max() / len(task.testing[LABELS]))
    return subjects(lambda: task, min(2 * most, (1 + most) / 2))
