# Every target sets up what it needs in .venv first; the second time that takes a moment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev

# Python keeps what it compiles, even in containers that forbid it: otherwise every process would compile all again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: ablation test test-slow chaos bench check format

ablation: $(READY)  ## run the study on generated music and show the answer
	@$(BIN)/python experiments/ablation.py --storage results/demo $(OPTIONS)

test: $(DEV)  ## everything that passes in minutes; the tests on Ray run beside the others
	@$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

test-slow: $(DEV)  ## what takes longer: killed drivers, the campaign in small, the demo itself
	@$(BIN)/python -m pytest -m slow

chaos: $(DEV)  ## kills tiny studies 500 times; hours. OPTIONS="--kills 50 --seed 1" for fewer, or to repeat a fault
	@$(BIN)/python -m tests.chaos $(OPTIONS)

bench: $(DEV)  ## how fast a training step of each network is on this CPU; minutes
	@$(BIN)/python -m tests.benchmarks.step

check: $(DEV)  ## format, lint, types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright

format: $(DEV)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11 to 3.13 is needed; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(VENV) (about 5 GB, two minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e .
	@touch $@

$(DEV): $(READY)
	@echo "Adding to $(VENV) what tests and checks need ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@
