# Every target needs only python3 and sets up its own environment in .venv.
# `make test PYTHON=python3.13` builds and uses the environment of another interpreter.
PYTHON ?= python3
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_TEST := $(VENV)/.installed-test
STAMP_DEV := $(VENV)/.installed-dev

# A plain `pip install torch` on Linux brings several GB of CUDA libraries.
# The tests only compare with torch on the CPU; override TORCH to choose another build.
TORCH ?= torch==2.13.0

# What `make smoke` runs: the core of the library, without what is compared with torch.
SMOKE := tests/test_structure.py tests/adapters tests/data tests/runtime tests/evaluation \
	tests/models/test_transformer.py tests/models/test_loading.py tests/models/test_families.py tests/models/test_sizes.py \
	tests/generation/test_generate.py tests/generation/test_generate_batch.py \
	tests/training/test_finetune.py tests/training/test_loss.py tests/training/test_optim.py \
	tests/seal/test_inner_loop.py tests/seal/test_policy.py tests/plan/test_plan_command.py \
	tests/cli/test_main.py tests/cli/test_commands.py tests/cli/test_generate_command.py tests/cli/test_startup.py

.PHONY: help demo install test smoke lint bench clean

help:            ## list the targets
	@grep -E '^[a-z]+: .*##' Makefile | sed 's/: *## */\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(STAMP_TEST): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@

$(STAMP_DEV): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: $(STAMP)   ## SEAL end to end on the embedded biographies world
	$(BIN)/seal-jax demo

install: $(STAMP_DEV) ## everything the tests need

test: $(STAMP_DEV) ## the tests
	$(BIN)/python -m pytest -q $(ARGS)

smoke: $(STAMP_TEST) ## the core tests, in an environment without torch
	$(BIN)/python -m pytest -q $(SMOKE) $(ARGS)

lint: $(STAMP_DEV) ## ruff, pyright, and that no two files of tests have one name, which pytest refuses
	@twice=$$(find tests -name 'test_*.py' | sed 's:.*/::' | sort | uniq -d); \
		test -z "$$twice" || { echo "several files of tests are named $$twice"; exit 1; }
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(STAMP_DEV) ## every benchmark, one JSON line each
	$(BIN)/python -m benchmarks

clean:           ## remove environments and caches; runs/ stays
	rm -rf .venv .venv-* .pytest_cache .ruff_cache
