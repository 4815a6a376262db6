.PHONY: help setup setup-dev demo playground test test-fuzz test-faults lint bench wheel-metrics clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKPOINT ?= runs/demo/lora
PIP := $(BIN)/python -m pip --disable-pip-version-check

help: ## list the targets (the default)
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: $(VENV)/.installed ## make .venv with lora-nlg and all it needs, METEOR's word lists included

setup-dev: $(VENV)/.installed-dev ## the same, and what tests, linting and benchmarks need

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "lora-nlg needs Python 3.10 or later; set PYTHON=/path/to/python3"; exit 1; }
	@echo "== Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt pyproject.toml | $(VENV)/bin/python
	@echo "== Installing what lora-nlg needs (requirements.txt); torch is the large one"
	@$(PIP) install -r requirements.txt
	@echo "== Installing lora-nlg itself"
	@$(PIP) install --quiet --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-playground.txt $(VENV)/.installed
	@echo "== Installing what tests need (requirements-dev.txt)"
	@$(PIP) install -r requirements-dev.txt
	@touch $@

demo: setup ## train on the built-in sample, decode it, score it: about two minutes
	scripts/demo.sh

playground: setup ## a local page to try a run on; CHECKPOINT=runs/e2e for another than the demo's
	@$(PIP) install --quiet -r requirements-playground.txt
	@first='$(CHECKPOINT)'; test -e "$${first%%,*}" || \
	  { echo "no run at $(CHECKPOINT): make demo trains one, or give CHECKPOINT=RUN"; exit 1; }
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/lora-nlg playground --checkpoint $(CHECKPOINT) $(ARGS)

test: setup-dev lint ## lint, then run the tests; ARGS="-k beam" goes to pytest
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not faults and not gpu" $(ARGS)

test-fuzz: setup-dev ## 10,000 damaged and hostile inputs in minutes; FUZZ_SEED=1 gives others, FUZZ_INPUTS=N more
	FUZZ_INPUTS=$${FUZZ_INPUTS:-10000} $(BIN)/python -m pytest tests/fuzz $(ARGS)

test-faults: setup-dev ## kill, starve and damage runs on purpose: the long suite
	$(BIN)/python -m pytest -m faults $(ARGS)

lint: setup-dev ## ruff's rules and format, mypy's types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup-dev ## time metrics, training and decoding against their peers
	$(BIN)/python bench/metrics.py
	$(BIN)/python bench/training.py
	$(BIN)/python bench/decoding.py

wheel-metrics: $(VENV)/bin/python ## the scorers alone as a wheel in dist/, for who doesn't want torch
	PYTHON=$(BIN)/python scripts/wheel_metrics.sh

clean: ## remove .venv, runs and build products
	rm -rf $(VENV) runs build *.egg-info
