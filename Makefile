# Every target sets up what it needs on a bare machine and is quick the second time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVERS := $(VENV)/.servers

.PHONY: help demo test check lint types bench compatibility lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

demo: $(READY) ## Import orders, kill workers on the way, show that nothing is lost (no servers)
	$(BIN)/celeriac demo $(ARGS)

test: $(READY) $(SERVERS) ## Run all tests, on real servers where they are installed
	$(BIN)/pytest $(ARGS)

check: lint types ## Lint, strict types, architecture
	$(BIN)/pytest -q tests/unit/test_architecture.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(READY) $(SERVERS) ## Measure against stock Celery on this machine
	$(BIN)/python benchmarks/drain.py $(ARGS)

compatibility: $(READY) ## Write docs/compatibility.md from the tests' marks and from Celery itself
	$(BIN)/python -m tests.compatibility

lock: ## Renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra redis --extra django --group dev --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --upgrade -q -o requirements.lock

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Celeriac needs Python 3.11 or newer")'
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null; \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Debian's Redis, for tests and benchmarks; without root the tests that need it say how to install it.
$(SERVERS): $(READY)
	@if ! command -v redis-server >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; \
	fi
	@touch $@
