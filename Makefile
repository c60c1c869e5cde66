# DPO Lab. `make` alone lists what there is.

# The Python that .venv is made with: the first of these that is 3.10 to 3.13, or `make lab PYTHON=…`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 \
	&& { echo $$p; exit; }; done; echo python3)
# A further package index to take torch from; https://download.pytorch.org/whl/cpu has small builds without CUDA.
TORCH_INDEX ?=
# More options for JupyterLab, for instance LAB_FLAGS=--no-browser
LAB_FLAGS ?=
# Tests run on this many cores, each test file on one of them.
CORES ?= 2

VENV := .venv/bin/python
LESSONS := solutions/*.ipynb
AUTOGRADERS := tests/autograders
# One thread a process: the processes share the cores, and sums come out the same everywhere. Lessons run with fewer
# seeds and steps.
PYTEST := DPO_LAB_PRESET=fast OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(VENV) -m pytest -n $(CORES) --dist loadfile
RUFF := $(VENV) -m ruff
CODE := dpo_lab tests solutions

# On a busy machine threads that wait by spinning take the cores from each other: a step then takes ten times as long.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup models lab demo test fresh lint test-library test-solutions test-notebooks build format clean

help:  ## this list
	@echo "DPO Lab: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

lab: models  ## set up, then open the first notebook in JupyterLab
	$(VENV) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB_FLAGS) notebooks/00_start_here.ipynb

demo: models  ## set up, then align SmolLM2 in the terminal: before against after
	$(VENV) -m dpo_lab demo

test: fresh lint test-library test-solutions test-notebooks  ## set up, then every check below

setup:  ## make .venv and install the pinned packages (nothing, if they are there)
	@command -v $(PYTHON) >/dev/null || { echo "There is no '$(PYTHON)' here. DPO Lab needs Python 3.10 to 3.13:" \
		"install one from https://www.python.org/downloads/, or name one: make lab PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) dpo_lab/install.py $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

models: setup  ## fetch SmolLM2 into the cache (nothing, if it is there)
	@$(VENV) -m dpo_lab models

fresh: setup  ## check that every notebook is what the build would write
	$(VENV) -m dpo_lab build --check

lint: setup  ## ruff: rules and format
	$(RUFF) check $(CODE)
	$(RUFF) format --check $(CODE)

test-library: models  ## the library's tests, and the autograders on the library
	MPLBACKEND=Agg $(PYTEST) tests

test-solutions: models  ## the autograders on the solutions
	MPLBACKEND=Agg $(PYTEST) $(AUTOGRADERS) --submission solutions

test-notebooks: models  ## run every solution notebook from top to bottom, with fewer seeds and steps
	$(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(LESSONS)

build: models  ## write the notebooks anew from solutions/*.py and the library
	$(VENV) -m dpo_lab build

format: setup  ## ruff: mend what it can
	$(RUFF) check --fix $(CODE)
	$(RUFF) format $(CODE)

clean:  ## remove .venv and caches; notebooks, runs and checkpoints stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find dpo_lab tests solutions notebooks -name __pycache__ -prune -exec rm -rf {} +
