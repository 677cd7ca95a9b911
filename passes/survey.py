"""What a model holds and what a recipe would do to it, without changing it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxbf.graph import all_graphs
from onnxbf.operators import find_operator
from onnxbf.passes.choose import EVERYTHING, Selection
from onnxbf.passes.expose_roundings import arithmetic_of
from onnxbf.passes.pipeline import rewrite
from onnxbf.recipe import Recipe
from onnxbf.report import Report


@dataclass(slots=True)
class OperatorRow:
    """All nodes of one operator type.

    Attributes:
        covered: how many of them the recipe rounds.
        reasons: why others are left alone, and how many.
        arithmetics: names of those that compute under an arithmetic profile, or would under the
            recipe, by profile.
    """

    op_type: str
    kind: str
    nodes: int = 0
    covered: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    arithmetics: dict[str, list[str]] = field(default_factory=dict)

    def sums_under(self, arithmetic: str, name: str) -> None:
        """Take note of a node that computes under ``arithmetic``."""
        self.arithmetics.setdefault(arithmetic, []).append(name)


@dataclass(frozen=True, slots=True)
class Survey:
    """The answer of ``onnxbf inspect``."""

    ir_version: int
    opset: int
    initializers: int
    parameters: int
    rows: tuple[OperatorRow, ...]
    report: Report

    def as_dict(self) -> dict[str, Any]:
        return {
            "ir_version": self.ir_version,
            "opset": self.opset,
            "initializers": self.initializers,
            "parameters": self.parameters,
            "operators": [
                {
                    "op_type": row.op_type,
                    "class": row.kind,
                    "nodes": row.nodes,
                    "rounded": row.covered,
                    "arithmetic": row.arithmetics,
                    "left_alone": dict(row.reasons),
                }
                for row in self.rows
            ],
            "report": self.report.as_dict(),
        }


def survey(model: ir.Model, recipe: Recipe, selection: Selection = EVERYTHING) -> Survey:
    """Try a recipe on a copy of ``model``."""
    values = [v for graph in all_graphs(model) for v in graph.initializers.values()]
    tensors = [v.const_value for v in values if v.const_value is not None]
    trial = model.clone()
    report = rewrite(trial, recipe, selection=selection)
    return Survey(
        ir_version=model.ir_version,
        opset=model.opset_imports.get("", 0),
        initializers=len(tensors),
        parameters=sum(tensor.size for tensor in tensors),
        rows=tuple(_rows(model, report)),
        report=report,
    )


def _rows(model: ir.Model, report: Report) -> list[OperatorRow]:
    rows: dict[str, OperatorRow] = {}
    for graph in all_graphs(model):
        for node in graph:
            operator = find_operator(node.domain, node.op_type)
            kind = "other" if operator is None else operator.kind.value
            row = rows.setdefault(node.op_type, OperatorRow(node.op_type, kind))
            row.nodes += 1
            arithmetic = arithmetic_of(node)
            if arithmetic:
                row.sums_under(arithmetic, node.name or "")
    for emulated in report.emulated:
        rows[emulated.op_type].sums_under(emulated.arithmetic, emulated.node)
    for covered in report.covered:
        rows[covered.op_type].covered += 1
    for skipped in report.skipped:
        rows[skipped.op_type].reasons[skipped.reason] += 1
    return sorted(rows.values(), key=lambda row: (row.kind, -row.nodes, row.op_type))
