# closedloop: everything runs in .venv, which is built from constraints.txt when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1
OUT := out

.PHONY: demo test test-all lint bench clean

.venv/ready: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[dev]"
	mkdir -p .import && ln -sfn .. .import/closedloop
	touch $@

demo: .venv/ready
	mkdir -p $(OUT) && rm -f $(OUT)/demo.db*
	$(BIN)/closedloop run reactor --ledger $(OUT)/demo.db
	$(BIN)/closedloop report --ledger $(OUT)/demo.db --output $(OUT)/demo.html

test: .venv/ready
	$(BIN)/python -m pytest

test-all: .venv/ready
	$(BIN)/python -m pytest -m "slow or not slow"

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_architecture.py

bench: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-build-isolation -e ".[bench]"
	$(BIN)/python tests/benchmarks/all.py

clean:
	rm -rf .venv .import build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
