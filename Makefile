# Both `make demo` and `make test` set everything up themselves; they need only python3 (3.11 or newer) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test coverage docs lint format bench release-check clean

demo: $(READY)
	$(BIN)/looksharp demo --out demo

# A file's tests stay together; more than four processes would want more memory than most machines have.
test: $(READY)
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The same tests, a third slower: the coverage of each room, and files of the core whose branches are not tested.
coverage: $(READY)
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --cov --cov-report=
	$(BIN)/python .ci/branches.py

# Tutorials run while it is built: minutes, and no network.
docs: $(READY)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[docs]"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/sphinx-build --fail-on-warning --keep-going docs docs/_build/html
	@echo "open docs/_build/html/index.html"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Wheel and sdist, each installed into an empty environment for each Python at hand, with lowest and newest dependencies.
release-check: $(READY)
	$(BIN)/python .ci/release.py $(TRIED)

bench: $(READY)
	$(BIN)/python -m benchmarks.training_step
	$(BIN)/python -m benchmarks.attention_maps
	$(BIN)/python -m benchmarks.attention_suite
	$(BIN)/python -m benchmarks.faithfulness
	$(BIN)/python -m benchmarks.startup

clean:
	rm -rf $(VENV) demo dist docs/_build docs/gallery_built docs/reference/python docs/reference/commands

# uv installs the same packages as pip in a fraction of the time, but leaves byte code to whoever imports them first.
$(READY): pyproject.toml
	@echo "Setting up $(VENV): about 3 GB of packages, once"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable ".[dev]"
	$(BIN)/python -m compileall -q src
	@$(BIN)/uv pip install --quiet --python $(BIN)/python "pydensecrf2>=1.1" 2>/dev/null || \
		echo "pydensecrf2 needs a C++ compiler and Python below 3.13: tests that compare the CRF with it are skipped"
	touch $(READY)
