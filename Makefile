# Everything starts here. On a fresh machine with Python >= 3.11, make and a package index:
#   make demo     the main job on the embedded Kafka broker (60 to 90 s after set-up)
#   make test     the tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Most tests wait for real processes: two at a time halve that.
WORKERS ?= 2

# Recorded data that stands beside the checkout is used where nothing else is said.
FRESHET_DATA ?= $(wildcard ../shared/data)
ifneq ($(FRESHET_DATA),)
export FRESHET_DATA
endif

.PHONY: help setup demo test check bench parity soak soak-delivery soak-rolling lock clean
help:
	@echo "make demo | test | check | bench | parity | soak | soak-delivery | soak-rolling | lock | clean"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "freshet needs Python 3.11 or newer; this is %s. Set PYTHON=/path/to/python3.11" % sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV), once; about a minute"
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)
	$(BIN)/freshet demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q schemas learners scoring streams

bench: $(READY)
	$(BIN)/python -m benchmarks $(ARGS)

# ARGS: --quick, --write (docs/parity.md too), or words such as "trees" or "on luma".
parity: $(READY)
	$(BIN)/python -m tests.parity $(ARGS)

# Every soak, one after another; each prints its seed and a verdict, and fails if anything is wrong (docs/soak.md).
soak: soak-rolling soak-delivery

# At most an hour. ARGS: --seed 7 for the same again, --events 100000 --kills 10 --seeds 5x5000 for less.
soak-delivery: $(READY)
	$(BIN)/python -m tests.soak.delivery $(ARGS)

# Every worker restarted in turn under load: how long scoring stands still (docs/soak.md). Two minutes.
soak-rolling: $(READY)
	$(BIN)/python -m tests.soak.rolling $(ARGS)

# Hashes only: the lock names packages, never a registry's host.
lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header -o requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
