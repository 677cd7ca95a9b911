"""What every pass has: it edits the model in place and writes into the report."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from onnxbf.report import Report


@dataclass(frozen=True)
class GraphPass(ir.passes.InPlacePass):
    """A frozen dataclass whose fields are its options; ``call`` does the work."""

    report: Report = field(repr=False)
