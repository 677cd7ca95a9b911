"""Scripts on the kernels of another instruction set, of which a process uses one."""

from __future__ import annotations

import os
import subprocess
import sys

from onnxbf.custom_ops.library import INSTRUCTION_SET_VARIABLE, instruction_sets


def printed_under(instruction_set: str, script: str) -> list[str]:
    """The words that a script prints in a process of its own, which must succeed."""
    environment = {**os.environ, INSTRUCTION_SET_VARIABLE: instruction_set}
    command = [sys.executable, "-c", script]
    made = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-2000:]
    return made.stdout.split()


def complete_sets() -> list[str]:
    """Those that have kernels of their own for everything.

    The others share AVX-512's, but for products of pairs of bfloat16 numbers (csrc/dispatch.cc).
    """
    return [name for name in instruction_sets() if not name.startswith("avx512_")]
