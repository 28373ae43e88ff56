# Thin names over the commands; everything works without make, see README.md.
.DEFAULT_GOAL := help
.PHONY: help up test unit lint types imports check lock generate wheel audit bench bench-peers fault clean

PYTHON := .venv/bin/python

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(PYTHON): requirements-dev.lock
	python3 -m streams test --version

up: ## Run everything embedded: broker, store, worker, simulator, live page
	python3 -m streams up

test: ## Run all tests that this machine can run
	python3 -m streams test

unit: $(PYTHON) ## Run the unit tests but the slow ones, in a minute
	$(PYTHON) -m pytest -q -n 2 --dist worksteal -m "not slow" tests/unit

lint: $(PYTHON) ## Check and mend style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

types: $(PYTHON) ## Check types
	$(PYTHON) -m mypy

imports: $(PYTHON) ## Check that packages import only downwards
	.venv/bin/lint-imports

check: ## Do what CI does
	bash .ci/run

# The development lock comes first: the others hold the same versions of fewer packages.
UV = .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --only-binary :all: \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet $(if $(UPGRADE),--upgrade)
lock: $(PYTHON) ## Refresh the locks from pyproject.toml (UPGRADE=1: newest versions)
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip
	$(PYTHON) -m pip install --quiet 'uv>=0.9'
	$(UV) --extra local --extra dev -o requirements-dev.lock
	$(UV) --extra local -c requirements-dev.lock -o requirements-local.lock
	$(UV) --extra worker -c requirements-dev.lock -o requirements.lock

wheel: $(PYTHON) ## Build dist/*.whl: the producer client; with [worker] or [local] everything else
	$(PYTHON) -m hatchling build -t wheel

audit: $(PYTHON) ## Ask the package index for known vulnerabilities of what is in the image (see docs/SECURITY.md)
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip
	$(PYTHON) -m pip install --quiet 'pip-audit>=2.9'
	$(PYTHON) -m pip_audit --strict --disable-pip --no-deps -r requirements.lock

generate: $(PYTHON) ## Write everything that is made from code: schemas, docs, dashboards, SBOM
	$(PYTHON) -m streams relations docs
	$(PYTHON) -m streams schemas generate
	$(PYTHON) -m streams schemas check
	$(PYTHON) -m streams kpis docs
	$(PYTHON) -m streams.commands.settings_page
	$(PYTHON) -m streams.commands.privacy_page
	$(PYTHON) -m streams rules docs
	$(PYTHON) -m streams dashboards generate
	$(PYTHON) deploy/sbom.py

bench: $(PYTHON) ## Measure the whole job beside bare readers (ARGS="--broker kafka"; see docs/BENCHMARKS.md)
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip
	$(PYTHON) -m pip install --quiet 'confluent-kafka>=2.11' 'py-spy>=0.4'
	$(PYTHON) -m bench $(ARGS)

bench-peers: $(PYTHON) ## Measure other stream engines on the same events (needs Java and Maven; see docs/BENCHMARKS.md)
	$(PYTHON) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m ensurepip
	$(PYTHON) -m pip install --quiet 'confluent-kafka>=2.11'
	$(PYTHON) -m bench.peers $(ARGS)

fault: $(PYTHON) ## Kill, stop and cut everything for half an hour, and compare (ARGS="--minutes 5 --only pauses --seed 3")
	$(PYTHON) -m tests.fault --report docs/RELIABILITY.md $(ARGS)

clean: ## Remove the environment, caches and the embedded run's data
	rm -rf .venv .cx .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
