"""What a study leaves in a folder: results.json, rows.csv and its charts."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxbf.errors import ModelError
from onnxbf.files import write_text
from onnxbf.studies.plots import draw
from onnxbf.studies.study import Outcome

RESULTS, ROWS = "results.json", "rows.csv"


def write_results(outcome: Outcome, folder: Path) -> list[Path]:
    """Write an outcome into ``folder``, which is made if it is not there.

    Raises:
        ModelError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"Cannot make folder {str(folder)!r}: {error.strerror}.") from None
    write_text(folder / RESULTS, json.dumps(record(outcome), indent=2) + "\n")
    write_text(folder / ROWS, _csv(outcome))
    charts = [draw(chart, outcome.rows, folder) for chart in outcome.study.charts]
    return [folder / RESULTS, folder / ROWS, *charts]


def record(outcome: Outcome) -> dict[str, Any]:
    """An outcome for a JSON file; numbers that are not finite become text."""
    study = outcome.study
    return {
        "study": study.name,
        "source": study.source,
        "options": asdict(study),
        "seeds": outcome.effort.seeds,
        "quick": outcome.effort.quick,
        "seconds": round(outcome.seconds, 1),
        "passed": outcome.passed,
        "findings": [
            {
                **asdict(finding.claim),
                "measured": _plain(finding.measured),
                "passed": finding.passed,
            }
            for finding in outcome.findings
        ],
        "table": [{k: _plain(v) for k, v in row.items()} for row in study.table(outcome.rows)],
        "remarks": list(study.remarks(outcome.rows)),
    }


def _csv(outcome: Outcome) -> str:
    columns = list(dict.fromkeys(name for row in outcome.rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(outcome.rows)
    return text.getvalue()


def _plain(value: Any) -> Any:
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
