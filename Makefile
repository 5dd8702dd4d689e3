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

# What another Python, or other versions of the dependencies, are tried with.
QUICK := tests/test_sklearn_contract.py tests/test_images.py \
	tests/test_store.py tests/test_typing.py tests/test_structure.py
# A file of versions that pip is to install.
CONSTRAINTS ?=
PYTEST_FLAGS ?=

.PHONY: demo test test-all test-quick test-oldest dist lint format docs bench clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py $(if $(DATA),--data "$(DATA)") $(if $(WEIGHTS),--weights "$(WEIGHTS)")

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile

test-all: $(VENV)/.test
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# On another Python: make test-quick PYTHON=python3.13 VENV=.venv-3.13
test-quick: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile $(PYTEST_FLAGS) $(QUICK)

# Old libraries warn of much that newer ones have mended.
test-oldest:
	$(MAKE) test-quick VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt PYTEST_FLAGS="-W ignore"

# The wheel is tried where nothing but it, and what it depends on, can be imported.
dist: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "build>=1.2" "twine>=6"
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m zipfile --list dist/*.whl | grep --quiet skvgg/py.typed
	clean=$$(mktemp -d) && trap 'rm -rf "$$clean"' EXIT \
	&& $(PYTHON) -m venv "$$clean/venv" \
	&& "$$clean/venv/bin/pip" install --quiet "$$(echo $(CURDIR)/dist/*.whl)[offline,plotting]" \
	&& cp examples/gallery/plot_1_first_classifier.py "$$clean" && cd "$$clean" \
	&& MPLBACKEND=Agg venv/bin/python plot_1_first_classifier.py

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
	$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable ".[$*]"
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
	rm -rf $(VENV) .venv-* dist docs/_build docs/api docs/gallery docs/sg_execution_times.rst demo-output
