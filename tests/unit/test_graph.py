"""What every pass asks of a graph."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import onnx
import onnx_ir as ir
import pytest

from onnxbf.graph import all_graphs, collection_paused, subgraphs_of


@pytest.fixture
def collecting() -> Iterator[None]:
    """The garbage collector on, with nothing frozen, as it is for users."""
    gc.enable()
    gc.unfreeze()
    yield
    gc.unfreeze()
    gc.enable()


def _oldest(thing: object) -> bool:
    return any(other is thing for other in gc.get_objects(generation=2))


@pytest.mark.usefixtures("collecting")
def test_what_is_made_meanwhile_is_old_afterwards_and_still_collected() -> None:
    with collection_paused():
        assert not gc.isenabled()
        made: list[object] = []
        made.append(made)
        assert not _oldest(made)
    assert gc.isenabled() and _oldest(made) and gc.get_freeze_count() == 0
    del made
    assert gc.collect() > 0


@pytest.mark.usefixtures("collecting")
def test_what_the_caller_froze_or_switched_off_stays_so() -> None:
    gc.freeze()
    with collection_paused():
        pass
    assert gc.get_freeze_count() > 0 and gc.isenabled()
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


def test_graphs_within_graphs() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (bool c, float[2] x) => (float[2] y) {
        z = Relu (x)
        y = If (c) <then_branch = a () => (p) { p = Neg (z) }, else_branch = b () => (q) {
            q = If (c) <then_branch = d () => (r) { r = Abs (z) },
                        else_branch = e () => (s) { s = Exp (z) }> }>
    }"""
    model = ir.from_proto(onnx.parser.parse_model(text))
    relu, branch = model.graph
    assert list(subgraphs_of(relu)) == []
    assert [graph.name for graph in subgraphs_of(branch)] == ["a", "b"]
    assert [graph.name for graph in all_graphs(model)] == ["g", "a", "b", "d", "e"]
