"""Reading and writing: every bad file is refused in a sentence, and nothing is half written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import ModelError, UnsupportedError
from onnxbf.files import filling_folder, load_model, save_model, write_text

_TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,64] x) => (float[2,64] y) { y = MatMul (x, w) }
"""


def _model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(_TEXT)
    weights = np.arange(64 * 64, dtype=np.float32).reshape(64, 64)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    return model


@pytest.fixture
def external(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(_model(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


def _refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_model(path)
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in _refused(tmp_path / "no.onnx")


@pytest.mark.parametrize("content", [b"", b"hello, world", b"\x00" * 100, b"\x08\x08"])
def test_not_onnx(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    assert "not an ONNX" in _refused(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated(tmp_path: Path, share: float) -> None:
    path = tmp_path / "cut.onnx"
    whole = _model().SerializeToString()
    path.write_bytes(whole[: int(len(whole) * share)])
    _refused(path)


def test_checker(tmp_path: Path) -> None:
    path = tmp_path / "wrong.onnx"
    model = _model()
    model.graph.node[0].input[0] = "nowhere"
    path.write_bytes(model.SerializeToString())
    assert "checker" in _refused(path)


def test_a_value_computed_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.onnx"
    model = _model()
    model.graph.node.append(model.graph.node[0])
    path.write_bytes(model.SerializeToString())
    assert "'y' has been used as output names multiple times" in _refused(path)


def test_text_is_not_taken_for_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.textproto"
    path.write_text(str(_model()))
    assert "not an ONNX file" in _refused(path)


def test_missing_external_data(external: Path) -> None:
    (external.parent / "w.bin").unlink()
    assert "missing" in _refused(external)


def test_cut_external_data(external: Path) -> None:
    data = external.parent / "w.bin"
    data.write_bytes(data.read_bytes()[:-1])
    assert "cut off" in _refused(external)


@pytest.mark.parametrize(("key", "value"), [("length", "8"), ("offset", "-4"), ("offset", "x")])
def test_external_data_in_an_impossible_place(external: Path, key: str, value: str) -> None:
    model = onnx.load(external, load_external_data=False)
    entries = model.graph.initializer[0].external_data
    kept = {entry.key: entry.value for entry in entries if entry.key in ("location", "length")}
    del entries[:]
    for name, text in {**kept, key: value}.items():
        entries.add(key=name, value=text)
    external.write_bytes(model.SerializeToString())
    _refused(external)


def test_external_data_behind_a_link_out_of_the_folder(external: Path) -> None:
    data = external.parent / "w.bin"
    data.rename(external.parent.parent / "w.bin")
    data.symlink_to("../w.bin")
    assert "outside" in _refused(external)


@pytest.mark.parametrize("location", ["../w.bin", "/etc/passwd"])
def test_external_data_outside_of_the_folder(external: Path, location: str) -> None:
    model = onnx.load(external, load_external_data=False)
    (external.parent / "w.bin").rename(external.parent.parent / "w.bin")
    next(
        e for e in model.graph.initializer[0].external_data if e.key == "location"
    ).value = location
    external.write_bytes(model.SerializeToString())
    assert "outside" in _refused(external)


def test_external_weights_stay_in_the_same_folder(external: Path) -> None:
    target = external.with_name("out.onnx")
    save_model(load_model(external), target)
    assert sorted(p.name for p in external.parent.iterdir()) == ["model.onnx", "out.onnx", "w.bin"]
    assert _weights(target).shape == (64, 64)


def test_external_weights_are_copied_to_another_folder(external: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "model.onnx"
    seen: list[tuple[int, int]] = []
    save_model(
        load_model(external), target, progress=lambda done, total: seen.append((done, total))
    )
    assert sorted(p.name for p in target.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert seen == [(1, 1)]
    np.testing.assert_array_equal(_weights(target), _weights(external))


def test_keep_weights_cannot_leave_the_folder(external: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UnsupportedError, match="--keep-weights"):
        save_model(load_model(external), tmp_path / "out" / "m.onnx", keep_weights=True)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("disk full")

    monkeypatch.setattr(ir, "save", fail)
    with pytest.raises(RuntimeError):
        save_model(ir.from_proto(_model()), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


def test_a_failed_copy_of_weights_leaves_the_old_ones(
    external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "m.onnx"
    save_model(load_model(external), target)
    before = {path: path.read_bytes() for path in folder.iterdir()}

    def full(done: int, total: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="No space left on device"):
        save_model(load_model(external), target, progress=full)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        write_text(tmp_path / "no" / "r.json", "{}")
    with pytest.raises(ModelError, match="is a folder"):
        write_text(tmp_path, "{}")


def _fill(path: Path, text: str, *, force: bool = False) -> None:
    with filling_folder(path, last="b", force=force) as folder:
        for name in "abc":
            (folder / name).write_text(text)


def _texts(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(RuntimeError), filling_folder(target, last="b") as folder:
        (folder / "a").write_text("half")
        assert not target.exists()
        raise RuntimeError("disk full")
    assert list(tmp_path.iterdir()) == []
    _fill(target, "whole")
    assert _texts(target) == dict.fromkeys("abc", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_files_in_a_folder_are_replaced_if_that_is_asked_for(tmp_path: Path) -> None:
    _fill(tmp_path, "new")  # it is empty
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(UnsupportedError, match="holds files already"):
        _fill(tmp_path, "newer")
    assert _texts(tmp_path) == {**dict.fromkeys("abc", "new"), "kept": "mine"}
    _fill(tmp_path, "newer", force=True)
    assert _texts(tmp_path) == {**dict.fromkeys("abc", "newer"), "kept": "mine"}


def test_a_mixture_of_old_and_new_files_lacks_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fill(tmp_path, "old")
    replace, done = os.replace, []

    def fail(source: Path, target: Path) -> None:
        if done:
            raise RuntimeError("killed")
        done.append(replace(source, target))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RuntimeError):
        _fill(tmp_path, "new", force=True)
    assert _texts(tmp_path) == {"a": "new", "c": "old"}


def test_no_place_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        _fill(tmp_path / "no" / "made", "")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="is a file"):
        _fill(tmp_path / "file", "", force=True)


_GRADIENT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,64] x, int64[2,64] i) => (float[2,64] y) { z = MatMul (x, w) y = MaxPoolGrad (z, i) }
"""


@pytest.mark.parametrize("separate", [False, True])
def test_gradients_of_onnx_runtime_in_onnxs_domain_are_accepted(
    tmp_path: Path, separate: bool
) -> None:
    model = onnx.parser.parse_model(_GRADIENT)
    model.graph.initializer.append(_model().graph.initializer[0])
    path = tmp_path / "m.onnx"
    onnx.save(model, path, save_as_external_data=separate, location="w.bin", size_threshold=0)
    loaded = load_model(path)
    assert [(node.domain, node.op_type) for node in loaded.graph][1] == ("", "MaxPoolGrad")
    save_model(loaded, tmp_path / "again.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, path, save_as_external_data=separate, location="w.bin", size_threshold=0)
    assert "NoSuchOperator" in _refused(path)


def _weights(path: Path) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
