# One list of verbs for people and CI. `make` alone prints the map.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
BED := .venv/bin/chaosbed
# Named after this folder, because a virtual environment does not survive a move.
READY := .venv/.ready-$(firstword $(shell pwd | cksum))
PATHS := app chaos compose loadtests reports scenarios tests

.PHONY: help setup up down chaos gate loadtest report picture test lint types check e2e bench format clean

help:  ## print this map
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make chaos SCENARIO=redis-down ARGS='--seed 7'   one scenario, with further options"
	@echo "  .venv/bin/chaosbed --help                        everything else"

setup: $(READY)  ## get everything that a run needs (the first time takes minutes)
	@$(PY) -m chaos.setup

$(READY): requirements.txt pyproject.toml chaos/setup/bootstrap.sh
	@bash chaos/setup/bootstrap.sh $@

up: setup  ## bring up a stack to play with, and print every URL
	@$(BED) up $(ARGS)

down: $(READY)  ## end the living stack, and prove that nothing is left
	@$(BED) down

chaos: setup  ## run every scenario and judge it, or one with SCENARIO=redis-down
	@$(BED) run $(or $(SCENARIO),--all) $(ARGS)

gate: setup  ## run the CI set: one exit code, JUnit and summary (an INCONCLUSIVE run is repeated)
	@$(BED) run --gate --again 4 $(ARGS)

loadtest: setup  ## open Locust's web UI on a living stack
	@$(BED) loadtest $(ARGS)

report: $(READY)  ## render the newest run and the index over all runs again
	@$(BED) report $(ARGS)

picture: $(READY)  ## take the README's picture of the newest report (needs chromium on PATH)
	@$(PY) -m reports.picture reports/runs reports/assets/report.png

test: setup  ## run the tests, with real servers on loopback (a few minutes)
	@$(PY) -m pytest -m "not e2e" $(ARGS)

e2e: setup  ## run the long tests: whole scenarios, broken on purpose
	@$(PY) -m pytest -m e2e $(ARGS)

bench: setup  ## measure what the instrumentation costs, against two other stacks (90 s)
	@$(PY) -m tests.bench $(ARGS)

lint: $(READY)  ## check format, style and import contracts
	@.venv/bin/ruff format --check $(PATHS) || { echo "run 'make format'"; exit 1; }
	@.venv/bin/ruff check --quiet $(PATHS)
	@.venv/bin/lint-imports --no-logo

types: $(READY)  ## check types (mypy strict)
	@$(PY) -m mypy

check: lint types test  ## check everything that a commit must pass

format: $(READY)  ## format the code and mend what ruff can mend
	@.venv/bin/ruff check --quiet --fix-only $(PATHS)
	@.venv/bin/ruff format --quiet $(PATHS)

clean:  ## end the living stack and remove what was made here (runs and the user's cache stay)
	@! $(BED) --help >/dev/null 2>&1 || $(BED) down
	@rm -rf .venv .tools .chaosbed .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
