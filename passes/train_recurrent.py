"""Bring recurrent nodes that stay whole into the form that ONNX Runtime differentiates.

Its LSTMTraining and GRUTraining go forward alone, and hand out what the gradient reads. Source:
ONNX Runtime 1.19, orttraining/training_ops/cpu/rnn.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.builder import Builder
from onnxbf.graph import REFUSAL_KEY, Names, replace_node
from onnxbf.passes.base import GraphPass
from onnxbf.passes.recurrent_node import KINDS, Recurrence, input_of

_DOMAIN = "com.microsoft"
_SAVED = {"LSTM": 2, "GRU": 1}  # outputs beside those of ONNX: cell states and gates
_KEPT = ("linear_before_reset",)  # attributes that say what is computed
_LAST = -(2**31)  # the end of a slice that runs backward through all


@dataclass(frozen=True)
class TrainRecurrent(GraphPass):
    """Replace LSTM and GRU nodes by one training node for each direction.

    A node in a form that the training nodes do not have stays, and says why in its metadata.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        names = Names(model)
        found = [node for node in model.graph if node.op_type in KINDS and not node.domain]
        replaced = [node for node in found if self.replace(node, names)]
        if replaced:
            model.opset_imports.setdefault(_DOMAIN, 1)
        return ir.passes.PassResult(model, modified=bool(replaced))

    def replace(self, node: ir.Node, names: Names) -> bool:
        reason = _obstacle(node)
        if reason:
            node.metadata_props[REFUSAL_KEY] = (
                f"{node.op_type} node {node.name!r} cannot be differentiated whole: {reason}. "
                "Export the model with a fixed sequence length, and let it be unrolled."
            )
            return False
        whole = _Whole(node, Builder(names, node.name or node.op_type))
        runs = [whole.run(direction) for direction in range(whole.directions)]
        replace_node(node, whole.b.nodes, whole.put_together(runs))
        return True


def _obstacle(node: ir.Node) -> str:
    """Why there is no training node for it; empty if there is."""
    if node.op_type not in _SAVED:
        return "ONNX Runtime has no such gradient"
    if not _has_usual_activations(node):
        return "its activations are not the usual ones"
    if "clip" in node.attributes or node.attributes.get_int("input_forget", 0) != 0:
        return "it clips, or couples its gates"
    if input_of(node, 7) is not None:
        return "it has peepholes"
    return "its sequences differ in length" if input_of(node, 4) is not None else ""


def _has_usual_activations(node: ir.Node) -> bool:
    usual = KINDS[node.op_type].activations
    stated = [text.capitalize() for text in node.attributes.get_strings("activations", ())]
    return stated == [*usual] * (len(stated) // len(usual))


class _Whole(Recurrence):
    """One node as one training node for each direction."""

    def run(self, direction: int) -> tuple[ir.Value, list[ir.Value]]:
        """The hidden state of every step, (length, batch, hidden), and the last states."""
        backward = self.is_backward(direction)
        b = self.b.within("backward" if backward else "forward")
        x = _reversed(b, self.x) if backward else self.x
        weights = [self.part(index, direction) for index in (1, 2, 3)]
        states = [self.initial(b, 5 + index, direction) for index in range(self.kind.states)]
        ahead = b.integers(0)
        first, second, bias = (v if v is None else b.Unsqueeze(v, ahead) for v in weights)
        kept = {name: self.node.attributes[name] for name in _KEPT if name in self.node.attributes}
        outputs = b.node(
            f"{self.node.op_type}Training",
            [x, first, second, bias, None, *(b.Unsqueeze(state, ahead) for state in states)],
            domain=_DOMAIN,
            outputs=1 + self.kind.states + _SAVED[self.node.op_type],
            hidden_size=self.hidden,
            **kept,
        )
        every = b.Squeeze(outputs[0], b.integers(1))
        lasts = [b.Squeeze(last, ahead) for last in outputs[1 : 1 + self.kind.states]]
        return _reversed(b, every) if backward else every, lasts


def _reversed(b: Builder, x: ir.Value) -> ir.Value:
    """The steps, which come first, from the last to the first."""
    back: ir.Value = b.Slice(x, b.integers(-1), b.integers(_LAST), b.integers(0), b.integers(-1))
    return back
