# make demo      convert a real model, run both, show what changed
# make check     lint, type-check and test, with both supported runtimes
# make check-neon  the kernels for AArch64, emulated (CONTRIBUTING.md)
# make selftest  every kernel against its oracle, on this machine
# make studies   the claims of papers, quickly
# make bench     the figures of the README
# make clean     remove what all of these made
#
# Another Python: make PYTHON=python3.12 check

USABLE = import ensurepip, sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.10 python3; do \
	$$python -c '$(USABLE)' 2>/dev/null && echo $$python && break; done)

# A virtual environment is made anew for another Python, and installed into when sources change.
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
PIP = bin/python -m pip install --quiet --disable-pip-version-check
SOURCES = setup.cfg setup.py pyproject.toml custom_ops/CMakeLists.txt \
	$(wildcard custom_ops/csrc/*.* custom_ops/csrc/ops/*.*)

# With the runtime of .venv-inference, only what touches a runtime is tested again.
RUNTIME_TESTS = tests/integration

# On all cores, the tests of a file on one of them: they share what is slow to make.
EVERYWHERE = --quiet --numprocesses auto --dist loadfile

.PHONY: demo check check-neon lint test bench selftest studies clean python
.NOTPARALLEL:

demo: .venv/ready-$(VERSION)
	.venv/bin/python examples/demo.py

check: lint test

lint: .venv/tested-$(VERSION)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: .venv/tested-$(VERSION) .venv-inference/tested-$(VERSION)
	.venv-inference/bin/python -m pytest $(EVERYWHERE) $(RUNTIME_TESTS)
	.venv/bin/python -m pytest $(EVERYWHERE)

check-neon: .venv/made-$(VERSION)
	tests/check_neon.sh .venv/bin/python

bench: .venv/tested-$(VERSION)
	.venv/bin/python benchmarks/run.py

studies: .venv/tested-$(VERSION)
	.venv/bin/onnxbf study run all --quick

selftest: .venv/ready-$(VERSION)
	.venv/bin/onnxbf selftest

clean:
	rm -rf .venv .venv-inference build dist demo onnxbf.egg-info custom_ops/libonnxbf.so \
		custom_ops/libonnxbf.dylib

.venv/ready-$(VERSION): $(SOURCES) | .venv/made-$(VERSION)
	.venv/$(PIP) --editable '.[training]'
	@touch $@

.venv/tested-$(VERSION): $(SOURCES) | .venv/made-$(VERSION)
	.venv/$(PIP) --editable '.[training,test]'
	@touch $@ .venv/ready-$(VERSION)

.venv-inference/tested-$(VERSION): $(SOURCES) | .venv-inference/made-$(VERSION)
	.venv-inference/$(PIP) --editable '.[inference,test]'
	@touch $@

%/made-$(VERSION): | python
	$(PYTHON) -m venv --clear $*
	@touch $@

python:
	@test -n "$(VERSION)" || { echo "onnxbf needs Python 3.10, 3.11 or 3.12 with venv: install one \
	(Debian and Ubuntu: apt-get install python3-venv) or name it: make PYTHON=/path/to/python"; exit 2; }
