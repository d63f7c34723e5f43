# make run      hash every file of a folder on a local cluster          make run DIR=some/folder
# make test     the whole test suite, in two processes                  make test ARGS="-k core -x"   make test JOBS=0
# make test-all the suite on every Python from 3.11 on that is found
# make check    ruff, mypy --strict, import order, small tests
# make docs     the manual, into build/docs
# make bench    the benchmarks beside a rival
# make simulate whole clusters under faults, one for each seed      make simulate SEEDS=10000 FIRST=0
# make chaos    real processes under kill -9, SIGSTOP and cut connections   make chaos ARGS="--seconds 10 --tasks 5000"
# make soak-fairness  two programs on one offer for a minute: who gets how much of its slots
# make changelog  CHANGELOG.md, from the notes in docs/changes
# make clean    remove everything that the commands above made: build/, and what Python and pip leave beside sources

PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13 python3.14
VENV_TEST ?= build/venv-test
ARGS ?=
SEEDS ?= 2000
FIRST ?= 0
JOBS ?= 2
DIR ?= $(shell $(PYTHON) -c "import sysconfig; print(sysconfig.get_path('stdlib'))")

PIP_FLAGS = --quiet --disable-pip-version-check
METADATA := pyproject.toml setup.py requirements.txt
SOURCES := distributed_worker.py $(shell find distributed -name '*.py' -o -name py.typed)

.PHONY: run test test-all check format docs changelog bench chaos simulate soak-fairness clean
.DELETE_ON_ERROR:

# The folder that is read stays as it is, even when it is the interpreter's own library (no bytecode is written), and what
# runs is the installed package, not the files beside this one (no current folder on the path).
run: build/venv/.installed
	PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 build/venv/bin/python -m distributed hash "$(DIR)" --output build/SHA1SUMS

# Hundreds of processes are started; without bytecode each would compile the package anew, a second of work.
test: $(VENV_TEST)/.installed
	PYTHONDONTWRITEBYTECODE= $(VENV_TEST)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-all:
	@set -e; for python in $(PYTHONS); do \
	  if $$python -c 'import sys' >/dev/null 2>&1; then \
	    echo "== $$python"; $(MAKE) --no-print-directory PYTHON=$$python VENV_TEST=build/venv-test-$$python test; \
	  else echo "== $$python: not found, left out"; fi; done

check: build/venv-check/.installed
	build/venv-check/bin/ruff check .
	build/venv-check/bin/ruff format --check .
	build/venv-check/bin/mypy
	build/venv-check/bin/python -m distributed.testing.tidy
	build/venv-check/bin/python -m pytest tests/small $(ARGS)

format: build/venv-check/.installed
	build/venv-check/bin/ruff check --fix .
	build/venv-check/bin/ruff format .

docs: build/venv-docs/.installed
	build/venv-docs/bin/python -m sphinx -W --keep-going -q -b html -d build/docs-cache docs build/docs
	@echo "open build/docs/index.html"

changelog: build/venv-check/.installed
	build/venv-check/bin/python -m distributed.testing.changelog

bench: build/venv-bench/.installed
	build/venv-bench/bin/python benchmarks/run.py $(ARGS)

chaos: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m distributed.testing.chaos $(ARGS)

simulate: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m distributed.testing.simulation --seeds $(SEEDS) --first $(FIRST) --jobs $(JOBS) $(ARGS)

soak-fairness: $(VENV_TEST)/.installed
	$(VENV_TEST)/bin/python -m distributed.testing.fairness $(ARGS)

clean:
	rm -rf build distributed.egg-info
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# One virtual environment per purpose. A stamp file says that it is complete; it is made again when its inputs change.
# build/lib is setuptools' own folder: what it keeps of files that were deleted would be installed again.
build/venv/.installed: $(METADATA) $(SOURCES)
	$(call make_venv,build/venv)
	rm -rf build/lib
	build/venv/bin/python -m pip install $(PIP_FLAGS) -r requirements.txt
	build/venv/bin/python -m pip install $(PIP_FLAGS) --force-reinstall --no-deps .
	touch $@

build/venv-bench/.installed: $(METADATA) $(SOURCES)
	$(call make_venv,build/venv-bench)
	rm -rf build/lib
	build/venv-bench/bin/python -m pip install $(PIP_FLAGS) -r requirements.txt numpy cryptography
	build/venv-bench/bin/python -m pip install $(PIP_FLAGS) --force-reinstall --no-deps .
	touch $@

# Tests and checks look at the files here (an editable install), so only metadata makes these stale.
$(VENV_TEST)/.installed: $(METADATA)
	$(call make_venv,$(VENV_TEST))
	$(VENV_TEST)/bin/python -m pip install $(PIP_FLAGS) -e '.[test]'
	touch $@

build/venv-check/.installed: $(METADATA)
	$(call make_venv,build/venv-check)
	build/venv-check/bin/python -m pip install $(PIP_FLAGS) -e '.[dev]'
	touch $@

build/venv-docs/.installed: $(METADATA)
	$(call make_venv,build/venv-docs)
	build/venv-docs/bin/python -m pip install $(PIP_FLAGS) -e '.[docs]'
	touch $@

define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo \
	  "distributed needs Python 3.11 or later, but '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo not there);" \
	  "name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	  "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
endef
