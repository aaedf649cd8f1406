# Each target makes .venv, installs what it needs and runs; what is installed already is not installed again.
#   make demo          learn concepts from a corpus, compare them with other retrievers (writes demo/)
#   make test          all tests, in JOBS processes (2)
#   make check         make lint and the fast tests, which start no Java: for every change
#   make coverage      all tests in one process; fails below the share of lines that setup.cfg names
#   make test-colbert  those of ColBERT, in .venv-colbert
#   make test-browser  those of the report's page in Chromium, which with chromedriver must be installed
#   make test-notebooks  runs examples/*.ipynb
#   make lint          ruff, its formatter, mypy --strict, and the direction of imports
#   make docs          the documentation as a site in docs/_build/html; warnings are errors
#   make linkcheck     looks up the links of these pages that lead elsewhere; needs a network
#   make bench         speed beside other packages, in .venv-bench and .venv-export (writes benchmarks/README.md); an hour or more
#                      COLLECTION names what is encoded, indexed and searched: docstrings, or a collection's folder
# PYTHON names the Python (3.11 to 3.13) that .venv is made with.

PYTHON ?= python3
VENV := .venv
COLLECTION ?= docstrings
JOBS ?= 2
BIN := $(VENV)/bin

.PHONY: demo test check test-fast coverage test-colbert test-browser test-notebooks lint docs linkcheck bench

demo: .venv/installed-demo
	$(BIN)/saesplade demo --out demo

# Terrier's jars are fetched first, so that processes do not fetch them at the same time. A file's tests share what they
# build, so a file stays in one process.
test: .venv/installed-test
	$(BIN)/python -c "import pyterrier; pyterrier.java.init()"
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check:
	$(MAKE) --jobs=2 --output-sync=target lint test-fast

test-fast: .venv/installed-dev
	$(BIN)/python -m pytest -q -m "not slow"

coverage: .venv/installed-test
	$(BIN)/python -m pytest --cov

# PyLate allows only older releases of torch and transformers than the rest is tested with. So the other folders say, too,
# that the package works with these.
test-colbert:
	$(MAKE) VENV=.venv-colbert .venv-colbert/installed-test-colbert
	.venv-colbert/bin/python -m pytest tests/colbert tests/baselines tests/model
	.venv-colbert/bin/python -m pytest tests/docs/test_examples.py -k "colbert or plaid"

test-browser: .venv/installed-browser
	$(BIN)/python -m pytest tests_browser

test-notebooks: .venv/installed-notebooks
	$(BIN)/python -m pytest tests_notebooks

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: .venv/installed-docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --builder html docs docs/_build/html

linkcheck: .venv/installed-docs
	$(BIN)/sphinx-build --quiet --builder linkcheck docs docs/_build/linkcheck

# What the peers need is in environments of its own. sentence-transformers' other back ends are in a third, because
# optimum-onnx allows no transformers from 5 on.
bench:
	$(MAKE) VENV=.venv-bench .venv-bench/installed-bench
	$(MAKE) VENV=.venv-export .venv-export/pyvenv.cfg
	.venv-export/bin/python -m pip install --quiet 'sentence-transformers[onnx,openvino]>=5.7' typer
	.venv-bench/bin/python benchmarks/encode.py --collection $(COLLECTION) --exporting .venv-export/bin/python
	for d in 384 768; do .venv-bench/bin/python benchmarks/encode.py --collection $(COLLECTION) --documents 200 \
		--width 65536 --dimension $$d --out benchmarks/results/encode-sae-$$d.json || exit 1; done
	.venv-bench/bin/python benchmarks/query.py --collection $(COLLECTION)
	.venv-bench/bin/python benchmarks/query.py --collection $(COLLECTION) --width 65536 --out benchmarks/results/query-sae.json
	.venv-bench/bin/python benchmarks/pretrain_step.py
	.venv-bench/bin/python benchmarks/train_step.py
	.venv-bench/bin/python benchmarks/index.py --collection $(COLLECTION)
	.venv-bench/bin/python benchmarks/index.py --collection $(COLLECTION) --pisa-scale 1 \
		--out benchmarks/results/index-scaled-once.json
	.venv-bench/bin/python benchmarks/index.py --collection $(COLLECTION) --documents 2000 --peer-encoder own --rounds 3 \
		--out benchmarks/results/index-from-text.json
	.venv-bench/bin/python benchmarks/retrieval.py --collection $(COLLECTION)
	.venv-bench/bin/python benchmarks/retrieval.py --collection $(COLLECTION) --num-results 100 \
		--out benchmarks/results/retrieval-100.json
	.venv-bench/bin/python benchmarks/growth.py --collection $(COLLECTION)
	.venv-bench/bin/python benchmarks/shares.py --collection $(COLLECTION)
	.venv-bench/bin/python benchmarks/report.py

# kept, so that a second run finds them
.PRECIOUS: $(VENV)/installed-%

$(VENV)/installed-%: $(VENV)/pyvenv.cfg setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is not: say make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip || { rm -rf $(VENV); exit 1; }
