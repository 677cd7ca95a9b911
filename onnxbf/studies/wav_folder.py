"""Speech in a folder for each speaker, as LibriSpeech has it, in .wav files."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError
from onnxbf.studies.speech import FREQUENCY, SAMPLES, spectrogram
from onnxbf.studies.task import LABELS, Task

Array = NDArray[Any]
_TESTED = 5  # every fifth file of a speaker is one to be tested on


def open_wav_folder(folder: Path) -> Task:
    """Spectrograms ``x`` (N, frames, bands) of pieces of 0.42 s, and whose voice each is.

    A speaker is a folder, with files at any depth: ``speaker/chapter/utterance.wav``.

    Raises:
        DataError: fewer than two speakers, one with fewer than two files, or a file that is no
            recording of 16 bits at a multiple of 8 kHz, or shorter than a piece.
    """
    speakers = {
        path.name: sorted(path.rglob("*.wav"))
        for path in sorted(folder.iterdir())
        if path.is_dir() and next(path.rglob("*.wav"), None) is not None
    }
    if len(speakers) < 2:
        raise DataError(
            f"{str(folder)!r} holds one speaker: expected a folder for each of several."
        )
    parts: tuple[list[Array], list[Array]] = ([], [])
    labels: tuple[list[int], list[int]] = ([], [])
    for label, (name, files) in enumerate(speakers.items()):
        if len(files) < 2:
            raise DataError(f"Speaker {name!r} of {str(folder)!r} has one file: expected several.")
        for index, path in enumerate(files):
            tested = index % _TESTED == 1
            pieces = _pieces(path)
            parts[tested].extend(map(spectrogram, pieces))
            labels[tested].extend([label] * len(pieces))
    mean, deviation = np.mean(parts[0]), np.std(parts[0])
    return Task(
        *(
            {"x": ((np.stack(part) - mean) / deviation).astype(np.float32), LABELS: np.array(each)}
            for part, each in zip(parts, labels)
        )
    )


def _pieces(path: Path) -> Sequence[Array]:
    sound = read_wav(path)
    if len(sound) < SAMPLES:
        raise DataError(
            f"{str(path)!r} lasts {len(sound) / FREQUENCY:.2f} s: expected at least "
            f"{SAMPLES / FREQUENCY:.2f} s."
        )
    return [*sound[: len(sound) // SAMPLES * SAMPLES].reshape(-1, SAMPLES)]


def read_wav(path: Path) -> Array:
    """A recording at 8 kHz, from -1 to 1: of several channels the mean.

    Higher rates are brought down by means of neighbouring samples.

    Raises:
        DataError: no .wav file of 16 bits, or its rate is no multiple of 8 kHz.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, rate, channels = file.getsampwidth(), file.getframerate(), file.getnchannels()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise DataError(f"{str(path)!r} is no recording: expected a .wav file ({error}).") from None
    if width != 2 or rate % FREQUENCY:
        raise DataError(
            f"{str(path)!r} has {8 * width} bits at {rate} Hz: expected 16 bits at a multiple of "
            f"{FREQUENCY} Hz."
        )
    sound: Array = np.frombuffer(data, "<i2").reshape(-1, channels).mean(1) / 2**15
    group = rate // FREQUENCY
    slower: Array = sound[: len(sound) // group * group].reshape(-1, group).mean(1)
    return slower
