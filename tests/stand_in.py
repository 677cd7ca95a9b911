"""The kernels in which functions stand for VDPBF16PS and TDPBF16PS.

See csrc/kernels_avx512_stand_in.cc.
"""

from __future__ import annotations

from onnxbf.custom_ops.library import instruction_sets

STAND_IN = "avx512_stand_in"


def stand_ins() -> tuple[str, ...]:
    """Empty on CPUs without AVX-512, whose tiles it shares."""
    return (STAND_IN,) if "avx512" in instruction_sets() else ()
