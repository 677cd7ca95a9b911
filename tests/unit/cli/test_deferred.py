"""Modules that are put off: not run until they are needed, and whole then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest

_BEGIN = """
import sys
from onnxbf.cli.deferred import SYMBOLIC, Deferring, defer
defer(SYMBOLIC)
defer(SYMBOLIC)
assert sys.meta_path.count(Deferring(SYMBOLIC)) == 1
import onnx_ir as ir
assert not any(name.startswith("sympy.") for name in sys.modules), "sympy ran"
"""
_RUNS = {
    "by arithmetic on sizes": 'print((ir.SymbolicDim("n") * 2 + 1).evaluate({"n": 20}))',
    "by name": "import sympy; print(sympy.Integer(41))",
    "by a part of it": "from sympy.core.numbers import Integer; print(Integer(41))",
}


@pytest.mark.parametrize("use", _RUNS.values(), ids=_RUNS)
def test_sympy_runs_when_it_is_needed(use: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + use], check=True, capture_output=True, text=True
    )
    assert done.stdout == "41\n"


def test_a_command_does_without_sympy(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Add (x, x) }'
    )
    onnx.save(model, tmp_path / "m.onnx")
    script = f"""
import sys
from onnxbf.cli.main import main
try:
    main(["convert", {str(tmp_path / "m.onnx")!r}])
finally:
    print([name for name in sys.modules if name.startswith("sympy.")])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
