# Every target sets up what it needs: a machine with Python 3.11 and make is enough.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help check test coverage fix demo serve bench interop lock clean

help: ## list these targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

check: .venv/ready ## format, lint, types, all tests and their coverage
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(MAKE) --no-print-directory coverage

test: .venv/ready ## the tests alone, or those of TESTS=tests/api/test_stream.py
	$(BIN)/pytest $(TESTS)

coverage: .venv/ready ## all tests, and the lines and branches they leave out
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include='service/domain/*' --fail-under=100

fix: .venv/ready ## format, and mend what the linter can mend
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: .venv/ready ## the whole service with emulated providers, in a terminal
	$(BIN)/belfry demo

serve: .venv/ready ## run the service
	$(BIN)/belfry serve

bench: .venv/ready ## the benchmarks
	$(BIN)/python -m tests.bench

interop: .venv/ready ## have the npm library judge our signatures; needs node
	npm install --silent --no-save --prefix .venv/npm standardwebhooks@1.0.0
	$(BIN)/pytest tests/system/interop.py

lock: ## pin all dependencies anew; needs uv
	uv pip compile pyproject.toml --extra postgres --group dev --universal --generate-hashes \
		--no-emit-index-url --quiet --upgrade -o requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean: ## remove what the other targets made
	rm -rf .coverage .coverage.* .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
