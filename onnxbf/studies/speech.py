"""Synthesized speech: voiced words of gliding formants, and their spectrograms."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.studies.task import LABELS, Task

Array = NDArray[Any]
FREQUENCY, SAMPLES = 8000, 3328  # samples a second, and in a word: 0.42 s
WINDOW, HOP = 256, 128  # samples
BANDS, FRAMES = 24, 1 + (SAMPLES - WINDOW) // HOP
TRAINING, TESTING = 1600, 1200

# First and second formants in hertz (Peterson and Barney, 1952, men): a, i, u, e.
VOWELS = np.array([[730, 1090], [270, 2290], [300, 870], [530, 1840]], float)
# Words are pairs of vowels: each has its mirror, so that order alone tells some of them apart.
WORDS = ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (3, 0), (0, 3), (3, 2), (2, 3))
_THIRD, _WIDTHS = 2500.0, np.array([90.0, 110.0, 170.0])  # the third formant; resonances' widths
_HARMONICS = 40
_HELD = 32  # samples for which pitch and loudness of harmonics stay


@functools.cache
def words() -> Task:
    """Spectrograms ``x`` (N, frames, bands) of 10 words, by 1,600 and 1,200 speakers.

    A word glides from one vowel to another. Speakers differ in pitch (90 to 250 Hz, falling), in
    the length of their throat (formants by up to 10%), in tempo (the glide takes 30% to 80% of the
    word, and begins early or late), in loudness, and in noise (15 dB below the voice to 8 above).
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(len(WORDS), size=TRAINING + TESTING)
    x = np.stack([spectrogram(_say(rng, *WORDS[label])) for label in labels])
    parts = slice(TRAINING), slice(TRAINING, None)
    mean, deviation = x[parts[0]].mean(), x[parts[0]].std()
    x = ((x - mean) / deviation).astype(np.float32)
    return Task(*({"x": x[part], LABELS: labels[part]} for part in parts))


def spectrogram(sound: Array) -> Array:
    """Logarithms of the power in bands of equal width, from 0 to 4 kHz: (frames, bands).

    A short-time Fourier transform with a Hann window.
    """
    frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW))) ** 2
    usable = WINDOW // 2 // BANDS * BANDS
    in_bands: Array = power[:, 1 : usable + 1].reshape(len(frames), BANDS, -1).mean(2)
    logarithms: Array = np.log(in_bands + 1e-4)
    return logarithms


def _say(rng: np.random.Generator, first: int, second: int) -> Array:
    """A word: harmonics of the pitch, each as loud as the formants make it, and noise."""
    time = np.linspace(0, 1, SAMPLES // _HELD)
    length = rng.uniform(0.3, 0.8)
    start = rng.uniform(0, 1 - length)
    share = np.clip((time - start) / length, 0, 1)[:, None]
    throat = rng.uniform(0.9, 1.1)
    moving = throat * (VOWELS[first] + (VOWELS[second] - VOWELS[first]) * share)
    formants = np.concatenate([moving, np.full((len(time), 1), throat * _THIRD)], axis=1)
    pitch = rng.uniform(90, 250) * (1 - rng.uniform(0, 0.3) * time)
    harmonics = np.arange(1, _HARMONICS + 1)
    frequencies = pitch[:, None] * harmonics
    away = (frequencies[:, :, None] - formants[:, None, :]) / _WIDTHS
    loudness = (1 / (1 + away**2)).sum(2) / harmonics * (frequencies < FREQUENCY / 2)
    phase = 2 * np.pi * np.cumsum(np.repeat(pitch, _HELD)) / FREQUENCY
    phases = (phase[:, None] * harmonics + rng.uniform(0, 2 * np.pi, _HARMONICS)) % (2 * np.pi)
    waves = np.sin(phases.astype(np.float32)).reshape(len(time), _HELD, _HARMONICS)
    voice = np.einsum("thk,tk->th", waves, loudness.astype(np.float32)).ravel()
    voice *= rng.uniform(0.5, 2) / voice.std()
    noise = rng.normal(size=SAMPLES) * voice.std() * 10 ** (rng.uniform(-15, 8) / 20)
    sound: Array = voice + noise
    return sound
