"""Models that frameworks really exported: convert, run, and differ by what rounding explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxbf.comparison import as_tensor, compare
from onnxbf.errors import UnsupportedError
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto
from onnxbf.session import make_session, run

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.onnx"))

Arrays = dict[str, NDArray[np.generic]]


def _samples(path: Path, kind: str) -> Arrays:
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as data:
        names = [name for name in data.files if name.startswith(f"{kind}/")]
        return {name.removeprefix(f"{kind}/"): data[name] for name in names}


def _run(model: onnx.ModelProto | Path, feeds: Arrays) -> Arrays:
    source = model if isinstance(model, Path) else model.SerializeToString()
    return {name: as_tensor(value) for name, value in run(make_session(source), feeds).items()}


def _opset(path: Path) -> int:
    imports = onnx.load(path).opset_import
    return max(entry.version for entry in imports if entry.domain in ("", "ai.onnx"))


def test_all_kinds_are_there() -> None:
    names = " ".join(path.stem for path in MODELS)
    for wanted in ("torch_", "torchscript_", "keras_", "jax_", "sklearn_"):
        assert wanted in names
    for wanted in ("resnet", "bert", "gpt2", "llama", "lstm", "unet"):
        assert wanted in names


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_the_runtime_gives_what_the_framework_gave(path: Path) -> None:
    found = _run(path, _samples(path, "input"))
    for name, expected in _samples(path, "output").items():
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4)
        else:
            np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("recipe", ["bf16", "bf16-gemm", "fp16"])
@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_differs_by_what_rounding_explains(path: Path, recipe: str) -> None:
    converted, report = convert(path, recipe)
    found = compare(path, from_proto(converted), inputs=_samples(path, "input"))
    numbers = [tensor for tensor in found.tensors if tensor.tolerance]
    for tensor in numbers:
        assert tensor.within, (tensor.a, tensor.norm_rel, tensor.tolerance)
    if report.changes and numbers:
        assert any(tensor.norm_rel > 0 for tensor in numbers), "nothing was rounded"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_cast_pairs_and_custom_operators_give_the_same_bits(path: Path) -> None:
    feeds = _samples(path, "input")
    ours, _ = convert(path)
    if _opset(path) < 13:  # has no Cast to bfloat16
        with pytest.raises(UnsupportedError, match="needs opset 13"):
            convert(path, portable=True)
        return
    portable, _ = convert(path, portable=True)
    left, right = _run(ours, feeds), _run(portable, feeds)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_stored_weights_give_the_same_bits(path: Path) -> None:
    feeds = _samples(path, "input")
    plain, _ = convert(path)
    stored, _ = convert(path, store_weights="bf16")
    left, right = _run(plain, feeds), _run(stored, feeds)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name])


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_fp8_runs(path: Path) -> None:
    converted, _ = convert(path, "fp8")
    found = _run(converted, _samples(path, "input"))
    assert {*found} == {value.name for value in converted.graph.output}
