# The two commands: `make run` (the demo on real data) and `make test` (everything that must hold).
# Each creates .venv and installs what it needs; a second run starts at once.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
BENCH := .venv-bench

.PHONY: run test proofs lint format reliability audit-rates triton bench bench-tables bench-images clean

run: $(STAMP)
	$(BIN)/diffeo demo

test: $(STAMP)
	$(MAKE) --no-print-directory lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not proof"

# What takes too long for every change: each promise of each part in every size and context, long trainings.
proofs: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m proof

lint: $(STAMP)
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/lint-imports
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff format src tests scripts benchmarks
	$(BIN)/ruff check --fix src tests scripts benchmarks

reliability: $(STAMP)
	$(BIN)/python scripts/reliability.py --json results/reliability.json

# The spline's kernels for GPUs, by Triton's interpreter and its compiler, without a GPU. `make test` leaves them out where
# Triton is not there: it is large, and comes with torch's builds for CUDA.
triton: .triton/installed
	PYTHONPATH=.triton $(BIN)/python -m pytest tests/fused/test_triton.py

.triton/installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .triton 'triton>=3.2'
	touch $@

# The peers go into an environment of their own. QUICK=1 takes under ten minutes on a quiet machine; GPU=1
# measures the GPU; ONLY and DATA are the options of benchmarks/run.py, which has more.
bench: $(BENCH)/installed
	$(BENCH)/bin/python -m benchmarks.run $(if $(QUICK),--quick) $(if $(GPU),--gpu) \
		$(if $(ONLY),--only $(ONLY)) $(if $(DATA),--data $(DATA))

# Densities of real tables beside the peers; what was measured is not measured again, so that it may be ended and
# begun anew. DATA is the folder of tables (or DIFFEO_DATA), DOWNLOAD=1 fetches the published ones into it;
# ONLY='power "uci protein"', BUDGET (seconds a fit), SEEDS and AGAIN='diffeo' narrow it down or repeat it.
bench-tables: $(BENCH)/installed
	$(BENCH)/bin/python -m benchmarks.density.run $(if $(QUICK),--quick) $(if $(DOWNLOAD),--download) \
		$(if $(DATA),--data $(DATA)) $(if $(ONLY),--only $(ONLY)) $(if $(BUDGET),--budget $(BUDGET)) \
		$(if $(SEEDS),--seeds $(SEEDS)) $(if $(METHODS),--methods $(METHODS)) $(if $(AGAIN),--again $(AGAIN))

# Bits per dimension of images; fits that were done are not done again. SETS='digits mnist cifar10' (DATA is the
# folder of the latter two), METHODS, SECONDS (a fit), SEEDS and TESTED (test images) narrow it down.
bench-images: $(STAMP)
	$(BIN)/python -m benchmarks.images.run $(if $(QUICK),--quick) $(if $(SETS),--sets $(SETS)) \
		$(if $(DATA),--data $(DATA)) $(if $(METHODS),--methods $(METHODS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(TESTED),--tested $(TESTED))

# How often audits of simulated tables find what was planted; replications that were done are not done again.
audit-rates: $(STAMP)
	$(BIN)/python -m benchmarks.audit_rates --replications $(or $(REPLICATIONS),200)

$(BENCH)/installed: pyproject.toml benchmarks/requirements.txt benchmarks/requirements-distrax.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -e . -r benchmarks/requirements.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-distrax.txt \
		|| echo "distrax cannot be installed here: its rows will be empty"
	touch $@

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv $(BENCH) .triton .pytest_cache .ruff_cache .hypothesis build dist
