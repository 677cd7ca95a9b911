"""Types that onnx_ir refuses come back as they were."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxbf.files import load_model, save_model
from onnxbf.passes.pipeline import convert
from onnxbf.protos import from_proto, keeps_types, to_proto

MODELS = Path(__file__).parents[1] / "models"


@pytest.mark.parametrize("name", ["sklearn_mlp_zipmap", "sklearn_logistic_zipmap"])
def test_maps_survive(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.onnx"
    proto = onnx.load(path)
    before = proto.SerializeToString(deterministic=True)
    model = from_proto(proto)
    assert keeps_types(model)
    assert [*to_proto(model).graph.output] == [*proto.graph.output]
    assert proto.SerializeToString(deterministic=True) == before
    save_model(load_model(path), tmp_path / "out.onnx")
    assert [*onnx.load(tmp_path / "out.onnx").graph.output] == [*proto.graph.output]
    assert [*convert(path)[0].graph.output] == [*proto.graph.output]


def test_models_without_maps_are_onnx_irs_own_business() -> None:
    model = load_model(MODELS / "torch_cnn.onnx")
    assert not keeps_types(model)
