# Every target sets up what it needs: a machine with Python 3.11 and make is enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: check fix demo serve bench interop lock clean

check: .venv/ready
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pytest

fix: .venv/ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

demo: .venv/ready
	$(BIN)/belfry demo

serve: .venv/ready
	$(BIN)/belfry serve

bench: .venv/ready
	$(BIN)/python -m tests.bench

interop: .venv/ready
	npm install --silent --no-save --prefix .venv/npm standardwebhooks@1.0.0
	$(BIN)/pytest tests/interop.py

lock:
	uv pip compile pyproject.toml --extra postgres --group dev --universal --generate-hashes \
		--no-emit-index-url --quiet --upgrade -o requirements.lock

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
