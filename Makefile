# Needs Python 3.11 or newer, pip and make. Everything is installed into .venv and nowhere else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-setup

.PHONY: setup demo test faults browser lint types wheel clean

setup: $(STAMP)

# torch goes first and pinned: left to the resolver, its newest release would bring gigabytes of packages along.
$(VENV)/.stamp-torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "autosft needs Python 3.11 or newer; found: $$($(PYTHON) -V). Name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)" --constraint constraints.txt
	@touch $@

$(STAMP): $(VENV)/.stamp-torch pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --editable '.[dev,demo]' --constraint constraints.txt
	@touch $@

demo: setup
	$(BIN)/autosft demo

# A Ray for each process. In the order of their names the long files come early; xdist's own order goes by how many
# tests a file has, and would leave a process idle at the end.
BY_FILE := --dist loadfile --no-loadscope-reorder

test: setup
	$(BIN)/python -m pytest --numprocesses 2 $(BY_FILE)

# Kills workers, drivers and nodes, fills disks, tears files. Takes minutes, and spends most of them waiting: for what was
# killed to be missed and for what takes its place. So a third process is free even on two cores.
faults: setup
	$(BIN)/python -m pytest -m 'faults and not slow' --numprocesses 3 $(BY_FILE) --durations=5

# Needs a chromium on the PATH, such as Debian's.
browser: setup
	$(BIN)/python -m pytest -m browser

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
