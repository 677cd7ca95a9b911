"""The floating-point control register, set as a caller of the kernels may have left it."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator

import pytest

# Where glibc's fenv_t has the control register, and bits of it: of MXCSR (Intel SDM, volume 1,
# 10.2.3) and of FPCR (Arm Architecture Reference Manual).
REGISTERS = {
    "x86_64": (28, {"flush": 0x8040, "down": 0x2000, "up": 0x4000, "towards zero": 0x6000}),
    "aarch64": (0, {"flush": 1 << 24, "down": 2 << 22, "up": 1 << 22, "towards zero": 3 << 22}),
}


@pytest.fixture(params=["flush", "down", "up", "towards zero"])
def control_register(request: pytest.FixtureRequest) -> Iterator[None]:
    """Computing with another rounding mode, or flushing subnormal numbers, on one thread."""
    if sys.platform != "linux" or platform.machine() not in REGISTERS:
        pytest.skip("knows the floating-point environment of Linux on x86-64 and AArch64 alone")
    place, settings = REGISTERS[platform.machine()]
    libm = ctypes.CDLL("libm.so.6")
    before, changed = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    libm.fegetenv(before)
    libm.fegetenv(changed)
    held = slice(place, place + 4)
    register = int.from_bytes(changed.raw[held], "little") | settings[request.param]
    changed[held] = register.to_bytes(4, "little")
    libm.fesetenv(changed)
    yield
    libm.fesetenv(before)
