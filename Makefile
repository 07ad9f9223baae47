# Each target works as the first command in a fresh clone: it makes .venv, installs the pinned
# requirements, and builds the C++ parts. Stamp files keep the next call short.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS_STAMP := $(VENV)/.requirements
BUILD_STAMP := $(VENV)/.build
BUILD_INPUTS := CMakeLists.txt setup.py pyproject.toml $(shell find cmake cpp -type f)
CPP_FILES := $(shell find cpp -name '*.cpp' -o -name '*.h' -o -name '*.cu')
PYTHON_FILES := python tests examples cmake docs setup.py $(wildcard benchmarks)

# Threads that wait should sleep: where other programs compete for the cores, OpenMP's spinning
# makes a step take a hundred times as long.
test test-slow: export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: install demo test test-slow test-sanitize lint docs bench pretrained clean

install: $(BUILD_STAMP)

$(REQUIREMENTS_STAMP): requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.txt
	@touch $@

$(BUILD_STAMP): $(REQUIREMENTS_STAMP) $(BUILD_INPUTS)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pip install -q --disable-pip-version-check \
	    --no-build-isolation --no-deps -e .
	@touch $@

demo: install
	$(BIN)/python examples/demo/demo.py

# Several tests at a time, each on a core of its own.
WORKERS ?= 2
test: export OMP_NUM_THREADS ?= 1
test: install
	$(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist worksteal

test-slow: install
	$(BIN)/python -m pytest -q -m slow

# The C++ parts in a build that stops at bad memory accesses and undefined operations. Python and
# LAMMPS are no such builds, so that the sanitizers' runtimes are loaded before everything else; what
# they leave allocated at their end is not ours to report.
SANITIZED := $(CURDIR)/build/sanitize
SANITIZED_TESTS := tests/test_core.py tests/test_annotator.py tests/test_edge_attention.py tests/test_density_operators.py tests/test_drag.py \
    tests/test_embedded_atom.py tests/test_relaxation.py tests/test_group.py \
    tests/test_model_file.py tests/test_older_models.py tests/test_lammps.py
RUNTIMES = $(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))

test-sanitize: export PATH := $(CURDIR)/$(BIN):$(PATH)
test-sanitize: install
	cmake -S . -B $(SANITIZED) -G Ninja -DCMAKE_BUILD_TYPE=Release -DSYMGNN_SANITIZE=ON \
	    -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DSYMGNN_ABSOLUTE_RPATH=ON
	cmake --build $(SANITIZED)
	mkdir -p $(SANITIZED)/package
	cp -r python/symgnn $(SANITIZED)/package/
	find $(SANITIZED)/package -name '*.so' -delete  # those of the other build
	cmake --install $(SANITIZED) --prefix $(SANITIZED)/package/symgnn
	PYTHONPATH=$(SANITIZED)/package LD_PRELOAD="$(RUNTIMES)" UBSAN_OPTIONS=print_stacktrace=1 \
	    ASAN_OPTIONS=detect_leaks=0 python -m pytest -q $(SANITIZED_TESTS)

lint: install
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP_FILES)

# The documentation site, in site/. NO_MKDOCS_2_WARNING leaves out an announcement of the theme's makers,
# which does not concern this site.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

# Speed and agreement. The scripts about accuracy take longer: see benchmarks/README.md.
bench: install
	$(BIN)/symgnn benchmark --model paper --threads 1 2 \
	    -o benchmarks/results/sizes.json --plot benchmarks/results/sizes.png
	set -e; for script in speed scaling agreement temperature; do \
	    echo "== $$script"; $(BIN)/python benchmarks/$$script.py; done

# The shipped models, anew from the published glasses.
pretrained: install
	$(BIN)/python benchmarks/cuzr.py
	$(BIN)/python benchmarks/cuzr.py --preset densities

clean:
	rm -rf build dist site $(BUILD_STAMP) python/*.egg-info .pytest_cache .mypy_cache .ruff_cache
	find python/symgnn -name '*.so' -delete
	rm -f python/symgnn/_build_info.py
