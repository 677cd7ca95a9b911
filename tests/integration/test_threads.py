"""Which of ONNX Runtime's kernels give the same bits on one thread and on two.

docs/training_numerics.md says for which products they may not.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from onnxbf.session import make_session, run
from tests.runtime import needs_training
from tests.small_models import value

pytestmark = needs_training

Array = NDArray[Any]
_RNG = np.random.default_rng(0)


def _draw(*shape: int) -> Array:
    return np.abs(_RNG.normal(size=shape)).astype(np.float32)


_ROWS, _MANY, _IMAGES = (4000, 100), (400000,), (16, 16, 20, 20)
_NORM = (_draw(100), _draw(100))
_PIXELS = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}

# Operator, inputs, outputs, attributes; each large enough that ONNX Runtime uses its threads.
KERNELS: list[tuple[str, tuple[Array, ...], int, dict[str, Any]]] = [
    *((op, (_draw(*_MANY),), 1, {}) for op in ("Tanh", "Sigmoid", "Erf", "Exp", "Sqrt", "Gelu")),
    *((op, (_draw(*_MANY), _draw(*_MANY)), 1, {}) for op in ("Add", "Mul", "Div", "Sum")),
    *((op, (_draw(*_MANY), _draw(*_MANY)), 1, {}) for op in ("ReluGrad", "TanhGrad", "GeluGrad")),
    *((op, (_draw(*_ROWS),), 1, {}) for op in ("Softmax", "LogSoftmax")),
    *((op, (_draw(*_ROWS),), 1, {"keepdims": 0}) for op in ("ReduceSum", "ReduceMean")),
    ("ReduceSumSquare", (_draw(*_ROWS),), 1, {"keepdims": 0}),
    ("SoftmaxGrad_13", (_draw(*_ROWS), _draw(*_ROWS)), 1, {}),
    ("LayerNormalization", (_draw(*_ROWS), *_NORM), 1, {}),
    (
        "LayerNormalizationGrad",
        (_draw(*_ROWS), _draw(*_ROWS), _NORM[0], _draw(4000, 1), _draw(4000, 1)),
        3,
        {},
    ),
    ("SoftmaxCrossEntropyLoss", (_draw(*_ROWS), _RNG.integers(0, 100, 4000)), 2, {}),
    ("AveragePool", (_draw(*_IMAGES),), 1, {"kernel_shape": [3, 3]}),
    ("GlobalAveragePool", (_draw(*_IMAGES),), 1, {}),
]


def _differs(op: str, inputs: tuple[Array, ...], outputs: int = 1, **attributes: Any) -> set[str]:
    """The outputs that are not the same bits on one thread and on two."""
    feeds = {f"i{index}": array for index, array in enumerate(inputs)}
    kinds = {key: helper.np_dtype_to_tensor_dtype(array.dtype) for key, array in feeds.items()}
    results = [value(f"o{index}") for index in range(outputs)]
    domain = "" if onnx.defs.has(op) and op != "Gelu" else "com.microsoft"
    made = helper.make_node(op, [*feeds], [r.name for r in results], domain=domain, **attributes)
    graph = helper.make_graph(
        [made], "kernel", [value(key, kinds[key], a.shape) for key, a in feeds.items()], results
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, ir_version=9, opset_imports=opsets).SerializeToString()
    one, two = (run(make_session(model, threads=k, optimize=False), feeds) for k in (1, 2))
    return {key for key in one if one[key].tobytes() != two[key].tobytes()}


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel[0])
def test_these_kernels_agree(kernel: tuple[str, tuple[Array, ...], int, dict[str, Any]]) -> None:
    op, inputs, outputs, attributes = kernel
    assert _differs(op, inputs, outputs, **attributes) == set()


def agrees(rows: int, columns: int, products: int) -> bool:
    """What the documentation says of a matrix product on two threads."""
    return rows >= columns or columns > 128 or products <= 128


_SIZES = [
    size
    for size in itertools.product((8, 32, 128), (10, 64, 128, 256), (100, 300, 2000))
    if agrees(*size)
]


@pytest.mark.parametrize(("rows", "columns", "products"), _SIZES)
def test_products_agree_where_the_documentation_says_so(
    rows: int, columns: int, products: int
) -> None:
    left, right = _draw(rows, products), _draw(products, columns)
    assert _differs("MatMul", (left, right)) == set()
    assert _differs("Gemm", (left, right.T.copy()), transB=1) == set()


def test_a_first_matrix_that_is_transposed_always_agrees() -> None:
    assert _differs("Gemm", (_draw(2000, 8), _draw(2000, 64)), transA=1) == set()


@pytest.mark.parametrize(("channels_in", "size"), [(1, 16), (12, 11), (32, 16)])
def test_convolutions_agree_where_their_products_do(channels_in: int, size: int) -> None:
    images, weights = _draw(8, channels_in, size, size), _draw(16, channels_in, 3, 3)
    pixels = size * size
    assert agrees(16, pixels, 9 * channels_in) and agrees(16, 9 * channels_in, pixels)
    assert _differs("Conv", (images, weights), **_PIXELS) == set()
    given = (_draw(8, 16, size, size), images, weights)
    assert _differs("ConvGrad", given, 3, **_PIXELS) == set()
