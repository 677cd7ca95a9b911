"""Data in batches, in an order that seed and epoch alone decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError, SpecError
from onnxbf.training.examples import Data


class Batches:
    """The epochs of a run.

    Args:
        batch_size: examples in a batch.
        seed: decides, with the number of the epoch, the order of the examples: that which PCG64
            draws from the entropy [seed, epoch].
        shuffle: whether there is another order than the data's own.
        drop_last: whether a last batch that is short is left out.

    Raises:
        SpecError: a batch size below 1, or a seed below 0.
        DataError: no batch would be left.
    """

    def __init__(
        self,
        data: Data,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        if batch_size < 1 or seed < 0:
            raise SpecError(f"A batch size of {batch_size} and seed {seed}: expected 1, 0 or more.")
        self.data = data
        self.batch_size = batch_size
        self.drop_last = drop_last
        self._seed = seed
        self._shuffle = shuffle
        if self.steps(0) == 0:
            raise DataError(
                f"The data holds {data.length} examples, fewer than a batch of {batch_size}, and "
                "short batches are left out: choose a smaller batch size."
            )

    def epoch(self, number: int, skip: int = 0) -> Iterator[dict[str, NDArray[Any]]]:
        """The batches of an epoch, contiguous and the caller's own.

        Args:
            number: from 0.
            skip: how many batches to leave out at the beginning, to go on where a run stopped: the
                rest is what it would have been.
        """
        for batch in self.data.batches(self.batch_size, self._generator(number), skip):
            size = len(next(iter(batch.values())))
            if size == self.batch_size or not self.drop_last:
                yield batch

    def steps(self, epoch: int) -> int | None:
        """The number of batches of an epoch; None where only going through the data tells."""
        if self.data.length is None:
            return None
        whole, rest = divmod(self.data.length, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def last_is_short(self) -> bool:
        """Whether an epoch may end with a batch of fewer examples."""
        length = self.data.length
        return not self.drop_last and (length is None or length % self.batch_size != 0)

    def _generator(self, epoch: int) -> np.random.Generator | None:
        if not self._shuffle:
            return None
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, epoch])))
