"""ONNX's own backend tests: every model converts, and what ran before still runs."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.backend.test.loader import load_model_tests

from onnxbf.comparison import as_tensor
from onnxbf.errors import ModelError, RuntimeMissing
from onnxbf.passes.pipeline import convert
from onnxbf.report import Report
from onnxbf.session import make_session, run

_KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
_ENOUGH_RUN = 700  # of some 2,000; the rest is newer than the older of the supported runtimes


@functools.cache
def _cases() -> dict[str, tuple[onnx.ModelProto, list[np.ndarray] | None]]:
    """Each test's model, and its first inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tests = [test for kind in _KINDS for test in load_model_tests(kind=kind)]
    found = {}
    for test in tests:
        model = test.model or onnx.load(Path(test.model_dir) / "model.onnx")
        found[test.name] = (model, _inputs(test.data_sets, test.model_dir))
    return found


def _inputs(data_sets: list | None, folder: str | None) -> list[np.ndarray] | None:
    if data_sets:
        arrays = list(data_sets[0][0])
        return arrays if all(isinstance(array, np.ndarray) for array in arrays) else None
    files = sorted(Path(folder or "").glob("test_data_set_0/input_*.pb"))
    tensors = [onnx.TensorProto.FromString(file.read_bytes()) for file in files]
    return [onnx.numpy_helper.to_array(tensor) for tensor in tensors]


def _without_node_names(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for nodes in (copy.graph.node, *(function.node for function in copy.functions)):
        _clear(nodes)
    return copy


def _clear(nodes: list[onnx.NodeProto]) -> None:
    for node in nodes:
        node.name, node.domain = "", node.domain  # an empty domain may be written or not
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _clear(attribute.g.node)
                del attribute.g.value_info[:]


def test_there_are_enough_cases() -> None:
    assert len(_cases()) > 1500


@pytest.mark.parametrize("name", _cases())
def test_none_means_the_same(name: str) -> None:
    model, _ = _cases()[name]
    try:
        converted, report = convert(model, "none")
    except ModelError as error:  # a handful of ONNX's tests are not valid models by its own checker
        assert "checker" in str(error)
        return
    assert report.changes == []
    left, right = _without_node_names(model), _without_node_names(converted)
    assert [*left.graph.input] == [*right.graph.input]
    assert [*left.graph.output] == [*right.graph.output]
    assert [*left.graph.node] == [*right.graph.node]
    assert [f.node for f in left.functions] == [f.node for f in right.functions]


@functools.cache
def _runs(name: str) -> bool:
    """Whether the runtime can do this model, and then the converted one, too."""
    model, inputs = _cases()[name]
    try:
        converted, report = convert(model, "bf16")
    except ModelError as error:
        assert "checker" in str(error)
        return False
    _check_report(converted, report)
    if inputs is None:
        return False
    feeds = {value.name: array for value, array in zip(model.graph.input, inputs)}
    try:
        before = run(make_session(model.SerializeToString()), feeds)
    except (ModelError, RuntimeMissing):  # the runtime cannot do the original either
        return False
    after = run(make_session(converted.SerializeToString()), feeds)
    for output in model.graph.output:
        assert as_tensor(after[output.name]).shape == as_tensor(before[output.name]).shape
    return True


def _check_report(converted: onnx.ModelProto, report: Report) -> None:
    """Every node is either decided by a rule or has a reason."""
    known = {covered.node for covered in report.covered} | {s.node for s in report.skipped}
    ours = {change.quantize for change in report.changes}
    assert {node.name for node in converted.graph.node} <= known | ours
    assert all(skipped.reason for skipped in report.skipped)


@pytest.mark.parametrize("name", _cases())
def test_bf16_runs_or_is_left_alone_with_a_reason(name: str) -> None:
    _runs(name)


def test_enough_of_them_run() -> None:
    assert sum(_runs(name) for name in _cases()) >= _ENOUGH_RUN
