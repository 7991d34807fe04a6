# Needs Python >= 3.11, git and make; everything else goes into .venv (with uv, if it is on PATH).
#   make demo      install the core package, run the demonstration
#   make test      fast tests        make test-all  slow ones too
#   make lint      formatting, lint, types, import contracts
#   make bench     einloom and its peers, about an hour      make bench-quick  some cases, 5 minutes
#   make bench-overhead  what a call costs, without the arithmetic      make bench-layers  Keras layers
#   make bench-aot    libraries built ahead of time, against XLA, ONNX Runtime and TFLite
#   make replay    what the working tree generates for the cases, against the last commit
#   make dev       all of these tools, and the pre-commit hooks
#   make clean     remove .venv and what tools leave behind

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
UV := $(shell command -v uv 2>/dev/null)
PYTEST_ARGS ?=

# Each worker holds its own TensorFlow (about 1 GiB) and the kernels are themselves parallel, so a
# few workers suffice. One file stays on one worker: its kernels are compiled once. Files keep the
# order that tests/conftest.py gives them, the longest first.
# Bytecode is kept whatever the environment says: many tests start a process that imports it all.
WORKERS ?= 2
PYTEST := PYTHONDONTWRITEBYTECODE= $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# A stamp records that an install has been done; it is redone when pyproject.toml changes.
CORE := $(VENV)/.stamp-core
TEST := $(VENV)/.stamp-test
LINT := $(VENV)/.stamp-lint
BENCH := $(VENV)/.stamp-bench
# Such as BENCH_ARGS='--group gemm --rounds 30'; see python -m benchmarks.run --help.
BENCH_ARGS ?=
# Such as REPLAY_ARGS='--base main --schedules'.
REPLAY_ARGS ?=

ifeq ($(UV),)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
else
INSTALL := $(UV) pip install --quiet --python $(PY)
endif

.PHONY: help demo test test-all lint bench bench-aot bench-layers bench-overhead bench-quick replay dev clean
# Two pips at once in one environment would break it, whatever -j says.
.NOTPARALLEL:

help:
	@sed -n '2,10s/^# *//p' Makefile

demo: $(CORE)
	@$(PY) -m einloom.demo

test: $(TEST)
	$(PYTEST)

test-all: $(TEST)
	$(PYTEST) --run-slow --hypothesis-profile=whole

lint: $(TEST) $(LINT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BENCH)
	$(PY) -m benchmarks.run $(BENCH_ARGS)

bench-overhead: $(CORE)
	$(PY) -m benchmarks.overhead

bench-layers: $(BENCH)
	$(PY) -m benchmarks.layers $(BENCH_ARGS)

bench-aot: $(BENCH)
	$(PY) -m benchmarks.aot $(BENCH_ARGS)

bench-quick: $(BENCH)
	$(PY) -m benchmarks.run --quick $(BENCH_ARGS)

replay: $(BENCH)
	$(PY) -m benchmarks.replay $(REPLAY_ARGS)

dev: $(TEST) $(LINT)
	@$(INSTALL) --editable '.[dev]'
	$(BIN)/pre-commit install

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf .coverage .coverage.* htmlcov
	find $(wildcard src compiler tests benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  sys.exit(0 if v >= (3, 11) else "einloom needs Python >= 3.11, this is %d.%d; try make PYTHON=python3.x" % v[:2])'
ifeq ($(UV),)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
else
	$(UV) venv --quiet --python $(PYTHON) $(VENV)
endif

$(CORE): pyproject.toml | $(PY)
	@echo "Installing einloom and its dependencies (NumPy, Numba, SymPy, opt_einsum) into $(VENV) ..."
	@$(INSTALL) --editable .
	@touch $@

$(TEST): pyproject.toml $(CORE) | $(PY)
	@echo "Fetching what the tests need into $(VENV): pytest, hypothesis, Keras and TensorFlow (CPU; 2 GB on disk in all) ..."
	@$(INSTALL) --editable '.[test]'
	@touch $@

$(LINT): pyproject.toml $(CORE) | $(PY)
	@echo "Fetching the linters into $(VENV): ruff, mypy, import-linter ..."
	@$(INSTALL) --editable '.[lint]'
	@touch $@

$(BENCH): pyproject.toml $(CORE) | $(PY)
	@echo "Fetching the peers into $(VENV): TensorFlow, JAX (CPU; 2 GB on disk in all), sesum, matplotlib ..."
	@$(INSTALL) --editable '.[bench]'
	@touch $@
