"""Writing models: whole or not at all, weights streamed or referred to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from onnxbf.files.external_data import check_references, external_tensors, holds_derived, stays
from onnxbf.files.whole_files import replacing
from onnxbf.graph import all_graphs
from onnxbf.protos import keeps_types, restore_types

Progress = Callable[[int, int], None]  # weights written so far, weights in all

_PROTOBUF_LIMIT = 2**31 - 2**24  # bytes; some room is left for the nodes


def save_model(
    model: ir.Model,
    path: str | Path,
    *,
    keep_weights: bool = False,
    progress: Progress | None = None,
) -> None:
    """Write a model so that a reader sees the whole file or none.

    External weights are only referred to where the model stays in their folder or ``keep_weights``
    is set, and otherwise streamed into ``<name>.data`` beside it, as are those that are rounded
    while they are written. Weights beyond protobuf's 2 GB become external, too.

    Raises:
        ModelError: the file cannot be written.
        UnsupportedError: ``keep_weights`` into another folder, which ONNX does not allow.
    """
    path = Path(path)
    if keep_weights:
        check_references(model, path.parent)
    with replacing(path) as temporary:
        _write(model, temporary, path, progress)
        if keeps_types(model):
            _restore_types(temporary)


def _restore_types(path: Path) -> None:
    """What onnx_ir writes lacks the types that it does not know."""
    proto = onnx.load(path, load_external_data=False, format="protobuf")
    restore_types(proto)
    onnx.save(proto, path, format="protobuf")


def _write(model: ir.Model, temporary: Path, path: Path, progress: Progress | None) -> None:
    move = any(not stays(tensor, path.parent) for tensor in external_tensors(model))
    move |= holds_derived(model)
    if not move and _inline_bytes(model) < _PROTOBUF_LIMIT:
        ir.save(model, temporary, format="protobuf")
        return

    def report(_: ir.TensorProtocol, info: ir.external_data.CallbackInfo) -> None:
        if progress is not None:
            progress(info.index + 1, info.total)

    ir.save(model, temporary, format="protobuf", external_data=f"{path.name}.data", callback=report)


def _inline_bytes(model: ir.Model) -> int:
    return sum(
        value.const_value.nbytes
        for graph in all_graphs(model)
        for value in graph.initializers.values()
        if value.const_value is not None and not isinstance(value.const_value, ir.ExternalTensor)
    )
