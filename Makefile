# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Also for the packages that pip needs only to build this one.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export TOKENIZERS_PARALLELISM := false
export OMP_WAIT_POLICY := passive

.PHONY: help demo test check lint unit install clean
.DEFAULT_GOAL := help

help: ## Say what there is.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 16

demo: $(VENV)/.installed ## Set up, run all four methods on a small model and Basque, say where the report is.
	$(BIN)/lingraft run demo --out runs/demo

test: lint unit ## Set up, then run every check and every test.

lint: $(VENV)/.installed-test ## Style, types, imports that run downward only, docstrings.
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pydoclint --quiet --config pyproject.toml src

unit: $(VENV)/.installed-test ## The tests alone, a process and a thread a core; TESTS="-k name" for some.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(TESTS)

install: $(VENV)/.installed ## Set up only.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11: run make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment: install its venv module" >&2; exit 1; }

# torch comes first and alone, so that nothing else chooses its build.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet torch==2.13.0
	$(PIP) install --quiet --editable ".[train,corpora,gguf]"
	@touch $@

# The last two need the library fasttext to install, which does not build against this numpy. The functions
# that the tests compare with do not use it, so they come without what they ask for; the extra holds the rest.
$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --editable ".[all,test,lint,oracles]"
	$(PIP) install --quiet --no-deps wechsel deepfocus
	@touch $@

clean: ## Remove the environment and all caches, not your runs.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
