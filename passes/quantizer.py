"""Make the nodes that round, and put them in the place of what they round."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxbf.casts import AnyCast
from onnxbf.custom_ops.quantizers import DELAYED, quantizer
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import PHASE_KEY, ROLE_KEY, Names, step_input
from onnxbf.operators import Role
from onnxbf.report import Change, Report


@dataclass(frozen=True)
class Quantizer:
    """Makes the nodes that round, of the operators in custom_ops/quantizers.py, for one model.

    Those of delayed scaling get their state from scale_states.py.

    Args:
        seed: the seed of stochastic rounding; each node draws a stream of its own from it.
    """

    model: ir.Model
    names: Names
    report: Report
    seed: int

    def round(self, value: ir.Value, cast: AnyCast, role: Role, node: ir.Node) -> ir.Value:
        """A new node, not placed yet, that rounds ``value`` for ``node``; returns its output."""
        name = self.names.fresh(f"{value.name}_{cast.tag}")
        # A stable number of the node's own for its random stream.
        key = zlib.crc32(name.encode()) if cast.stochastic else 0
        op_type, attributes = _operator(cast, self.seed, key)
        step = step_input(self.model) if cast.stochastic else None
        rounded = ir.Value(name=name, type=value.type, shape=value.shape)
        quantize = ir.Node(
            DOMAIN,
            op_type,
            _inputs(op_type, value, step),
            attributes,
            outputs=[rounded],
            name=f"{name}_quantize",
            metadata_props={ROLE_KEY: role.value, **_phase(value, node)},
        )
        self.report.changes.append(
            Change(
                quantize.name or "",
                value.name or "",
                str(cast),
                role.value,
                node.name or "",
                node.op_type,
            )
        )
        return rounded

    def round_output(self, value: ir.Value, cast: AnyCast, role: Role, node: ir.Node) -> ir.Value:
        """Round an output of ``node`` for all its readers, graph outputs included.

        The rounded value takes over the name of a graph output.
        """
        assert node.graph is not None
        is_output = value.is_graph_output()
        readers = tuple(value.uses())
        rounded = self.round(value, cast, role, node)
        for reader, position in readers:
            reader.replace_input_with(position, rounded)
        if is_output:
            self._take_over(value, rounded)
        node.graph.insert_after(node, producer_of(rounded))
        return rounded

    def _take_over(self, value: ir.Value, rounded: ir.Value) -> None:
        name = value.name
        assert name is not None
        value.replace_all_uses_with(rounded, replace_graph_outputs=True)
        producer_of(rounded).replace_input_with(0, value)
        value.name = self.names.fresh(f"{name}_fp32")
        rounded.name = name


@functools.lru_cache(maxsize=256)  # a model rounds thousands of tensors alike
def _operator(cast: AnyCast, seed: int, node: int) -> tuple[str, Sequence[ir.Attr]]:
    """The operator that rounds, and its attributes."""
    op_type, attributes = quantizer(cast, seed=seed, node=node)
    return op_type, ir.convenience.convert_attributes(attributes)


def _inputs(op_type: str, value: ir.Value, step: ir.Value | None) -> Sequence[ir.Value | None]:
    inputs = [value, None] if op_type == DELAYED else [value]
    return inputs if step is None else [*inputs, step]


def _phase(value: ir.Value, node: ir.Node) -> dict[str, str]:
    """The phase in which a value is computed, or else read; none where nodes are not stamped."""
    stamp = (value.producer() or node).metadata_props.get(PHASE_KEY)
    return {} if stamp is None else {PHASE_KEY: stamp}


def producer_of(value: ir.Value) -> ir.Node:
    """The node that computes a value, which has one."""
    producer = value.producer()
    assert producer is not None
    return producer
