# `make quickstart` and `make test` do all of their set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# Without an NVIDIA GPU the CPU build of torch will do; it is 3 GB smaller.
TORCH ?= $(if $(shell command -v nvidia-smi),torch,torch==2.13.0)
# Debian's python3 comes without venv, and hnswlib is compiled on install.
NEEDS := python3-venv python3-dev g++
# Threads that wait do not take the processor from those that work.
export OMP_WAIT_POLICY ?= PASSIVE
HAVE = $(PYTHON) -c "import ensurepip, os, sysconfig, venv; \
	assert os.path.exists(sysconfig.get_path('include') + '/Python.h')" && \
	command -v g++ >/dev/null

.PHONY: quickstart test test-oldest lint docs site-check clean

quickstart: $(STAMP)
	$(BIN)/python examples/plot_quickstart.py

test: lint
	$(BIN)/python -m pytest -n 2 -m "not slow" -q

# The oldest scikit-learn that pyproject.toml allows, where it matters.
OLDEST := scikit-learn==1.6.1
test-oldest: $(STAMP)
	test -d $(VENV)/oldest || $(BIN)/pip install --quiet \
		--disable-pip-version-check --no-deps --target $(VENV)/oldest $(OLDEST)
	PYTHONPATH=$(VENV)/oldest $(BIN)/python -m pytest -n 2 -m "not slow" -q \
		$(addprefix tests/test_,callbacks.py ensemble.py estimator_checks.py \
		metrics_*.py model_selection_*.py response.py)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build -W -b html $(SPHINXOPTS) docs docs/_build/html

# Links, pictures and the width of a phone, in a headless browser.
site-check: docs
	command -v chromium >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium; }
	$(BIN)/python docs/check_site.py docs/_build/html

# torch first: the dependencies would otherwise bring the build of their choice.
$(STAMP): pyproject.toml
	$(HAVE) || { test "$$(id -u)" = 0 && apt-get update -qq && \
		apt-get install -y -qq $(NEEDS); } || \
		{ echo "Install first: $(NEEDS), or what your system calls them."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -c "import torch" 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) docs/_build docs/auto_examples
