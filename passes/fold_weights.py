"""Round weights once, when the model is rewritten, instead of each time it runs.

For inference only: a weight that is trained must stay as it is, with its rounding in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from onnxbf.custom_ops.kernels import kernels
from onnxbf.custom_ops.library import RandomKey
from onnxbf.custom_ops.numpy_api import all_threads, quantize
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.errors import UnsupportedError
from onnxbf.files.external_data import mark_derived
from onnxbf.formats import FLOAT32, Cast, NumberFormat
from onnxbf.graph import Names, all_graphs, constant_of
from onnxbf.passes.base import GraphPass
from onnxbf.passes.representable import node_cast


@dataclass(frozen=True)
class FoldWeights(GraphPass):
    """Replace ``constant -> QuantizeDequantize`` by an initializer that is rounded already.

    An initializer that is also a graph input may be overridden by the caller, and stays.

    Args:
        store: float32 keeps rounded weights in float32. A format that ONNX can store keeps the
            weights that are rounded to it in that format, with a Dequantize node behind each.

    Raises:
        UnsupportedError: ``store`` is a format that ONNX cannot store.
        KernelError: the kernel library is missing.
    """

    store: NumberFormat = FLOAT32

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        if self.store.onnx_type is None:
            raise UnsupportedError(
                f"ONNX has no tensor type for {self.store}: store weights as fp32, bf16, fp16, "
                "e4m3fn or e5m2."
            )
        kernels()  # weights are rounded when the model is written: too late for a refusal
        names = Names(model)
        bodies = {function.graph for function in model.functions.values()}
        folded = [
            node
            for graph in all_graphs(model)
            for node in graph
            if self.fold(node, names, _constant_node if graph in bodies else _initializer)
        ]
        removed = {node.name for node in folded}
        stored = sum(1 for node in folded if node.outputs[0].meta.get("stored"))
        if folded:
            kept = "" if self.store is FLOAT32 else f", {stored} of them stored as {self.store}"
            self.report.notes.append(f"{len(folded)} weights rounded offline{kept}.")
        if self.store is not FLOAT32 and not stored:
            self.report.warnings.append(
                f"no weight is rounded to {self.store}, so none is stored as {self.store}."
            )
        self.report.changes[:] = [
            change for change in self.report.changes if change.quantize not in removed
        ]
        return ir.passes.PassResult(model, modified=bool(folded))

    def fold(self, node: ir.Node, names: Names, hold: _Hold) -> bool:
        cast = node_cast(node)
        source = node.inputs[0] if cast is not None else None
        tensor = None if source is None or source.is_graph_input() else constant_of(source)
        if cast is None or source is None or tensor is None:
            return False
        result, graph = node.outputs[0], node.graph
        if result.is_graph_output() or graph is None or source.graph is not graph:
            return False
        keep_small = self.store is not FLOAT32 and cast.format == self.store
        rounded = _rounded(tensor, node, cast, self.store if keep_small else None)
        weight = hold(rounded, names.fresh(f"{source.name}_{cast.format}_stored"), node)
        if keep_small:
            weight = _dequantized(weight, node, names)
        result.meta["stored"] = keep_small
        result.replace_all_uses_with(weight)
        graph.remove(node, safe=True)
        if not source.uses() and not source.is_graph_output():
            _drop(source, graph)
        return True


def _drop(constant: ir.Value, graph: ir.Graph) -> None:
    producer = constant.producer()
    if producer is None:
        graph.initializers.pop(constant.name or "")
    else:
        graph.remove(producer)


def _rounded(
    tensor: ir.TensorProtocol, node: ir.Node, cast: Cast, stored: NumberFormat | None
) -> ir.TensorProtocol:
    """The weight under the cast of ``node``, worked out when it is written."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    seed, number = int(attributes.get("seed", 0)), int(attributes.get("node", 0))
    dtype = ir.DataType.FLOAT if stored is None else ir.DataType[str(stored.onnx_type)]

    def convert(array: NDArray[np.float32]) -> ir.TensorProtocol:
        if stored is None:
            return ir.tensor(quantize(array, cast, seed=seed, node=number))
        key = RandomKey(seed, number, 0)
        codes = kernels().quantize(np.ascontiguousarray(array), cast, key, threads=all_threads())
        return ir.tensor(codes.view(dtype.numpy()), dtype=dtype)

    def rounded() -> ir.TensorProtocol:
        result = convert(tensor.numpy())
        if isinstance(tensor, ir.ExternalTensor):
            tensor.release()  # or every part of the file that was read would stay mapped
        return result

    lazy = ir.LazyTensor(rounded, dtype=dtype, shape=ir.Shape(tensor.shape.numpy()))
    if isinstance(tensor, ir.ExternalTensor):
        mark_derived(lazy)
    return lazy


_Hold = Callable[[ir.TensorProtocol, str, ir.Node], ir.Value]


def _initializer(tensor: ir.TensorProtocol, name: str, before: ir.Node) -> ir.Value:
    kind = ir.TensorType(tensor.dtype)
    shape = ir.Shape(tensor.shape.numpy())
    value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
    assert before.graph is not None
    before.graph.register_initializer(value)
    return value


def _constant_node(tensor: ir.TensorProtocol, name: str, before: ir.Node) -> ir.Value:
    """The body of a function holds no initializers."""
    node = ir.node("Constant", [], {"value": tensor}, name=f"{name}_constant")
    value = node.outputs[0]
    value.name, value.type = name, ir.TensorType(tensor.dtype)
    value.shape = ir.Shape(tensor.shape.numpy())
    assert before.graph is not None
    before.graph.insert_before(before, node)
    return value


def _dequantized(weight: ir.Value, before: ir.Node, names: Names) -> ir.Value:
    name = names.fresh(f"{weight.name}_fp32")
    node = ir.node("Dequantize", [weight], domain=DOMAIN, name=f"{name}_dequantize")
    result = node.outputs[0]
    result.name, result.type, result.shape = name, before.outputs[0].type, weight.shape
    assert before.graph is not None
    before.graph.insert_before(before, node)
    return result
