# imagewright: `make help` lists what can be done here.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# DVC runs `python` from the PATH, so that the stages use this environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup repro test check ui lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv with the pinned dependencies

# Pinned versions first, then the project itself without a network look-up of its own.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11, 3.12 or 3.13 is needed, got " + sys.version.split()[0] + "; name another with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

repro: $(INSTALLED) ## Run the pipeline (what a change touches), then show the test scores
	$(BIN)/dvc repro
	$(BIN)/imagewright summary

test: $(INSTALLED) ## Run the whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(INSTALLED) ## Check format, lint, types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: $(INSTALLED) ## Open the MLflow UI on this machine (http://127.0.0.1:5000)
	$(BIN)/imagewright ui

lock: $(INSTALLED) ## Renew requirements.lock from pyproject.toml (needs the network)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/python tools/lock.py

clean: ## Remove .venv and what the pipeline wrote; runs (mlruns, runs) and images stay
	rm -rf $(VENV) data/scanned.jsonl data/.known.json data/.times.json data/prepared data/normalized data/augmented models reports config.yaml dvc.lock
