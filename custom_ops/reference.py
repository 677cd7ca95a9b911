"""The operators of domain ``ai.onnxbf`` for ``onnx.reference.ReferenceEvaluator``, in NumPy.

With these a converted model runs without ONNX Runtime and without the kernel library::

    ReferenceEvaluator(model, new_ops=REFERENCE_OPS).run(None, feeds)
    Evaluator(model).run(None, feeds)  # the same, and in model-local functions, too

They are what the C++ operators are judged by, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from onnxbf.block_quantizer import quantize_blocks
from onnxbf.casts import AnyCast
from onnxbf.custom_ops.attributes import (
    CAST_DEFAULTS,
    Attribute,
    attributes_block,
    attributes_cast,
    attributes_delayed,
    attributes_range,
    attributes_scaled,
)
from onnxbf.custom_ops.elementwise import parse_program
from onnxbf.custom_ops.gradient_reference import GRADIENT_OPS
from onnxbf.custom_ops.observation import observe_rounding, observe_update
from onnxbf.custom_ops.reference_conv import (
    Conv,
    ConvInputGrad,
    ConvTranspose,
    ConvWeightGrad,
)
from onnxbf.custom_ops.reference_products import (
    Floats,
    FusedMatMul,
    Gemm,
    MatMul,
    MatMulElementwise,
)
from onnxbf.custom_ops.reference_sum_gradients import LayerNormGrad, SoftmaxGrad
from onnxbf.custom_ops.reference_sums import LayerNormalization, ReduceMean, ReduceSum, Softmax
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.encoding import code_type, decode, encode
from onnxbf.errors import ModelError, SpecError, UnsupportedError
from onnxbf.formats import (
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    FLOAT16,
    Cast,
    NumberFormat,
    Rounding,
)
from onnxbf.philox import random_words
from onnxbf.range_quantizer import quantize_range
from onnxbf.rounding import round_array
from onnxbf.scaled_cast import ScaledCast
from onnxbf.scaled_quantizer import next_state, round_scaled

Number = NDArray[np.int64] | None  # an input that holds one, and may be absent
Health = NDArray[np.float64]  # what was observed of roundings
_Words = NDArray[np.uint32] | None
_CastT = TypeVar("_CastT", bound=AnyCast)
_ResultT = TypeVar("_ResultT")

STORED_TYPES: dict[NumberFormat, np.dtype[Any]] = {
    BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    FLOAT16: np.dtype(np.float16),
    FLOAT8_E4M3FN: np.dtype(ml_dtypes.float8_e4m3fn),
    FLOAT8_E5M2: np.dtype(ml_dtypes.float8_e5m2),
}


class _Operator(OpRun):
    """What the operators share: errors that name the node."""

    op_domain = DOMAIN

    def _cast(self, attributes: Mapping[str, Attribute]) -> Cast:
        try:
            return attributes_cast(attributes)
        except ValueError as error:
            raise ModelError(f"{self._name()}: {error}.") from None

    def _name(self) -> str:
        return f"{self.onnx_node.op_type} node {self.onnx_node.name!r}"

    def _round(
        self, x: Floats, step: Number, offset: Number, attributes: Mapping[str, Attribute]
    ) -> Floats:
        """``x`` rounded as the attributes say; random bits begin at element ``offset``."""
        cast = self._cast(attributes)
        full = {**CAST_DEFAULTS, **attributes}
        place = {
            "step": self._number("step", step, 2**32 - 1),
            "offset": self._number("offset", offset, 2**63 - 1),
        }
        if cast.rounding is not Rounding.STOCHASTIC:
            return round_array(x, cast)
        words = random_words(x.size, seed=int(full["seed"]), node=int(full["node"]), **place)
        return round_array(x, cast, words.reshape(x.shape))

    def _quantized(
        self,
        x: Floats,
        step: Number,
        attributes: Mapping[str, Attribute],
        read: Callable[[Mapping[str, Attribute]], _CastT],
        quantize: Callable[[Floats, _CastT, _Words], _ResultT],
    ) -> _ResultT:
        """What ``quantize`` makes of ``x`` under the cast that ``read`` finds in the attributes."""
        with self._complaining():
            cast = read(attributes)
            return quantize(x, cast, self._words(x, cast.stochastic, step, attributes))

    def _words(
        self, x: Floats, stochastic: bool, step: Number, attributes: Mapping[str, Attribute]
    ) -> _Words:
        """The random words of a tensor; None where it is not rounded stochastically."""
        place = self._number("step", step, 2**32 - 1)
        if not stochastic:
            return None
        seed, node = int(attributes.get("seed", 0)), int(attributes.get("node", 0))
        return random_words(x.size, seed=seed, node=node, step=place)

    @contextlib.contextmanager
    def _complaining(self) -> Iterator[None]:
        """Let what goes wrong name the node."""
        try:
            yield
        except (ValueError, SpecError, UnsupportedError) as error:
            raise ModelError(f"{self._name()}: {error}") from None

    def _number(self, name: str, value: Number, high: int) -> int:
        """The number that an optional input holds, 0 where it is absent."""
        if value is None:
            return 0
        if value.size != 1 or not 0 <= value.item() <= high:
            raise ModelError(
                f"{self._name()}: input {name!r} is {value}, but must be one number in 0 to {high}."
            )
        return int(value.item())


class QuantizeDequantize(_Operator):
    """float32 to a format and back to float32."""

    def _run(
        self, x: Floats, step: Number = None, offset: Number = None, **attributes: Attribute
    ) -> tuple[Floats]:
        return (np.asarray(self._round(x, step, offset, attributes)),)


class QuantizeDequantizeObserved(_Operator):
    """QuantizeDequantize, and what it did to the numbers."""

    def _run(
        self, x: Floats, step: Number = None, offset: Number = None, **attributes: Attribute
    ) -> tuple[Floats, Health]:
        rounded = np.asarray(self._round(x, step, offset, attributes))
        return rounded, observe_rounding(x, rounded, self._cast(attributes))


class ObserveUpdate(_Operator):
    """How many weights an update left as they were, and how many of their rounded copies."""

    def _run(
        self, update: Floats, before: Floats, after: Floats, **attributes: Attribute
    ) -> tuple[Health]:
        if not update.shape == before.shape == after.shape:
            raise ModelError(
                f"{self._name()}: inputs 'update', 'before' and 'after' must be of one shape."
            )
        return (observe_update(update, before, after, self._cast(attributes)),)


class QuantizeRange(_Operator):
    """float32 to integers over the range of the numbers, and back."""

    def _run(self, x: Floats, step: Number = None, **attributes: Attribute) -> tuple[Floats]:
        y = self._quantized(x, step, attributes, attributes_range, quantize_range)
        return (np.asarray(y),)


class QuantizeBlocks(_Operator):
    """float32 to a block format along an axis, and back."""

    def _run(self, x: Floats, step: Number = None, **attributes: Attribute) -> tuple[Floats]:
        y = self._quantized(x, step, attributes, attributes_block, quantize_blocks)
        return (np.asarray(y),)


def _scaled(
    x: Floats, cast: ScaledCast, words: _Words, state: Floats | None = None
) -> tuple[Floats, Health]:
    numbers = round_scaled(x, cast, state, words)
    return numbers.result, observe_rounding(numbers.scaled, numbers.rounded, cast.cast)


class QuantizeScaled(_Operator):
    """float32 scaled by its largest magnitude, to a format, and back."""

    def _run(
        self, x: Floats, step: Number = None, **attributes: Attribute
    ) -> tuple[Floats, Health]:
        return self._quantized(x, step, attributes, attributes_scaled, _scaled)


class QuantizeDelayed(_Operator):
    """The same, scaled by the largest magnitudes of the steps before."""

    def _run(
        self, x: Floats, state: Floats, step: Number = None, **attributes: Attribute
    ) -> tuple[Floats, Floats, Health]:
        def delayed(x: Floats, cast: ScaledCast, words: _Words) -> tuple[Floats, Floats, Health]:
            y, health = _scaled(x, cast, words, state)
            return y, next_state(x, cast, state), health

        return self._quantized(x, step, attributes, attributes_delayed, delayed)


class Quantize(_Operator):
    """float32 to a stored bfloat16, float16 or float8 tensor."""

    def _run(
        self, x: Floats, step: Number = None, offset: Number = None, **attributes: Attribute
    ) -> tuple[NDArray[np.generic]]:
        fmt = self._cast(attributes).format
        if fmt not in STORED_TYPES:
            raise UnsupportedError(
                f"{self._name()}: ONNX has no tensor type for {fmt}: use QuantizeDequantize."
            )
        codes = encode(self._round(x, step, offset, attributes), fmt)
        return (np.asarray(codes).view(STORED_TYPES[fmt]),)


class Dequantize(_Operator):
    """A stored bfloat16, float16 or float8 tensor to float32."""

    def _run(self, x: NDArray[np.generic]) -> tuple[Floats]:
        formats = {dtype: fmt for fmt, dtype in STORED_TYPES.items()}
        if x.dtype not in formats:
            known = ", ".join(str(dtype) for dtype in formats)
            raise ModelError(f"{self._name()}: its input is {x.dtype}, but must be one of {known}.")
        fmt = formats[x.dtype]
        return (np.asarray(decode(x.view(code_type(fmt)), fmt)),)


class Elementwise(_Operator):
    """A program of elementwise operations over groups of tensors."""

    def _run(self, *inputs: Floats, program: str = "") -> tuple[Any, ...]:
        return tuple(self._compute(inputs, program, None))

    def _compute(
        self, inputs: Sequence[Floats], program: str, told: list[Any] | None
    ) -> list[Floats]:
        try:
            parsed = parse_program(program)
        except ValueError as error:
            raise ModelError(f"{self._name()}: attribute 'program': {error}.") from None
        shared, each = parsed.count("s"), parsed.count("x")
        last = len(inputs) - shared
        groups = (inputs[i : i + each] for i in range(0, last, each))
        return [y for group in groups for y in parsed.run(group, inputs[last:], told)]


class ElementwiseObserved(Elementwise):
    """The same, and what its roundings did to the numbers, which comes first."""

    def _run(self, *inputs: Floats, program: str = "") -> tuple[Any, ...]:
        told: list[Health] = []
        outputs = self._compute(inputs, program, told)
        return np.concatenate([np.zeros(0), *told]), *outputs


REFERENCE_OPS: list[type[OpRun]] = [
    QuantizeDequantize,
    QuantizeDequantizeObserved,
    ObserveUpdate,
    Quantize,
    Dequantize,
    QuantizeScaled,
    QuantizeDelayed,
    QuantizeRange,
    QuantizeBlocks,
    MatMul,
    FusedMatMul,
    MatMulElementwise,
    Gemm,
    Conv,
    ConvTranspose,
    ConvInputGrad,
    ConvWeightGrad,
    ReduceSum,
    ReduceMean,
    Softmax,
    LayerNormalization,
    SoftmaxGrad,
    LayerNormGrad,
    *GRADIENT_OPS,
    Elementwise,
    ElementwiseObserved,
]


class Evaluator(ReferenceEvaluator):
    """ONNX's evaluator, with these operators.

    ONNX's own does not hand ``new_ops`` on to the model-local functions of a model.
    """

    def __init__(
        self, proto: Any, *, new_ops: list[type[OpRun]] | None = None, **options: Any
    ) -> None:
        super().__init__(proto, new_ops=[*(new_ops or []), *REFERENCE_OPS], **options)
