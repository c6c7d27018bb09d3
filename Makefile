# The two commands: `make demo` and `make test`. Each sets up all it needs in .venv; run again, it does nothing twice.

PYTHON ?= python3
CORES ?= all
# The config to run; empty means config.yaml, the embedded default.
CONFIG ?=
# An extra package index to take torch from, for instance PyTorch's own index of CPU builds; empty means none.
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
TARGET := $(if $(CONFIG),--configfile '$(CONFIG)')

define NEW_VENV
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
f"lm-geometry needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Set PYTHON=python3.11")' && \
$(PYTHON) -m venv $(VENV)
endef

.DEFAULT_GOAL := help
.PHONY: help demo plan test test-all fuzz lint bench bench-gpu clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo
	@echo 'Variables: CONFIG=my.yaml  CORES=4  PYTHON=python3.12  TORCH_INDEX=<index of CPU or CUDA builds of torch>'

demo: $(VENV)/.runtime  ## Run the workflow: the embedded default, or CONFIG=my.yaml
	@$(BIN)/python -m lm_geometry.configuration '$(or $(CONFIG),config.yaml)'
	$(BIN)/python -m snakemake --cores $(CORES) $(TARGET)

plan: $(VENV)/.runtime  ## Say what a run will fetch, store and compute, from file lists alone; CONFIG=my.yaml
	@$(BIN)/python -m lm_geometry.configuration '$(or $(CONFIG),config.yaml)'
	$(BIN)/python -m snakemake plan --cores $(CORES) --quiet rules $(TARGET)

# A file's tests stay together: they share what is slow to make. One thread each, or the processes fight over the cores.
test: $(VENV)/.tests  ## Run the tests, on CORES cores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES:all=auto) --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/.tests  ## Run the slow tests too (over an hour); their results go into docs/test_all.md
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(CORES:all=auto) --dist loadfile --no-loadscope-reorder \
	  -m '' --slow-results=docs/test_all.md

fuzz: $(VENV)/.tests  ## Fuzz the readers and the cleaner (hours); EXAMPLES=1000 for a shorter run
	OMP_NUM_THREADS=1 LM_GEOMETRY_FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(BIN)/python -m pytest tests/fuzz \
	  --numprocesses $(CORES:all=auto) --dist load

lint: $(VENV)/.tests  ## Check format and style of code, rules and workflow
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m snakefmt --check Snakefile rules
	$(BIN)/python -m snakemake --lint

bench: $(VENV)/.tests  ## Measure speed and memory; one line per figure, and results/bench.json
	$(BIN)/python -m benchmarks

bench-gpu: $(VENV)/.tests  ## Measure forward pass, dump and measures on this machine's GPU into docs/gpu.md
	$(BIN)/python -m benchmarks gpu

clean:  ## Remove the environment; results stay
	rm -rf $(VENV)

# A stamp holds the requirements it was made from, so that a checkout that only touches the file installs nothing.
$(VENV)/.runtime: requirements.txt
	@if ! cmp -s requirements.txt $@; then \
	  $(BIN)/python -m pip --version > /dev/null 2>&1 || { rm -rf $(VENV) && $(NEW_VENV); } && \
	  echo 'Installing the locked environment into $(VENV) (a few minutes, 2.3 GB)' && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -r requirements.txt; \
	fi
	@cp requirements.txt $@

$(VENV)/.tests: requirements-test.txt $(VENV)/.runtime
	@cmp -s requirements-test.txt $@ || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check $(INDEX) -r requirements-test.txt
	@cp requirements-test.txt $@
