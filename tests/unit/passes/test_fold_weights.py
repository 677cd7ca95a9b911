"""Weights rounded when a model is rewritten: the same numbers, in half the space."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.custom_ops import library
from onnxbf.errors import KernelError, UnsupportedError
from onnxbf.files import load_model, save_model
from onnxbf.passes.pipeline import convert

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,128] x{more}) => (float[2,128] y) {{ h = MatMul (x, w)  y = Add (h, b) }}"""


def _model(more: str = "") -> onnx.ModelProto:
    model = onnx.parser.parse_model(_TEXT.format(more=more))
    generator = np.random.default_rng(0)
    for name, shape in (("w", (128, 128)), ("b", (128,))):
        array = generator.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def _stored(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


@pytest.mark.parametrize(
    ("recipe", "store", "dtype"),
    [
        ("bf16", "bf16", ml_dtypes.bfloat16),
        ("bf16", "fp32", ml_dtypes.bfloat16),
        ("fp16", "fp16", np.float16),
        ("fp8", "e4m3fn", ml_dtypes.float8_e4m3fn),
    ],
)
def test_weights_are_the_formats_own(recipe: str, store: str, dtype: type) -> None:
    source = _model()
    converted, report = convert(source, recipe, store_weights=store)
    onnx.checker.check_model(converted)
    weights = onnx.numpy_helper.to_array(_stored(source)["w"])
    (name,) = (n for n in _stored(converted) if n.startswith("w_"))
    found = ir.serde.deserialize_tensor(_stored(converted)[name]).numpy().astype(np.float32)
    np.testing.assert_array_equal(found, weights.astype(dtype).astype(np.float32))
    assert all(change.tensor != "w" for change in report.changes)
    assert "w" not in _stored(converted) and "b" in _stored(converted)


def test_the_file_halves(tmp_path: Path) -> None:
    plain, _ = convert(_model())
    stored, _ = convert(_model(), store_weights="bf16")
    assert len(stored.SerializeToString()) < 0.55 * len(plain.SerializeToString())


def test_stochastic_weights_are_what_the_node_would_have_given(tmp_path: Path) -> None:
    recipe = tmp_path / "sr.toml"
    recipe.write_text("[[rules]]\nops = ['gemm']\nweights = 'bf16:sr'\n", encoding="utf-8")
    first, _ = convert(_model(), recipe, store_weights="fp32", seed=1)
    again, _ = convert(_model(), recipe, store_weights="fp32", seed=1)
    other, _ = convert(_model(), recipe, store_weights="fp32", seed=2)
    assert first.SerializeToString() == again.SerializeToString()
    assert first.SerializeToString() != other.SerializeToString()


def test_a_weight_that_callers_may_override_stays() -> None:
    converted, _ = convert(_model(more=", float[128,128] w"), store_weights="bf16")
    assert "w" in _stored(converted)


def test_a_constant_node_is_a_weight_too() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[1,2] x) => (float[1,1] y) {
          w = Constant <value = float[2,1] {1.1, 2.2}> ()  y = MatMul (x, w) }"""
    )
    converted, _ = convert(model, store_weights="bf16")
    assert [node.op_type for node in converted.graph.node].count("Constant") == 0
    assert "w_bf16_stored" in _stored(converted)


def test_formats_that_onnx_cannot_store_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="no tensor type for tf32"):
        convert(_model(), store_weights="tf32")


def test_a_format_that_no_weight_has_is_warned_of() -> None:
    _, report = convert(_model(), "bf16", store_weights="fp16")
    assert "none is stored as fp16" in report.warnings[0]


def test_external_weights_are_streamed(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    onnx.save(_model(), source, save_as_external_data=True, location="w.bin", size_threshold=0)
    model = load_model(source)
    converted, _ = convert(model, store_weights="bf16")
    save_model(converted, tmp_path / "out.onnx")
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    weights = onnx.numpy_helper.to_array(_stored(_model())["w"])
    saved = load_model(tmp_path / "out.onnx").graph.initializers["w_bf16_stored"].const_value
    assert saved is not None
    np.testing.assert_array_equal(saved.numpy(), weights.astype(ml_dtypes.bfloat16))
    assert {file.name for file in tmp_path.glob("out*")} == {"out.onnx", "out.onnx.data"}


def test_without_kernels_it_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_expected_path", lambda: tmp_path / "libonnxbf.so")
    convert(_model())  # needs none
    with pytest.raises(KernelError, match="missing"):
        convert(_model(), store_weights="bf16")
