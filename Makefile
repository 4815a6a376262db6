# make demo    set up, train on the built-in sample, decode it, score it
# make test    set up, lint, run the tests
.PHONY: setup setup-dev demo test test-faults lint bench clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "lora-nlg needs Python 3.10 or later; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

demo: setup
	scripts/demo.sh

test: setup-dev lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not faults and not gpu" $(ARGS)

test-faults: setup-dev
	$(BIN)/python -m pytest -m faults $(ARGS)

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup-dev
	$(BIN)/python bench/metrics.py
	$(BIN)/python bench/training.py
	$(BIN)/python bench/decoding.py

clean:
	rm -rf $(VENV) runs build *.egg-info
