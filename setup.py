"""Builds the kernel library with CMake; everything else about the package stands in setup.cfg."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import ExecError

KERNELS = Path("onnxbf", "custom_ops")
LOST = [
    f"onnxbf/{name}"
    for name in ("passes", "custom_ops", "cli")
    if not Path("onnxbf", name, "__init__.py").is_file()
]
if LOST:
    sys.exit(
        f"error: {', '.join(LOST)} must be a link to the folder of that name at the root, and is "
        "not: get the sources with links (git config core.symlinks true; git checkout .)."
    )


class BuildKernels(build_ext):
    """``custom_ops/CMakeLists.txt`` -> ``onnxbf/custom_ops/libonnxbf.so`` (.dylib on macOS)."""

    def get_ext_filename(self, fullname):
        return fullname.replace(".", "/") + (".dylib" if sys.platform == "darwin" else ".so")

    def build_extension(self, ext):
        target, build = Path(self.get_ext_fullpath(ext.name)).parent, Path(self.build_temp, "cmake")
        shutil.rmtree(build, ignore_errors=True)  # of an earlier CMake or compiler, or moved
        self._cmake("-S", KERNELS, "-B", build, "-DCMAKE_BUILD_TYPE=Release")
        self._cmake("--build", build, "--parallel", "2")
        self._cmake("--install", build, "--prefix", target)

    def _cmake(self, *arguments):
        try:
            subprocess.run(["cmake", *arguments], check=True)
        except (OSError, subprocess.CalledProcessError):
            raise ExecError(
                "The kernels of onnxbf could not be built, see above: that takes CMake 3.18, make "
                "and a C++17 compiler (Debian and Ubuntu: apt-get install cmake make g++)."
            ) from None


class PlatformWheel(bdist_wheel):
    """Tagged for the platform and any Python 3: the library knows nothing of Python."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


sources = [KERNELS / "CMakeLists.txt", *sorted(KERNELS.glob("csrc/**/*.*"))]
setup(
    setup_requires=[] if shutil.which("cmake") else ["cmake >= 3.18"],
    ext_modules=[Extension("onnxbf.custom_ops.libonnxbf", [str(path) for path in sources])],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": PlatformWheel},
)
