"""What a rewriting did and left undone, as data; prints as text, saves as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Covered:
    """One node that a rule of the recipe (by its position, from 0) decides."""

    node: str
    op_type: str
    rule: int


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor that is rounded: by which node, how, and what it is to its first reader."""

    quantize: str
    tensor: str
    cast: str
    role: str
    node: str
    op_type: str


@dataclass(frozen=True, slots=True)
class Emulated:
    """One node that sums as an arithmetic profile says."""

    node: str
    op_type: str
    arithmetic: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """One node that was left alone, and why."""

    node: str
    op_type: str
    reason: str


@dataclass(slots=True)
class Report:
    """The record that travels with a model through the passes."""

    recipe: str
    nodes: int = 0
    covered: list[Covered] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    emulated: list[Emulated] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a pass did beyond rounding
    warnings: list[str] = field(default_factory=list)  # what the user should look at
    already_converted: bool = False

    def casts(self) -> Counter[str]:
        """How many tensors each cast rounds."""
        return Counter(change.cast for change in self.changes)

    def arithmetics(self) -> Mapping[str, Counter[str]]:
        """Which nodes sum as a profile says: profile -> operator type -> count."""
        found: dict[str, Counter[str]] = {}
        for node in self.emulated:
            found.setdefault(node.arithmetic, Counter())[node.op_type] += 1
        return found

    def operators(self) -> Counter[str]:
        """How many nodes of each operator type the recipe's rules decide."""
        return Counter(node.op_type for node in self.covered)

    def reasons(self) -> Mapping[str, Counter[str]]:
        """Why nodes were left alone: reason -> operator type -> count."""
        found: dict[str, Counter[str]] = {}
        for skip in self.skipped:
            found.setdefault(skip.reason, Counter())[skip.op_type] += 1
        return found

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def to_json(self) -> str:
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def __str__(self) -> str:
        if self.already_converted:
            return f"Already converted with recipe {self.recipe!r}: left unchanged."
        lines = [
            f"Recipe {self.recipe!r}: {len(self.changes)} tensors rounded for "
            f"{len(self.covered)} of {self.nodes} nodes."
        ]
        lines += [f"  {count:6d} x {cast}" for cast, count in self.casts().most_common()]
        for name, ops in self.arithmetics().items():
            lines.append(f"Summed as {name}: {_listed(ops)}.")
        for reason, ops in self.reasons().items():
            lines.append(f"Left alone ({reason}): {_listed(ops)}.")
        lines += [f"Note: {note}" for note in self.notes]
        lines += [f"Warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)


def _listed(ops: Counter[str]) -> str:
    return ", ".join(f"{op} x{count}" for op, count in ops.most_common())
