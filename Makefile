# `make help` lists the targets. Programs are built in target/, the Python environment in .venv.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

# The tests and .venv/bin/rain look for the program in target/release.
export CARGO_TARGET_DIR := $(CURDIR)/target
export PATH := $(CURDIR)/.venv/bin:$(PATH)

PYTEST := python -m pytest -c pyproject.toml --rootdir=. -p no:cacheprovider

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

.PHONY: setup
setup: ## install what building and testing needs (Debian packages, if root or sudo may; .venv); instant if up to date
	@scripts/setup.sh

.PHONY: build
build: setup ## build target/release/rain (and rain-engine where there is an MPI), and .venv with the Python package
	cargo build --release --locked --bin rain
	@scripts/build-engine.sh

.PHONY: run
run: build ## start Rain, run the example (RAIN_PORT=7210 EXAMPLE=examples/cross_validation.py), stop Rain
	@scripts/run-example.sh

.PHONY: test
test: lint check-dashboard build test-rust test-mpi test-loom test-cpp test-python test-examples ## everything that CI checks
	@echo "make test: all of it passed"

# Tests run unoptimised, with debug assertions and overflow checks; those of Python use the release program.
.PHONY: test-rust
test-rust: setup ## unit, property, end-to-end and tidy tests of all crates
	if cargo nextest --version >/dev/null 2>&1; then \
		cargo nextest run --workspace --locked --no-fail-fast --status-level slow; \
	else \
		cargo test --workspace --locked --no-fail-fast --quiet; \
	fi
	cargo test --workspace --locked --doc --quiet
	cargo test --locked -p rain_task --features bytemuck --quiet

.PHONY: test-mpi
test-mpi: build ## the transport over MPI and rain-engine, under mpirun; skipped where there is no MPI
	@scripts/test-mpi.sh
	$(PYTEST) -rs python/tests/server/test_mpi.py

.PHONY: test-loom
test-loom: setup ## model checks of the lock-free parts; LOOM_MAX_PREEMPTIONS=N bounds them (without: every interleaving)
	RUSTFLAGS="--cfg loom" CARGO_PROFILE_RELEASE_LTO=off cargo test --locked -p rain-pool --release --test loom --test loom_workers \
		--target-dir target/loom

.PHONY: test-cpp
test-cpp: setup ## the C++ tasklib, with sanitizers
	cpp/test.sh

# Ends with 10 when a run went wrong, 11 when one is stuck, 12 after a panic; the lines say how to run one seed again.
.PHONY: sim
sim: setup ## the engine in virtual time, SIM_COUNT=100000 seeds from SIM_FROM=0 on (a few minutes)
	cargo run --locked --release -p rain-sim -- sweep $${SIM_FROM:-0} $${SIM_COUNT:-100000}

.PHONY: fuzz
fuzz: setup ## damaged input for all decoders and for the server's commands (FUZZ_SECONDS=60 for each)
	RAIN_FUZZ_SECONDS=$${FUZZ_SECONDS:-60} cargo test --locked --release -p rain-sim --test fuzz -- --nocapture

.PHONY: fuzz-cpp
fuzz-cpp: setup ## damaged input for the readers of the C++ tasklib (FUZZ_SECONDS=60 for each of them)
	cpp/fuzz.sh $${FUZZ_SECONDS:-60}

.PHONY: test-python
test-python: build ## tests of the Python package, its documents and packaging; those under mpirun are in test-mpi
	$(PYTEST) -n 2 --ignore=python/tests/server/test_mpi.py --ignore=tests/packaging/test_wheel.py python/tests tests/packaging

.PHONY: dashboard
dashboard: ## build dashboard/static, the page for browsers, from dashboard/web (needs Node.js 20 and npm; Rain does not)
	@scripts/dashboard.sh build

.PHONY: check-dashboard
check-dashboard: ## whether dashboard/static is what dashboard/web makes; skipped where there is no Node.js
	@scripts/dashboard.sh check

.PHONY: test-dashboard
test-dashboard: build ## every page in a headless Chromium (minutes; installs Debian's chromium, for the test only)
	cargo build --release --locked -p rain-dashboard --example made_up_log
	@scripts/dashboard.sh test

.PHONY: test-pythons
test-pythons: build ## the Python package with the oldest and the newest Python here (minutes); RAIN_PYTHONS=all, or "/path/to/python3.9 ..."
	RAIN_BIN=$(CURDIR)/target/release/rain python/tests/all_pythons.sh

# Minutes: the program is built once more, for machines with an older C library.
.PHONY: wheel
wheel: setup ## target/wheels/rain-*.whl, for machines without compilers (manylinux, checked with auditwheel)
	scripts/wheel.sh

.PHONY: test-wheel
test-wheel: wheel ## the wheel in a new environment where there is nothing but Python
	$(PYTEST) tests/packaging/test_wheel.py

.PHONY: docs
docs: setup ## the site of the documents, in target/site; every broken link is an error
	@scripts/docs.sh

.PHONY: test-examples
test-examples: build build-bench ## the examples and the benchmarks, against a real server; no times are judged
	$(PYTEST) -n 2 examples bench

# Root is needed. Everything happens in namespaces and in a layer over the file system that are dropped at the end.
.PHONY: test-batch
test-batch: build ## the job scripts in pbs/ with a real Slurm (root; slow; installs Debian packages, for the test only)
	python tests/batch/run.py $(PYTEST_ARGS)

.PHONY: tidy
tidy: setup ## only the rules for the sources: layers, names, lengths, notes
	cargo test --locked -p rain-tests --test tidy

.PHONY: stress
stress: build ## random cases, many more of them (slow); PROPTEST_CASES=N and RAIN_STRESS_GRAPHS=N set how many
	PROPTEST_CASES=$${PROPTEST_CASES:-5000} cargo test --locked --release -p rain-pool -p rain-server
	RAIN_STRESS_GRAPHS=$${RAIN_STRESS_GRAPHS:-100} $(PYTEST) -n 2 -k test_random_graphs python/tests/server
	RAIN_STRESS_INTERRUPTS=1 $(PYTEST) -n 2 -k interrupts python/tests

.PHONY: soak
soak: build ## calls without end through one session (minutes); nothing may grow; SOAK="--calls=N --cluster"
	PYTHONPATH=python/tests python python/tests/soak.py $(SOAK)

.PHONY: build-bench
build-bench: build
	cargo build --release --locked --bin rain --bin rain-bench

.PHONY: bench
bench: build-bench ## measure; a table, and target/bench/latest.json (BENCH=--quick: a shorter form)
	python bench/run.py $(BENCH)

.PHONY: lint
lint: setup ## formatting, clippy, ruff, shellcheck, mypy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	ruff check conftest.py python examples bench cpp tests pbs
	ruff format --check conftest.py python examples bench cpp tests pbs
	shellcheck --severity=warning pbs/*.pbs pbs/*.slurm scripts/*.sh cpp/*.sh python/tests/*.sh tests/batch/config/task-prolog .ci/run
	mypy

.PHONY: format
format: setup ## format all sources
	cargo fmt --all
	ruff format conftest.py python examples bench cpp tests pbs

.PHONY: clean
clean: ## remove everything that was built, .venv too
	rm -rf target .venv python/build python/*.egg-info .pytest_cache {.,python}/.{ruff,mypy}_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
