"""Philox4x32-7 and which of its words serves which element."""

from __future__ import annotations

import numpy as np
import pytest

from onnxbf.philox import philox4x32, random_words

# Counter, key, result: the known answers that come with Random123 (kat_vectors, philox4x32 7).
KNOWN_ANSWERS = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
    ),
]

Words = tuple[int, int, int, int]


@pytest.mark.parametrize(("counter", "key", "wanted"), KNOWN_ANSWERS)
def test_known_answers(counter: Words, key: tuple[int, int], wanted: Words) -> None:
    words = philox4x32(np.array(counter, np.uint32)[:, None], key)
    assert tuple(words[:, 0].tolist()) == wanted


def test_counters_are_mixed_each_for_itself() -> None:
    counters = np.array([counter for counter, _, _ in KNOWN_ANSWERS], np.uint32).T
    together = philox4x32(counters, (1, 2))
    for column in range(3):
        alone = philox4x32(counters[:, column : column + 1], (1, 2))
        assert (alone[:, 0] == together[:, column]).all()


@pytest.mark.parametrize("element", [0, 15, 16, 63, 64, 127, 128, 1000, 2**34 + 21])
def test_which_halves_serve_an_element(element: int) -> None:
    """As the docstring says: half a word of one counter, and of the one 16 further on."""
    index = element // 128 * 32 + element % 16
    place = element % 128 // 16
    halves = []
    for number in (index, index + 16):
        counter = np.array([[number % 2**32], [number // 2**32], [7], [9]], np.uint32)
        word = int(philox4x32(counter, (0x89ABCDEF, 0x01234567))[place % 4, 0])
        halves.append(word >> 16 if place < 4 else word & 0xFFFF)
    key = {"seed": 0x0123456789ABCDEF, "node": 7, "step": 9}
    assert random_words(1, **key, offset=element)[0] == halves[0] << 16 | halves[1]


def test_slices_give_what_the_whole_gives() -> None:
    whole = random_words(300, seed=1, node=2, step=3)
    for begin, end in ((0, 300), (1, 64), (63, 65), (128, 300), (299, 300), (5, 5)):
        part = random_words(end - begin, seed=1, node=2, step=3, offset=begin)
        assert (part == whole[begin:end]).all()


def test_every_part_of_the_key_matters() -> None:
    key = {"seed": 1, "node": 2, "step": 3}
    words = random_words(64, **key)
    others = [key | {"seed": 1 + 2**32}, key | {"node": 3}, key | {"step": 2}, key | {"seed": 0}]
    for other in others:
        assert not (random_words(64, **other) == words).any()


def test_words_are_spread_evenly() -> None:
    """Each bit is set in half of the words, within 5 sigma."""
    count = 1 << 16
    words = random_words(count, seed=42, node=0, step=0)
    for bit in range(32):
        ones = np.count_nonzero(words >> np.uint32(bit) & np.uint32(1))
        assert abs(ones - count / 2) < 5 * np.sqrt(count) / 2
