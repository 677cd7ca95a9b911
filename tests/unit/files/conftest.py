"""A model whose weights stand in another file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.model_files import product_model


@pytest.fixture
def external(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(product_model(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path
