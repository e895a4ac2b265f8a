# Every target sets up .venv by itself. `make help` lists them; `make test PYTHON=python3.12` picks
# the interpreter that .venv is made with.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.installed
CLUSTER := .venv-cluster

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-cluster docs bench bench-backbones bench-data bench-distributed clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile

install: $(READY)  ## Create .venv with pointssl (editable) and the tools of `make test`.

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "pointssl needs Python 3.10 or newer; '$(PYTHON)' is" \
	    "$$($(PYTHON) --version 2>&1 | tail -n 1). Try: make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## Pretrain and evaluate on generated shapes, in minutes, without any data.
	$(PY) -m pointssl demo

test: $(READY)  ## Lint, types and tests: what must be green before a commit.
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -m pytest

test-slow: $(READY)  ## The tests that take minutes rather than seconds.
	$(PY) -m pytest -m slow

# torch-cluster has no wheels: its own sources are compiled against this torch, for 20 minutes and
# longer. MAX_JOBS says how many files at a time, each of which takes a gigabyte of memory.
$(CLUSTER)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(CLUSTER)
	$(CLUSTER)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]' setuptools wheel ninja
	MAX_JOBS=$${MAX_JOBS:-1} PATH="$(CURDIR)/$(CLUSTER)/bin:$$PATH" $(CLUSTER)/bin/python -m pip \
	  install -c constraints.txt --no-build-isolation --no-binary torch-cluster torch-cluster==1.6.3
	@touch $@

test-cluster: $(CLUSTER)/.installed  ## Build torch-cluster in a venv of its own and test it.
	$(CLUSTER)/bin/python -m pytest -rs tests/pointssl/ops/test_cluster.py

docs: $(READY)  ## Build the manual into site/; a broken link is an error.
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

bench: $(READY)  ## Measure what the fast paths save on this machine, in ten minutes.
	$(PY) -m pointssl bench

bench-backbones: $(READY)  ## Parameters, multiply-adds, throughput and memory of every backbone.
	$(PY) -m pointssl bench --only costs

bench-data: $(READY)  ## Time reading datasets as they are distributed, and packed.
	$(PY) -m pointssl bench --only packing

bench-distributed: $(READY)  ## Time communication on two processes; estimate it for 8 and 64.
	$(PY) -m pointssl bench --only communication

clean:  ## Remove .venv and everything that was built; runs/ and the data cache stay.
	rm -rf $(VENV) $(CLUSTER) site build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
