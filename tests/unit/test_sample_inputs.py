"""Generated inputs: seeded, of the right type and shape, and valid as indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxbf.errors import ModelError
from onnxbf.sample_inputs import load_inputs, required_inputs, sample_inputs


@pytest.fixture
def model() -> ir.Model:
    return ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]>
            g (float[N,3] x, int64[N,5] ids, int32[4] mask, double[2] d, bool[2] flag, string[1] s,
               float[5,2] table) => (float[N,5,2] y) <float[5,2] table = {1,2,3,4,5,6,7,8,9,0}> {
              wide = Cast <to = 7> (ids)
              y = Gather (table, wide)
            }"""
        )
    )


def test_types_shapes_and_ranges(model: ir.Model) -> None:
    found = sample_inputs(model, seed=3)
    assert [*found] == ["x", "ids", "mask", "d", "flag", "s"]
    assert found["x"].dtype == np.float32 and found["x"].shape == (2, 3)
    assert found["ids"].shape == (2, 5) and set(found["ids"].ravel()) <= set(range(5))
    assert found["mask"].tolist() == [1, 1, 1, 1]
    assert found["d"].dtype == np.float64 and found["flag"].all()
    assert found["s"].tolist() == ["a"]


def test_seeded(model: ir.Model) -> None:
    first, same, other = (sample_inputs(model, seed=seed)["x"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_sequences_need_a_file() -> None:
    model = ir.from_proto(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["" : 17]>
            g (seq(float[2]) x, int64 i) => (float[2] y) { y = SequenceAt (x, i) }"""
        )
    )
    with pytest.raises(ModelError, match="--inputs"):
        sample_inputs(model)


def test_npz(model: ir.Model, tmp_path: Path) -> None:
    arrays = sample_inputs(model)
    del arrays["s"]
    path = tmp_path / "in.npz"
    np.savez(path, **{f"input/{name}": array for name, array in arrays.items()})
    with pytest.raises(ModelError, match="no array 's', which A needs"):
        load_inputs(path, {"A": model})
    np.savez(path, s=np.array(["a"]), **arrays)
    loaded = load_inputs(path, {"A": model})
    assert {value.name for value in required_inputs(model)} == {*loaded}


@pytest.mark.parametrize("content", [None, b"", b"PK not a zip"])
def test_bad_files(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"Cannot read inputs"):
        load_inputs(path, {})
