"""The floating-point control register, set as a caller of the kernels may have left it."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterator

import pytest

MXCSR = 28  # where glibc's fenv_t on x86-64 has the control register of SSE
CONTROL = {  # bits of it (Intel SDM, volume 1, 10.2.3)
    "flush and denormals are zero": 0x8040,
    "towards minus infinity": 0x2000,
    "towards plus infinity": 0x4000,
    "towards zero": 0x6000,
}


@pytest.fixture(params=CONTROL.values(), ids=CONTROL)
def control_register(request: pytest.FixtureRequest) -> Iterator[None]:
    """Computing with another rounding mode, or flushing subnormal numbers, on one thread."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        pytest.skip("knows the floating-point environment of Linux on x86-64 alone")
    libm = ctypes.CDLL("libm.so.6")
    before, changed = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    libm.fegetenv(before)
    libm.fegetenv(changed)
    register = int.from_bytes(changed.raw[MXCSR:32], "little") | request.param
    changed[MXCSR:32] = register.to_bytes(4, "little")
    libm.fesetenv(changed)
    yield
    libm.fesetenv(before)
