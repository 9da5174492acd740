# make demo    from a fresh clone to brain masks and a page of pictures in demo_output/
# make demo-cohort   a study of eight generated people, ending with its pages
# make test    everything the tests need, then all of them
# Both want Python 3.11 or newer and nothing else, and both may be run again.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# The scans that some checks measure on; those checks are skipped, with the reason, without them.
STROKEDX_DATA ?= $(if $(wildcard ../shared/data/.),$(abspath ../shared/data))
export STROKEDX_DATA
# Processes that share the tests, a file at a time.
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo demo-cohort test test-install lint clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/installed
	$(RUN) -m strokedx_core.cli demo --out demo_output

demo-cohort: $(VENV)/installed
	$(RUN) -m strokedx_core.cohort.demo demo_cohort

test: $(VENV)/installed-dev
	$(RUN) tests/system_libraries.py --install
	$(RUN) -m pytest --numprocesses $(WORKERS) --dist loadfile

test-install: $(VENV)/installed-dev
	$(RUN) tests/system_libraries.py --install
	$(RUN) -m pytest -m install tests/install

lint: $(VENV)/installed-dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

clean:
	rm -rf demo_output demo_cohort test-output build dist .pytest_cache .ruff_cache .mypy_cache

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(VENV)/installed $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "StrokeDx needs Python 3.11 or newer; name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
