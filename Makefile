# Everything that a contributor runs. `make` alone lists it.
PYTHON ?= python3
BIN ?= .venv/bin
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help setup check format lint types layers test deep coverage bench gateway soak lock litellm node

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## make .venv with every tool, and the package in it as an editable install
	$(PYTHON) scripts/setup dev

check: lint types layers test ## all that must pass before a change lands

format: ## put the code in form
	ruff format
	ruff check --fix

lint: ## form and lint
	ruff format --check
	ruff check

types: ## the type checker
	basedpyright --pythonpath $(BIN)/python

layers: ## who may import whom
	lint-imports --no-cache

test: ## the tests
	pytest

litellm: ## the tests of LiteLLM, in .venv-litellm: it cannot share an environment with the newest openai
	$(PYTHON) scripts/setup litellm
	TAXIMETER_REQUIRE=litellm .venv-litellm/bin/pytest tests/instrument tests/gateway/clients -k litellm

node: ## the providers' SDKs for Node, in .venv-node, and the gateway's tests with them
	mkdir -p .venv-node && cp tests/gateway/clients/node/package.json .venv-node/
	npm install --prefix .venv-node --no-package-lock --no-audit --no-fund --ignore-scripts
	TAXIMETER_REQUIRE=node-sdks pytest tests/gateway/clients/test_node.py

deep: ## the tests with many more random cases
	TAXIMETER_HYPOTHESIS=deep pytest

coverage: ## the tests, and which lines and branches they never ran
	coverage erase
	coverage run -m pytest
	coverage combine -q
	coverage report

bench: ## every benchmark but the soak
	@set -e; for script in pricing wire journal overhead; do echo "== $$script"; python benchmarks/$$script.py; done

soak: ## ten minutes of 200 streams at once, in an application and through the gateway: nothing lost, memory flat
	python benchmarks/soak.py
	python benchmarks/gateway_soak.py --minutes 10

gateway: ## what the gateway costs beside nginx and others (needs nginx and cc)
	python benchmarks/gateway.py

lock: ## write requirements/*.txt anew (make lock ARGS=--upgrade)
	scripts/lock $(ARGS)
