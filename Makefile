# Needs make, a shell and Python 3.10 or newer (3.11 is what the pinned versions were tested with).
# Variables: PYTHON=python3.12   PYTEST_ARGS="-k pose"   DEMO_ARGS="--port 8000"

ENV_PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
UNFINISHED := .venv/.unfinished

# The first of these that runs and is new enough; a shim that only looks like Python is passed over.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 && { echo $$python; break; }; done)

.PHONY: help install demo test lint bench mutants torture versions notebooks clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo    the app, on http://127.0.0.1:7860'
	@echo 'make test    every test'
	@echo 'make lint    ruff, ruff format and mypy'
	@echo 'make bench   speed and memory, as ratios'
	@echo 'make mutants   break a copy of the code, one fault at a time, and list the faults that no test notices'
	@echo 'make torture   damaged files, killed processes, full disks, a crowded page: some hours (docs/reliability.md)'
	@echo 'make versions   the core tests with the oldest and the newest versions of everything'
	@echo 'make notebooks   run the notebooks and keep their outputs'
	@echo 'make clean   remove the environment, caches and build products (data/ and runs/ stay)'

install: $(INSTALLED)

demo: $(INSTALLED)
	@$(ENV_PYTHON) demo/app.py $(DEMO_ARGS)

# Two processes, each with one thread. Tests of one file stay together, as they share what is costly to make.
test: $(INSTALLED)
	@OMP_NUM_THREADS=1 $(ENV_PYTHON) -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(INSTALLED)
	$(ENV_PYTHON) -m ruff check
	$(ENV_PYTHON) -m ruff format --check
	$(ENV_PYTHON) -m mypy

bench: $(INSTALLED)
	@$(ENV_PYTHON) -m benchmarks.run $(BENCH_ARGS)

# Fifteen minutes or so on two cores; MUTANTS_ARGS="--only EMA" runs those whose name contains a word.
mutants: $(INSTALLED)
	@$(ENV_PYTHON) tests/mutants/run.py $(MUTANTS_ARGS)

# All campaigns go on when one has found something, so that a night is not lost. Full disks need root, on Linux.
TORTURE = tests.torture.readers tests.torture.images 'tests.torture.kill training' 'tests.torture.kill prepare' \
	'tests.torture.kill store' 'tests.torture.kill study' tests.torture.disk tests.torture.load

torture: $(INSTALLED)
	@status=0; for campaign in $(TORTURE); do echo "-- $$campaign"; $(ENV_PYTHON) -m $$campaign || status=1; done; exit $$status

# Two further environments, some GB each, which are removed at the end.
versions: $(INSTALLED)
	$(ENV_PYTHON) -m pip install uv
	$(ENV_PYTHON) tests/torture/versions.py oldest
	$(ENV_PYTHON) tests/torture/versions.py newest

# The outputs go to build/ first, so that the checkout has no changes while the notebooks name its commit. Progress bars
# and widgets, in cells with the tag "live", are not stored: they show nothing without a kernel.
notebooks: $(INSTALLED)
	$(ENV_PYTHON) -m nbconvert --to notebook --execute --ExecutePreprocessor.timeout=-1 --output-dir=build/notebooks \
		--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False \
		--NbConvertApp.use_output_suffix=False notebooks/0[01235]*.ipynb notebooks/04*.ipynb
	$(ENV_PYTHON) -m nbconvert --to notebook --output-dir=notebooks --NbConvertApp.use_output_suffix=False \
		--TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_all_outputs_tags=live build/notebooks/0*.ipynb

clean:
	rm -rf .venv build dist pg2lib.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp appears only when everything is installed; an install that was cut short is thrown away and begun again.
# It is as old as the start of the install, so a pin that changes meanwhile counts as changed.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' && '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo 'pg2lib needs Python 3.10 or newer, best 3.11. None was found as "$(PYTHON)" or python3.11 or python3;' >&2; \
		echo 'name one with: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@if test -s $(UNFINISHED) && kill -0 `cat $(UNFINISHED)` 2>/dev/null; then \
		echo 'Another make is installing into .venv right now; wait until it is done.' >&2; exit 1; fi
	@if test -e $(UNFINISHED) || ! $(ENV_PYTHON) -m pip --version >/dev/null 2>&1; then \
		echo 'Making the environment .venv with $(PYTHON); the first install takes a few minutes and 2.5 GB.'; \
		rm -rf .venv && mkdir .venv && echo $$PPID >$(UNFINISHED) && '$(PYTHON)' -m venv .venv; fi
	@echo $$PPID >$(UNFINISHED)
	@if $(ENV_PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))'; then \
		set -x; $(ENV_PYTHON) -m pip install -c constraints.txt -e '.[all]'; \
	else \
		echo 'constraints.txt is for Python 3.11 and 3.12; installing the newest versions that pyproject.toml admits.'; \
		set -x; $(ENV_PYTHON) -m pip install -e '.[all]'; fi
	@mv $(UNFINISHED) $@
