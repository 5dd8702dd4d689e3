# Everything runs in .venv, which each target makes where it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# The demo's own options: a folder with a sub-folder of images a class, and
# the weights: imagenet, hed, none or the path of a file.
DATA ?=
WEIGHTS ?=

# Processes that run the tests; each takes up to 3 GB.
JOBS ?= 2

.PHONY: demo test test-all lint format docs bench clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# One stamp an extra: .venv/.test says that skvgg[test] is installed.
$(VENV)/.%: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[$*]"
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/defaults.py
	$(BIN)/python benchmarks/head.py
	$(BIN)/python benchmarks/cache.py
	$(BIN)/python benchmarks/extract.py forward
	$(BIN)/python benchmarks/extract.py start
	$(BIN)/python benchmarks/extract.py photos
	$(BIN)/python benchmarks/finetune.py speed
	$(BIN)/python benchmarks/scaling.py

clean:
	rm -rf $(VENV) docs/_build docs/api docs/gallery docs/sg_execution_times.rst demo-output
