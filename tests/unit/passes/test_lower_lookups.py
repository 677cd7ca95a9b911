"""Gradients of tables: ONNX Runtime's sums, in one order."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxbf.graph import Phase, phase_of
from onnxbf.passes.choose import operator_of
from onnxbf.passes.lower_lookups import LowerLookups
from onnxbf.passes.stamp_phases import StampPhases
from onnxbf.passes.sum_lookups import SumLookups
from onnxbf.protos import from_proto, to_proto
from onnxbf.report import Report
from onnxbf.session import make_session, run

_TEXT = """<ir_version: 9, opset_import: ["" : OPSET, "com.microsoft" : 1]>
g (float[SIZES] t, int64[2,N] i, float[2,N,REST] e_grad) => (float[2,N,REST] e, float[SIZES] t_grad)
{
  [look] e = Gather <axis = AXIS> (t, i)
  ["look_Grad/Shape_0"] shape = Shape (t)
  ["look_Grad/GatherGrad_1"] t_grad = com.microsoft.GatherGrad <axis = AXIS> (shape, i, e_grad)
}"""


def _lowered(opset: int = 17, axis: int = 0, sizes: str = "5,7") -> tuple[bool, onnx.ModelProto]:
    text = _TEXT.replace("OPSET", str(opset)).replace("AXIS", str(axis)).replace("SIZES", sizes)
    model = from_proto(onnx.parser.parse_model(text.replace("REST", sizes.partition(",")[2])))
    StampPhases(Report("none"))(model)
    modified = LowerLookups(Report("none"))(model).modified
    return modified, to_proto(model)


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("sizes", [(5, 7), (5, 2, 3)])
def test_rows_are_added_in_their_order_whatever_the_threads(
    sizes: tuple[int, ...], ours: bool
) -> None:
    modified, proto = _lowered(sizes=",".join(map(str, sizes)))
    assert modified
    if ours:
        model = from_proto(proto)
        assert SumLookups(Report("none"))(model).modified
        proto = to_proto(model)
        assert "GatherGrad" in {node.op_type for node in proto.graph.node}
    rng = np.random.default_rng(0)
    indices = rng.integers(-sizes[0], sizes[0], (2, 400))
    gradient = rng.normal(size=(2, 400, *sizes[1:])).astype(np.float32)
    wanted = np.zeros(sizes, np.float32)
    np.add.at(wanted, indices.ravel(), gradient.reshape(800, *sizes[1:]))
    feeds = {"t": np.zeros(sizes, np.float32), "i": indices, "e_grad": gradient}
    for threads in (1, 2, 2, 3):
        found = run(make_session(proto.SerializeToString(), threads=threads), feeds)
        np.testing.assert_array_equal(found["t_grad"], wanted)


def test_it_still_is_a_lookup_of_the_weight_gradient() -> None:
    nodes = [*from_proto(_lowered()[1]).graph]
    (scatter,) = (node for node in nodes if node.op_type == "ScatterElements")
    operator = operator_of(scatter)
    assert operator is not None and operator.op_type == "GatherGrad"
    assert phase_of(scatter) is Phase.WEIGHT_GRADIENT


@pytest.mark.parametrize("options", [{"opset": 15}, {"axis": 1}, {"sizes": "M,7"}])
def test_others_stay(options: dict[str, object]) -> None:
    assert not _lowered(**options)[0]  # type: ignore[arg-type]
