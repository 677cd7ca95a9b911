"""Warn of batch normalizations that an exporter folded into what stands before or after them.

A model says nothing of what it no longer holds, so this goes by traces that exporters leave:
PyTorch's new exporter notes the rule that rewrote a node, or the operator that the node was made
of; its old one gives weights that it computed names such as ``onnx::Conv_87``, where weights as
they were keep theirs; TensorFlow's batch normalization has a scope of its own in names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.passes.base import GraphPass

_HOSTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_RULE = re.compile(r"Fuse\w*BatchNorm|BatchNorm\w*Into", re.ASCII)
_OPERATOR = re.compile(r"aten\.\w*batch_norm")
_COMPUTED = re.compile(r"onnx::Conv(Transpose)?_\d+")
_SCOPE = re.compile(r"/batchnorm/")


@dataclass(frozen=True)
class FindFolded(GraphPass):
    """Look for traces, of the model as it was exported; it stays as it is."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        nodes = [node for graph in all_graphs(model) for node in graph if node.op_type in _HOSTS]
        found = [node.name or node.op_type for node in nodes if _is_folded(node)]
        if found:
            self.report.warnings.append(
                f"The export folded batch normalization into {_listed(found)}: this trains a "
                "network without it. Export without folding, in PyTorch by optimize=False or "
                "training=TrainingMode.TRAINING, to train the network as it was."
            )
        return ir.passes.PassResult(model, modified=False)


def _is_folded(node: ir.Node) -> bool:
    rules = node.metadata_props.get("pkg.onnxscript.rewriter.rule_name", "")
    made_of = node.metadata_props.get("namespace", "").rpartition("/")[2]
    if _RULE.search(rules) or _OPERATOR.search(made_of):
        return True
    weights = [value for value in node.inputs[1:] if value is not None and value.is_initializer()]
    names = [value.name or "" for value in weights]
    if any(_SCOPE.search(name) for name in names):
        return True
    return len(names) == 2 and all(_COMPUTED.fullmatch(name) for name in names)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more nodes"
