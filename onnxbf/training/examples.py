"""What data is: named arrays of examples, in memory or in files, or a stream of single examples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxbf.errors import DataError

Array = NDArray[Any]
Index = slice | NDArray[np.int64]

BUFFER = 1024  # examples of a stream from which the next is drawn

_NUMBERS = "biuf"  # NumPy's kinds: truth values, whole numbers, floating point
_TEXT = "US"  # text as it is, and encoded in UTF-8
TEXT = np.dtype(object)  # of arrays of Python's str, as which batches hold text


@dataclass(frozen=True, slots=True)
class Field:
    """One named part of every example, without the batch axis."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        kind = "text" if self.dtype == TEXT else self.dtype
        return f"{kind}[{', '.join(map(str, ('batch', *self.shape)))}]"


class Data(Protocol):
    """Examples to train on.

    Attributes:
        names: of the fields, in the order of the source.
        length: the number of examples; None where only going through them tells.
        fields: what each example consists of.
        source: what errors call it.
    """

    @property
    def source(self) -> str: ...

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def length(self) -> int | None: ...

    @property
    def fields(self) -> Mapping[str, Field]: ...

    def batches(
        self, size: int, generator: np.random.Generator | None, skip: int
    ) -> Iterator[dict[str, Array]]:
        """All examples in batches of ``size``, the last of which may be shorter.

        Args:
            generator: draws their order; None: that of the source.
            skip: how many batches to leave out; what follows is not changed by it.
        """
        ...


class Rows:
    """Data whose examples can be had by their number: shuffled as a whole, skipped at no cost."""

    def __init__(self, fields: Mapping[str, Field], length: int, source: str) -> None:
        self.source = source
        self.fields = fields
        self.names = tuple(fields)
        self.length = length

    def take(self, index: Index) -> dict[str, Array]:
        """Some examples, as arrays that are contiguous and the caller's own."""
        raise NotImplementedError

    def batches(
        self, size: int, generator: np.random.Generator | None, skip: int
    ) -> Iterator[dict[str, Array]]:
        order = None if generator is None else generator.permutation(self.length)
        for start in range(skip * size, self.length, size):
            part = slice(start, min(start + size, self.length))
            yield self.take(part if order is None else order[part])


class Arrays(Rows):
    """Arrays with one row for each example, all of the same length.

    Args:
        source: what errors call the data.

    Raises:
        DataError: no array, no example, different lengths, or what is neither numbers nor text.
    """

    def __init__(self, arrays: Mapping[str, Array], source: str = "The data") -> None:
        for name, array in arrays.items():
            if array.dtype.kind not in _NUMBERS + _TEXT or array.ndim == 0:
                raise DataError(
                    f"{source}: {name!r} is {array.dtype} of shape {array.shape}; expected numbers "
                    "or text with one row for each example."
                )
        lengths = {name: len(array) for name, array in arrays.items()}
        if not any(lengths.values()):
            raise DataError(f"{source} holds no examples.")
        if len({*lengths.values()}) > 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"{source} holds arrays of different lengths: {told}.")
        self._arrays = {name: np.asarray(array) for name, array in arrays.items()}
        fields = {name: Field(_dtype(array), array.shape[1:]) for name, array in arrays.items()}
        super().__init__(fields, next(iter(lengths.values())), source)

    def column(self, name: str) -> Array:
        """A field of all examples, which is not copied."""
        return self._arrays[name]

    def take(self, index: Index) -> dict[str, Array]:
        return {
            name: np.require(_decoded(array[index]), self.fields[name].dtype, ["C", "O"])
            for name, array in self._arrays.items()
        }


class Stream:
    """Data that must be gone through: a function that begins anew each time it is called.

    Its examples are shuffled by a buffer of BUFFER of them, from which the next is drawn and whose
    place the one that follows takes. Skipping goes through what is skipped.

    Args:
        begin: returns mappings from names to arrays, each one example without a batch axis, all of
            the same names, types and shapes.
        source: what errors call the data.

    Raises:
        DataError: no example, or one that is not as the first; here and while going through them.
    """

    length = None

    def __init__(self, begin: Callable[[], Iterable[Any]], source: str) -> None:
        self._begin = begin
        self.source = source
        first = next(iter(begin()), None)
        if first is None:
            raise DataError(f"{source} gives no examples.")
        self.fields = {name: _field(array) for name, array in self._arrays(0, first).items()}
        self.names = tuple(self.fields)

    def batches(
        self, size: int, generator: np.random.Generator | None, skip: int
    ) -> Iterator[dict[str, Array]]:
        examples: Iterator[dict[str, Array]] = self._examples()
        if generator is not None:
            examples = _shuffled(examples, generator)
        examples = itertools.islice(examples, skip * size, None)
        while batch := list(itertools.islice(examples, size)):
            stacked = {name: np.stack([each[name] for each in batch]) for name in self.names}
            yield {
                name: _decoded(array).astype(self.fields[name].dtype, copy=False)
                for name, array in stacked.items()
            }

    def _examples(self) -> Iterator[dict[str, Array]]:
        for number, example in enumerate(self._begin()):
            arrays = self._arrays(number, example)
            found = {name: _field(array) for name, array in arrays.items()}
            if found != self.fields:
                raise DataError(
                    f"{self.source}: example {number} holds {describe(found)}, but the first "
                    f"{describe(self.fields)}; all must be alike."
                )
            yield arrays

    def _arrays(self, number: int, example: Any) -> dict[str, Array]:
        if not isinstance(example, Mapping) or not example:
            raise DataError(
                f"{self.source}: example {number} is {type(example).__name__}; expected a "
                "dictionary from names to arrays."
            )
        arrays = {str(name): _plain(np.asarray(value)) for name, value in example.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in _NUMBERS + _TEXT:
                raise DataError(
                    f"{self.source}: {name!r} of example {number} is {array.dtype}; expected "
                    "numbers or text."
                )
        return arrays


def describe(fields: Mapping[str, Field]) -> str:
    """Fields in words, for messages."""
    return ", ".join(f"{name} {field}" for name, field in fields.items())


def _field(array: Array) -> Field:
    return Field(_dtype(array), array.shape)


def _dtype(array: Array) -> np.dtype[Any]:
    """The type that batches of ``array`` have."""
    return TEXT if array.dtype.kind in _TEXT else array.dtype.newbyteorder("=")


def _plain(array: Array) -> Array:
    """Text that was given as objects of Python; other arrays as they are."""
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat):
        return array.astype(str)
    return array


def _decoded(array: Array) -> Array:
    """Text as Python's own; numbers as they are."""
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8").astype(object)
        except UnicodeDecodeError as error:
            raise DataError(f"Text {error.object!r} of the data is not in UTF-8.") from None
    return array.astype(object) if array.dtype.kind == "U" else array


def _shuffled(
    examples: Iterator[dict[str, Array]], generator: np.random.Generator
) -> Iterator[dict[str, Array]]:
    buffer = list(itertools.islice(examples, BUFFER))
    for example in examples:
        place = int(generator.integers(len(buffer)))
        yield buffer[place]
        buffer[place] = example
    for place in generator.permutation(len(buffer)):
        yield buffer[place]
