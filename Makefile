# The two commands: `make run` (the demo on real data) and `make test` (everything that must hold).
# Each creates .venv and installs what it needs; a second run starts at once.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: run test lint format reliability clean

run: $(STAMP)
	$(BIN)/diffeo demo

test: $(STAMP)
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/ruff check src tests scripts
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff format src tests scripts
	$(BIN)/ruff check --fix src tests scripts

reliability: $(STAMP)
	$(BIN)/python scripts/reliability.py --json results/reliability.json

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
