# One list of verbs for people and CI. `make` alone prints the map.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
READY := .venv/.ready
BED := .venv/bin/chaosbed
PATHS := app chaos loadtests scenarios reports compose tests

.PHONY: help setup up down chaos gate loadtest report test lint types check e2e clean

help:  ## print this map
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make chaos SCENARIO=redis-down ARGS='--seed 7'   one scenario, with further options"

setup: $(READY)  ## get everything a run needs (the first time takes minutes)
	@$(PY) -m chaos.setup

$(READY): requirements.txt pyproject.toml compose/bootstrap.sh
	@bash compose/bootstrap.sh

up: setup  ## bring a stack up to play with, and print every URL
	@$(BED) up $(ARGS)

down: $(READY)  ## end the living stack
	@$(BED) down

chaos: setup  ## run every scenario, or one with SCENARIO=redis-down
	@$(BED) run $(or $(SCENARIO),--all) $(ARGS)

gate: setup  ## run the CI set: one exit code, JUnit and summary
	@$(BED) run --gate $(ARGS)

loadtest: setup  ## open Locust's web UI on a living stack
	@$(BED) loadtest $(ARGS)

report: $(READY)  ## render the newest run and the index over all runs again
	@$(BED) report $(ARGS)

test: setup  ## run the tests (real servers on loopback, a few minutes)
	@$(PY) -m pytest -m "not e2e" $(ARGS)

e2e: setup  ## run the long tests: whole scenarios, broken on purpose
	@$(PY) -m pytest -m e2e $(ARGS)

lint: $(READY)  ## check format, style and import contracts
	@.venv/bin/ruff format --check $(PATHS)
	@.venv/bin/ruff check $(PATHS)
	@.venv/bin/lint-imports

types: $(READY)  ## check types (mypy strict)
	@$(PY) -m mypy

check: lint types test  ## everything a commit must pass

clean:  ## remove what was made here (the per-user cache of servers stays)
	@if [ -x $(BED) ]; then $(BED) down; fi
	@rm -rf .venv .tools .chaosbed .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
