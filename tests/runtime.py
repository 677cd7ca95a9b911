"""What the installed ONNX Runtime can do; without one, tests that ask are skipped."""

from __future__ import annotations

import pytest

_binding = pytest.importorskip("onnxruntime.capi._pybind_state")
TRAINS = hasattr(_binding, "GradientGraphBuilder")
needs_training = pytest.mark.skipif(not TRAINS, reason="this ONNX Runtime cannot train")
