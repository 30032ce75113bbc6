# `make` alone prints the list of targets. All that is needed is make and Python 3.11 or newer.

PYTHON ?= python3
# More arguments for pytest, for example: make test PYTEST_ARGS="-n 4 -x"
PYTEST_ARGS ?=
# Arguments for the chaos run, for example: make chaos CHAOS_ARGS="--seed 7 --jobs 2000 --faults 5"
CHAOS_ARGS ?=

# What the tests and the checks use; `all` would only take longer.
EXTRAS := server,reload,uvloop,otel,pydantic,yaml,objects,dill,postgres,parquet

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SMOKE := build/smoke
# Runs pytest; the few tests that failed are played once more, alone, and named in each later summary.
CHANCES := build/second-chances.json
PHASE := $(BIN)/python -P tests/support/second_chance.py $(CHANCES)

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint fmt docs bench chaos failpoints build hooks changelog constraints clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Create .venv with mesh and all that its development needs

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "mesh needs Python 3.11 or newer; name one with: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python --quiet --constraint constraints.txt --group dev --editable ".[$(EXTRAS)]"
	@touch $@

demo: install ## Show mesh at work: a server, a worker and some jobs
	$(BIN)/mesh demo

test: check ## Run every check and every test: the same as `make check`

check: lint ## Read the code, then run every test (size limits among them) with the coverage gate
	rm -f $(CHANCES)
	$(PHASE) -m "not alone and not untraced" -n 3 --cov --cov-report= --cov-fail-under=0 $(PYTEST_ARGS)
	$(PHASE) -m untraced $(PYTEST_ARGS)
	$(PHASE) -m "alone and not untraced" --cov --cov-append --cov-report=term $(PYTEST_ARGS)

failpoints: install ## Play every failpoint in every recipe that reaches it
	FAILPOINTS=all $(BIN)/pytest tests/failpoints $(PYTEST_ARGS)

lint: install ## Read the code without running it: format, rules, types, floors, docstrings, contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/interrogate mesh
	$(BIN)/codespell
	$(BIN)/mesh contract check subjects

fmt: install ## Format the code and mend what can be mended by itself
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## Build the documentation site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open build/site/index.html, or: $(BIN)/mkdocs serve"

bench: install ## Measure mesh on this machine
	$(BIN)/mesh bench

chaos: install ## Run 20,000 jobs through 20 faults and check that none is lost or runs amok
	PYTHONPATH=tests $(BIN)/python -m chaos.main $(CHAOS_ARGS)

build: install ## Build the wheel and try it in a fresh environment
	rm -rf dist $(SMOKE)
	$(BIN)/uv build --quiet --python $(BIN)/python --wheel --out-dir dist
	$(PYTHON) -m venv $(SMOKE)
	$(BIN)/uv pip install --quiet --python $(SMOKE)/bin/python --constraint constraints.txt dist/*.whl
	cd $(SMOKE) && bin/mesh version

hooks: install ## Run the quick checks before each git commit
	$(BIN)/pre-commit install

changelog: install ## Show the next changelog as the fragments stand
	$(BIN)/towncrier build --draft

constraints: install ## Take the newest versions that pyproject.toml allows into constraints.txt
	sed '/^[^#]/,$$d' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --group dev \
	  --no-header --no-annotate --no-emit-package natsmesh pyproject.toml | sed '/^#/d' >> $(VENV)/constraints.txt
	mv $(VENV)/constraints.txt constraints.txt

clean: ## Delete everything that these targets made
	rm -rf $(VENV) build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find mesh tests workers -name __pycache__ -type d -prune -exec rm -rf {} +
