# Every target installs what it needs; Python 3.11 and make must be there.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help check test coverage mutations fix demo serve bench interop lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

check: .venv/ready ## check format, lint and types, run all tests with coverage
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(MAKE) --no-print-directory coverage

test: .venv/ready ## only the tests; TESTS=tests/api/test_stream.py runs one file
	$(BIN)/pytest $(TESTS)

coverage: .venv/ready ## run all tests, list lines and branches they leave out
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include='service/domain/*' --fail-under=100

mutations: .venv/ready ## read 100,000 mutated bodies with each reader of each provider
	MUTATIONS=100000 $(BIN)/pytest tests/unit/providers/test_mutations.py

fix: .venv/ready ## format the code and fix what the linter can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: .venv/ready ## run the service with emulated providers in a terminal
	$(BIN)/belfry demo

serve: .venv/ready ## run the service
	$(BIN)/belfry serve

bench: .venv/ready ## run the benchmarks
	$(BIN)/python -m tests.bench

interop: .venv/ready ## verify webhook signatures with the npm library; needs node
	npm install --silent --no-save --prefix .venv/npm standardwebhooks@1.0.0
	$(BIN)/pytest tests/system/interop.py

lock: ## update and pin all dependencies; needs uv
	uv pip compile pyproject.toml --extra postgres --group dev --universal --generate-hashes \
		--no-emit-index-url --quiet --upgrade -o requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean: ## delete everything the other targets created
	rm -rf .coverage .coverage.* .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
