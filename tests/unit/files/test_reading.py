"""Every file that is not a usable model is refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxbf.errors import ModelError
from onnxbf.files import check_proto, load_model, save_model
from tests.model_files import product_model, refused


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "no.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x00" * 100, b"\x08\x08"])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert "not an ONNX" in refused(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.onnx"
    whole = product_model().SerializeToString()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


def test_checker(tmp_path: Path) -> None:
    path = tmp_path / "wrong.onnx"
    model = product_model()
    model.graph.node[0].input[0] = "nowhere"
    path.write_bytes(model.SerializeToString())
    assert "checker" in refused(path)


def test_an_opset_that_onnx_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    model = product_model()
    model.opset_import[0].version = newest = onnx.defs.onnx_opset_version()
    path.write_bytes(model.SerializeToString())
    load_model(path)
    model.opset_import[0].version = newest + 1
    path.write_bytes(model.SerializeToString())
    assert f"opset {newest + 1}" in refused(path) and f"in opset {newest}." in refused(path)
    with pytest.raises(ModelError, match=f"opset {newest + 1}"):
        check_proto(model)


def test_an_ir_version_that_onnx_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "new.onnx"
    model = product_model()
    model.ir_version = onnx.IR_VERSION
    path.write_bytes(model.SerializeToString())
    load_model(path)
    model.ir_version += 1
    path.write_bytes(model.SerializeToString())
    told = refused(path)
    assert f"IR version {model.ir_version}" in told
    assert f"export the model in IR version {onnx.IR_VERSION}." in told


def test_a_value_computed_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.onnx"
    model = product_model()
    model.graph.node.append(model.graph.node[0])
    path.write_bytes(model.SerializeToString())
    assert "'y' has been used as output names multiple times" in refused(path)


def test_text_is_not_taken_for_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.textproto"
    path.write_text(str(product_model()))
    assert "not an ONNX file" in refused(path)


_GRADIENT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,64] x, int64[2,64] i) => (float[2,64] y) { z = MatMul (x, w) y = MaxPoolGrad (z, i) }
"""


@pytest.mark.parametrize("separate", [False, True])
def test_gradients_of_onnx_runtime_in_onnxs_domain_are_accepted(
    tmp_path: Path, separate: bool
) -> None:
    model = onnx.parser.parse_model(_GRADIENT)
    model.graph.initializer.append(product_model().graph.initializer[0])
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=separate, location="w.bin", size_threshold=0)
    loaded = load_model(path)
    assert [(node.domain, node.op_type) for node in loaded.graph][1] == ("", "MaxPoolGrad")
    save_model(loaded, tmp_path / "again.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path, save_as_external_data=separate, location="w.bin", size_threshold=0)
    assert "NoSuchOperator" in refused(path)
