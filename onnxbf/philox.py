"""The random bits of stochastic rounding: Philox4x32-7, keyed by (seed, node, step, element).

A counter-based generator has no state, so an element's bits depend on nothing but its key: not on
the number of threads, the instruction set, or how a tensor was cut into batches.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
where seven rounds are the fewest that pass every battery of TestU01; judged by the known answers
that come with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 7
_WORD = 0xFFFFFFFF


def philox4x32(counter: NDArray[np.uint32], key: tuple[int, int]) -> NDArray[np.uint32]:
    """Seven rounds of Philox on counters of shape (4, n); returns four words each, shape (4, n)."""
    c0, c1, c2, c3 = (word.astype(np.uint64) for word in counter)
    mask, half = np.uint64(_WORD), np.uint64(32)
    for turn in range(_ROUNDS):
        k0, k1 = (np.uint64((k + turn * w) & _WORD) for k, w in zip(key, _WEYL))
        p0, p1 = c0 * np.uint64(_MULTIPLIERS[0]), c2 * np.uint64(_MULTIPLIERS[1])
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & mask, (p0 >> half) ^ c3 ^ k1, p0 & mask
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def random_words(
    count: int, *, seed: int, node: int, step: int, offset: int = 0
) -> NDArray[np.uint32]:
    """32 random bits for each of the elements ``offset`` to ``offset + count`` of one tensor.

    Philox gives four words, eight halves, a counter. Within a block of 128 elements, those from
    ``16 w + c`` on, with ``c`` below 16, take their upper half from counter ``32 block + c``: the
    upper half of word ``w`` where ``w`` is below 4, the lower half of word ``w - 4`` else. Their
    lower half is the same one of counter ``32 block + 16 + c``: few results depend on it, and the
    kernels need not work it out for the others.

    Args:
        seed: 64 bits, the key. node, step: 32 bits each, words 2 and 3 of the counter.
    """
    element = np.arange(offset, offset + count, dtype=np.uint64)
    block, within = element // np.uint64(128), element % np.uint64(128)
    place, column = within // np.uint64(16), within % np.uint64(16)
    counter = np.empty((4, 2 * count), np.uint32)
    upper = block * np.uint64(32) + column
    both = np.concatenate([upper, upper + np.uint64(16)])
    counter[0], counter[1] = both & np.uint64(_WORD), both >> np.uint64(32)
    counter[2], counter[3] = node, step
    words = philox4x32(counter, (seed & _WORD, seed >> 32 & _WORD)).reshape(4, 2, count)
    chosen = words[place % np.uint64(4), :, np.arange(count)].T
    halves = np.where(place < 4, chosen >> np.uint32(16), chosen & np.uint32(0xFFFF))
    drawn: NDArray[np.uint32] = halves[0] << np.uint32(16) | halves[1]
    return drawn


def accumulator_words(
    count: int, *, seed: int, node: int, step: int, element: int
) -> NDArray[np.uint32]:
    """32 random bits for each of the roundings 0 to ``count`` of the sum at ``element``.

    Rounding ``j`` takes word ``j % 4`` of counter ``(element, j // 4, node, step)``.

    Args:
        seed: 64 bits, the key. node, step, element: 32 bits each.
    """
    quarters = (count + 3) // 4
    counter = np.empty((4, quarters), np.uint32)
    counter[0], counter[1] = element, np.arange(quarters)
    counter[2], counter[3] = node, step
    words = philox4x32(counter, (seed & _WORD, seed >> 32 & _WORD))
    return words.T.ravel()[:count]
