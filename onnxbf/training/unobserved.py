"""Roundings that numeric health says nothing of, by name: silence is not to be taken for health."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import onnx_ir as ir

from onnxbf.custom_ops.quantizers import QUANTIZERS
from onnxbf.custom_ops.registry import DOMAIN
from onnxbf.graph import all_graphs
from onnxbf.passes.expose_roundings import rounds_hidden, rounds_itself
from onnxbf.passes.observe_roundings import OBSERVED, is_observable

_UNSEEN = QUANTIZERS - {OBSERVED}
_SHOWN = 3  # names in a sentence; the log has all


@dataclass(frozen=True, slots=True)
class Unobserved:
    """The nodes that round without being measured.

    Attributes:
        products: those that sum as an arithmetic says, and round what stands nowhere in the main
            graph: what Softmax and normalizations sum, and what branches and bodies hold.
        quantizers: those to integers over ranges and in blocks.
        inner: quantize nodes in branches of If, in bodies of loops, in functions.
    """

    products: tuple[str, ...]
    quantizers: tuple[str, ...]
    inner: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """What a line of the log holds."""
        return {"kind": "unobserved", **asdict(self)}

    def __str__(self) -> str:
        """A sentence; empty where every rounding is measured."""
        found = (
            _named(self.products, "within operators that sum as an arithmetic says"),
            _named(self.quantizers, "by quantizers over ranges and in blocks"),
            _named(self.inner, "in branches of If, bodies of loops or functions"),
        )
        told = " and ".join(text for text in found if text)
        return told and f"Numeric health does not see what is rounded {told}."


def find_unobserved(model: ir.Model) -> Unobserved:
    """Those of a gradient graph, which may be an observing form."""
    inner = (
        node.name or ""
        for graph in all_graphs(model)
        if graph is not model.graph
        for node in graph
        if is_observable(node)
    )
    quantizers = (
        node.name or ""
        for graph in all_graphs(model)
        for node in graph
        if node.domain == DOMAIN and node.op_type in _UNSEEN and not is_observable(node)
    )
    return Unobserved(tuple(_rounding_products(model)), tuple(quantizers), tuple(inner))


def _rounding_products(model: ir.Model) -> Iterator[str]:
    for graph in all_graphs(model):
        hides = rounds_hidden if graph is model.graph else rounds_itself
        yield from (node.name or "" for node in graph if hides(node))


def _named(names: Sequence[str], where: str) -> str:
    if not names:
        return ""
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{where} ({shown}{more})"
