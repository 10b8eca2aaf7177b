# Smeagol. `make help` lists the targets; `make demo` and `make test` set up everything they need.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(shell cat requirements/dev.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help setup demo test check fmt lint types unit golden bench cluster cluster-down images chart e2e docs conformance conformance-adapters lock clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment from the lock file

$(STAMP): requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Smeagol needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (first run only, about a minute) …"
	@rm -f $(VENV)/.installed-*
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## Watch the Service Mesh Interface come true: real Envoys, a real rollout, under load
	@$(BIN)/smeagol demo $(ARGS)

test: setup ## Everything: lint, layers, types, and all tests, with real Envoys and in a real Kubernetes
	@$(MAKE) --no-print-directory lint types
	@$(BIN)/python -m e2e.cluster run -- $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(ARGS)

check: setup ## The fast subset, about a minute
	@$(MAKE) --no-print-directory lint types
	@$(BIN)/python -m pytest -n $(JOBS) -m "not envoy and not netns and not slow" $(ARGS)

fmt: setup ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup ## Formatting, lint, and the import contracts
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports --no-cache

types: setup ## mypy, strict
	@$(BIN)/mypy

golden: setup ## Rewrite the expected side of the golden pairs; review the diff as code
	@SMEAGOL_GOLDEN=write $(BIN)/python -m pytest -q tests/providers tests/api/test_crds.py tests/docs/test_reference.py tests/docs/test_problem_pages.py
	@$(BIN)/python deploy/chart.py

bench: setup ## Measure discovery, a control plane in a cluster and the data path; writes bench/results.md
	@$(BIN)/python -m bench $(ARGS)

cluster: setup ## A real Kubernetes on this machine, until cluster-down; ARGS=--control-plane-only needs no root
	@$(BIN)/python -m e2e.cluster up $(ARGS)

cluster-down: setup ## End that Kubernetes and remove all that it has made
	@$(BIN)/python -m e2e.cluster down $(ARGS)

images: setup ## Build Smeagol's images with buildah, and load them into that Kubernetes if it is up
	@$(BIN)/python -m e2e.images $(ARGS)

chart: setup ## Write the Helm chart from the manifests of smeagol install; review the diff as code
	@$(BIN)/python deploy/chart.py

e2e: setup ## The tests on Kubernetes: in that cluster, or with SMEAGOL_E2E=existing in the one of KUBECONFIG
	@test "$$SMEAGOL_E2E" = existing || $(BIN)/python -m e2e.cluster up
	@SMEAGOL_E2E=$${SMEAGOL_E2E:-own} $(BIN)/python -m pytest tests/e2e $(ARGS)

conformance: setup ## Hold the Envoy provider to the specification; writes the report in conformance/reports
	@$(BIN)/smeagol conformance -p envoy -o conformance/reports/envoy-standalone.yaml $(ARGS)

conformance-adapters: setup ## The same for the adapters, without their meshes; needs the meshes' CRDs (SMEAGOL_PEER_CRDS)
	@SMEAGOL_E2E=own SMEAGOL_REPORTS=write $(BIN)/python -m pytest tests/e2e/test_adapter_reports.py $(ARGS)
	@$(MAKE) --no-print-directory golden

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --extra standalone --extra kubernetes --group dev pyproject.toml -o requirements/dev.lock

clean: ## Remove what the targets above made in this checkout
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist site
