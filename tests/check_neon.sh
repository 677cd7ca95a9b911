#!/bin/sh
# The kernels on AArch64: builds them with a cross compiler, and runs their checks under QEMU's emulation
# with the Python, NumPy and ONNX Runtime of that machine. Everything lies in build/neon.
#
#   tests/check_neon.sh PYTHON    whose pip fetches packages
#   QEMU=...                      emulator: 9.1 or newer, for BFDOT with FPCR.EBF and for ONNX Runtime
#   ARM64_ROOT=...                a folder with Python 3.10 or newer for AArch64, in the place of Debian's
set -eu
cd "$(dirname "$0")/.."
python=$1 work=$PWD/build/neon
qemu=${QEMU:-qemu-aarch64} root=${ARM64_ROOT:-$work/root} site=$work/site tree=$work/tree
packages="click numpy onnx onnx-ir rich ml_dtypes onnxruntime pytest hypothesis"

stop() { echo "$1"; exit "$2"; }

compile() {
  command -v aarch64-linux-gnu-g++ >/dev/null ||
    stop "No cross compiler: apt-get install g++-aarch64-linux-gnu qemu-user, and run this again." 2
  cmake -S custom_ops -B "$work/cmake" -DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux \
    -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ \
    -DCMAKE_CXX_FLAGS=-Werror >/dev/null
  cmake --build "$work/cmake" --parallel 2
}

# Debian's Python for AArch64, unpacked and not installed: that takes no rights and changes nothing here.
fetch_root() {
  [ ! -e "$root/usr/bin/python3" ] || return 0
  mkdir -p "$root" "$work/apt/lists/partial" "$work/apt/archives/partial"
  : >"$work/apt/status"
  foreign="-qq -o Dir::State=$work/apt -o Dir::State::lists=$work/apt/lists -o Dir::Cache=$work/apt
    -o Dir::State::status=$work/apt/status -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o APT::Install-Recommends=false -o APT::Sandbox::User=root"
  # shellcheck disable=SC2086
  { apt-get $foreign update && apt-get $foreign --yes --download-only install python3 libstdc++6; } ||
    stop "No Python for AArch64 from apt-get: name a folder that has one in ARM64_ROOT." 2
  for archive in "$work"/apt/archives/*.deb; do dpkg-deb --extract "$archive" "$root"; done
}

emulated() {
  (cd "$tree" && "$qemu" -cpu max -L "$root" -E "PYTHONPATH=$tree:$site" \
    -E PYTHONDONTWRITEBYTECODE=1 "$root/usr/bin/python3" "$@")
}

fetch_packages() {
  version=$(emulated -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  # shellcheck disable=SC2086
  [ -e "$site/onnxruntime" ] || "$python" -m pip install --quiet --disable-pip-version-check \
    --target "$site" --python-version "$version" --only-binary=:all: \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 $packages
}

copy_tree() {
  rm -rf "$tree"
  mkdir -p "$tree"
  cp -a cli custom_ops onnxbf passes tests setup.cfg pyproject.toml "$tree"
  cmake --install "$work/cmake" --prefix "$tree/custom_ops" >/dev/null
}

compile
command -v "$qemu" >/dev/null ||
  stop "Compiled for AArch64, and not run: apt-get install qemu-user, and run this again." 0
"$qemu" --version | grep -Eq 'version ([1-9][0-9]|9\.[1-9])' ||
  stop "$qemu is too old: ONNX Runtime for AArch64 crashes before QEMU 9.1. Name another in QEMU." 2
copy_tree
fetch_root
fetch_packages
emulated -m onnxbf selftest --quick
for profile in arm_bf16 arm_ebf16; do
  emulated -m onnxbf selftest --quick --profile $profile
done
emulated -m pytest -q -p no:cacheprovider \
  tests/unit/custom_ops/test_kernels.py tests/unit/custom_ops/test_elementwise.py
