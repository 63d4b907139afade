# Every target does its own set-up: a fresh machine needs Python 3.11 to 3.13 and make, nothing else.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
STAMP := .venv/.complete
SECONDS ?= 600
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup run test quick check format bench exam fuzz lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP)  ## make .venv with everything this project needs, as locked (no root)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11, 3.12 or 3.13 with venv on PATH (or: make PYTHON=/path/to/python $@)" >&2; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: setup  ## start a site of your own in ./var: list demo@lists.localhost, three members, maildir output
	@$(PY) bin/postroom demo --prepare
	@exec bin/master start

test: setup  ## run every test (MTAs and faults included; takes some minutes)
	$(PY) -m pytest

quick: setup  ## run the tests that take seconds
	$(PY) -m pytest -m "not slow and not mta and not crash"

check: setup  ## lint, format, types, import contract
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports

format: setup  ## put the code into the project's format
	$(PY) -m ruff check --fix-only --quiet .
	$(PY) -m ruff format .

bench: setup  ## measure beside aiosmtpd and GNU Mailman, print the tables (ARGS=--quick, ARGS=--record; see docs/bench.md)
	$(PY) -m bench $(ARGS)

exam: setup  ## tell the stories of tests/conformance to Postroom, aiosmtpd and GNU Mailman, print who passes (ARGS=--record; see docs/conformance.md)
	$(PY) -m tests.support.exam $(ARGS)

fuzz: setup .venv/.fuzz  ## let a coverage-guided fuzzer look for what breaks the parsers (SECONDS=600 for all; ARGS=--keep; see docs/conformance.md)
	nice -n 10 $(PY) -m tests.fuzz.all --seconds $(SECONDS) $(ARGS)

.venv/.fuzz: requirements-fuzz.lock $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.lock
	@touch $@

lock: setup  ## renew requirements.lock and requirements-fuzz.lock from pyproject.toml
	$(PY) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --all-extras --group dev --output-file requirements.lock pyproject.toml
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--upgrade --group fuzz --output-file requirements-fuzz.lock

clean:  ## remove the environment and caches; var/ stays
	rm -rf .venv .venv-lock .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
