"""The ready-made recipes, as the tables that TOML files hold, too.

A family of recipes has parameters: ``fqt-psq{bits=4}``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReadyMade:
    """What a recipe is for, and its rules."""

    summary: str
    rules: Sequence[Table]


Family = Callable[..., ReadyMade]


def _both(summary: str, gemm: Table, other: Table | None) -> ReadyMade:
    """One rule for matrix products and one for all other arithmetic."""
    rules: list[Table] = [{"ops": ["gemm"], **gemm}]
    if other is not None:
        rules.append({"ops": ["elementwise", "normalization", "reduction", "selection"], **other})
    return ReadyMade(summary, rules)


_GRADIENTS = ("gradients", "weight_gradients")


def _uniform(cast: str) -> dict[str, str]:
    return {role: cast for role in ("inputs", "weights", "outputs", *_GRADIENTS)}


def _read_only(cast: str) -> dict[str, str]:
    return {role: cast for role in ("inputs", "weights", *_GRADIENTS)}


_INTEL = "bf16:rne{subnormals=flush}"
_E4M3, _E5M2 = "e4m3fn:rne{overflow=saturate}", "e5m2:rne{overflow=saturate}"
_FP8 = {
    "inputs": _E4M3,
    "weights": _E4M3,
    "outputs": "bf16:rne",
    "gradients": _E5M2,
    "weight_gradients": "bf16:rne",
}


def _scaled(scaling: str) -> Table:
    """FP8 into matrix products as TransformerEngine's hybrid format has it."""
    forward, backward = (f"{fmt}:rne{{{scaling}}}" for fmt in ("e4m3fn", "e5m2"))
    return {**_FP8, "inputs": forward, "weights": forward, "gradients": backward}


READY_MADE: Mapping[str, ReadyMade] = {
    "bf16": _both(
        "the BF16 study (Kalamkar et al., 2019): BF16 into and out of matrix products and "
        "into all other arithmetic; bias, norm parameters and loss in FP32",
        _uniform("bf16:rne"),
        _read_only("bf16:rne"),
    ),
    "bf16-pure": ReadyMade(
        "a unit that has BF16 alone (Zamirai et al., 2020): into and out of every operator, loss "
        "and gradients of weights too; with a weight update such as kahan, no 32-bit copy is left",
        [{"ops": ["*"], "bias": "bf16:rne", **_uniform("bf16:rne")}],
    ),
    "bf16-gemm": _both("BF16 into and out of matrix products alone", _uniform("bf16:rne"), None),
    "fp16": _both(
        "FP16 into and out of matrix products and into all other arithmetic",
        _uniform("fp16:rne"),
        _read_only("fp16:rne"),
    ),
    "fp8": _both(
        "FP8 into matrix products (E4M3 forward, E5M2 gradients, saturating, unscaled), "
        "BF16 out of them and into all other arithmetic",
        _FP8,
        _read_only("bf16:rne"),
    ),
    "fp8-current": _both(
        "as fp8, each tensor scaled by its own largest magnitude",
        _scaled("scaling=current"),
        _read_only("bf16:rne"),
    ),
    "fp8-delayed": _both(
        "as fp8, each tensor scaled by its largest magnitudes of the 1024 steps before, as "
        "NVIDIA TransformerEngine's DelayedScaling does",
        _scaled("scaling=delayed,history=1024"),
        _read_only("bf16:rne"),
    ),
    "avx512-bf16": _both(
        "as bf16, on a CPU with AVX512_BF16: matrix products sum as VDPBF16PS does, and "
        "subnormals are flushed",
        {**_uniform(_INTEL), "arithmetic": "avx512_bf16"},
        _read_only(_INTEL),
    ),
    "amx-bf16": _both(
        "as avx512-bf16, on a CPU with AMX: matrix products sum as TDPBF16PS does",
        {**_uniform(_INTEL), "arithmetic": "amx_bf16"},
        _read_only(_INTEL),
    ),
    "arm-bf16": _both(
        "as bf16, on a CPU with FEAT_BF16: matrix products sum as BFDOT does",
        {**_uniform("bf16:rne"), "arithmetic": "arm_bf16"},
        _read_only("bf16:rne"),
    ),
    "bf16-accumulate": _both(
        "as bf16, with BF16 accumulators: one rounding after each multiply-add",
        {**_uniform("bf16:rne"), "arithmetic": "sequential{format=bf16}"},
        _read_only("bf16:rne"),
    ),
    "fp8-chunked": _both(
        "as fp8, with 16-bit accumulators over chunks of 64 products (Wang et al., 2018)",
        {**_FP8, "arithmetic": "chunked{size=64,inner=e6m9,outer=e6m9}"},
        _read_only("bf16:rne"),
    ),
    "hopper": _both(
        "FP8 (E4M3 throughout, saturating, unscaled) as DeepSeek-V3 multiplies on H100, by a "
        "model of its tensor cores: sums of 14 bits, in FP32 after each 128 products",
        {
            **{role: _E4M3 for role in ("inputs", "weights", "gradients")},
            "outputs": "bf16:rne",
            "arithmetic": "tensor_core{group=32,bits=13,operands=e4m3fn:rne{overflow=saturate},"
            "accumulator=e8m13:rtz,promote=128}",
        },
        _read_only("bf16:rne"),
    ),
    **{
        name: _both(
            f"{of} in blocks of 32 with a shared exponent (OCP MX) into matrix products, forward "
            "and backward, along what they add up",
            {role: name for role in ("inputs", "weights", "gradients")},
            None,
        )
        for name, of in (
            ("mxfp8", "FP8 (E4M3)"),
            ("mxfp6", "FP6 (E3M2)"),
            ("mxfp4", "FP4 (E2M1)"),
            ("mxint8", "integers of 8 bits"),
        )
    },
    "none": ReadyMade("nothing is rounded", ()),
}


def _quantized(gradients: str, summary: str) -> Family:
    """Fully quantized training (Chen et al., 2020): every matrix product of integers.

    The gradient that both products of the backward pass read is quantized for each on its own.
    """

    def make(bits: int = 8, forward: int = 8, weight_gradient: int = 8) -> ReadyMade:
        operands = {"inputs": f"affine{{bits={forward}}}", "weights": f"weight{{bits={forward}}}"}
        to_weights = {"gradients": f"ptq{{bits={weight_gradient}}}"}
        to_inputs = {"gradients": f"{gradients}{{bits={bits}}}"}
        rules = [
            {"ops": ["gemm"], "phase": "forward", **operands},
            {"ops": ["gemm"], "phase": "weight_gradient", **operands, **to_weights},
            {"ops": ["gemm"], "phase": "input_gradient", **operands, **to_inputs},
        ]
        return ReadyMade(f"fully quantized training (Chen et al., 2020): {summary}", rules)

    return make


# The options, whole numbers all, are what the recipe's own text has in braces.
FAMILIES: Mapping[str, Family] = {
    "fqt-ptq": _quantized("ptq", "gradients of activations per tensor"),
    "fqt-psq": _quantized("psq", "gradients of activations per sample"),
    "fqt-bhq": _quantized("bhq", "gradients of activations by block-Householder reflections"),
}
