# `make demo` needs the runtime packages and the label page; `make check` and `make test` install everything.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# two processes of one thread each: threads of two processes on two cores wait for each other
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

.PHONY: demo check test fuzz docs format clean

demo: $(VENV)/.runtime
	$(BIN)/singletrack demo --overwrite
	@echo "try the label page on the same clip: $(BIN)/singletrack label demo-clip.mp4"

# What to run before each commit: under two minutes on two cores. `make test` adds the slow tests.
check: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST) -m "not slow"

test: $(VENV)/.development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST) --dist loadfile

# Hostile input at random, EXAMPLES for each kind; `make test` runs a fixed minute of it.
EXAMPLES ?= 10000
fuzz: $(VENV)/.development
	SINGLETRACK_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/fuzz

docs: $(VENV)/.development
	$(BIN)/mkdocs build --strict

format: $(VENV)/.development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist site src/*.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[opencv,web]'
	touch $@

# Where PyPI's torch is the CUDA build, name the index of the CPU builds: make test TORCH_INDEX=https://...
TORCH_INDEX ?=

$(VENV)/.development: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.runtime
