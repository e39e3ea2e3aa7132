# Each target does all set-up on a machine that has only Python 3.11+ and gcc.
# What fails because its time was up is tried once more, and listed: a time-out on a busy machine is a fault, no verdict.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
AGAIN := -rfER --reruns 1 --only-rerun '(?i)timed?[ _-]?out|time is up'

.PHONY: demo test test-all lint docs clean

$(VENV)/.core: pyproject.toml requirements/core.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "warpsmith needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/core.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core requirements/dev.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

$(VENV)/.torch: $(VENV)/.dev requirements/torch.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements/torch.txt
	touch $@

demo: $(VENV)/.core  ## make cpu/sgemm faster and print the evidence; resumes where it stopped
	$(BIN)/warpsmith optimize cpu/sgemm --tag demo --budget rounds=6,patience=3,seconds=75

test: $(VENV)/.torch lint  ## what CI runs: about five minutes on two cores
	$(BIN)/python -m pytest -n 2 $(AGAIN) -m "not gpu and not slow"

test-all: $(VENV)/.torch lint  ## everything that needs no GPU
	$(BIN)/python -m pytest $(AGAIN) -m "not gpu"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

docs: $(VENV)/.dev  ## write docs/cli.md from the verbs
	$(BIN)/python scripts/generate-cli-docs

clean:
	rm -rf $(VENV) .warpsmith
