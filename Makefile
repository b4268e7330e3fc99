# make bench: speed and memory, each ratio against a peer in the same run; on an idle machine. The other scripts of
# tests/benchmarks and tests/systems_heavy/full_size.py take longer, and are named where docs/ has their figures.
# make demo: install into .venv, and run the demo: reconstructions and probes of built-in systems on embedded data.
# make docs: the pages in docs/_build/html; warnings are errors, nothing is downloaded while they are built.
# make reference: run the suites behind results/reference again.
# make test: install what the tests need, then lint, types and tests.
# make types: mypy over the package and tests/benchmarks, with what these import of tests/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := # empty: the many processes of runs and tests need not compile the package again

SPEED := limits music2latent training probes reconstruction distribution startup report frames openvino
OPENVINO := tests/music2latent/test_compiled.py tests/systems_heavy/test_compiled_systems.py

.PHONY: demo test lint types $(OPENVINO) docs bench reference audit clean

demo: $(VENV)/.installed
	$(BIN)/m2l-bench run

# Two processes of one thread, and beside them the types and OpenVINO's tests, as some tests wait. Files go out in the order of their
# names: by number of tests, long files of few tests would come last.
test: $(VENV)/.installed-test lint
	$(MAKE) --output-sync types $(OPENVINO) & beside=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(addprefix --ignore ,$(OPENVINO)) $(PYTEST); \
	ended=$$?; wait $$beside && exit $$ended

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	$(BIN)/python -m mypy

$(OPENVINO): $(VENV)/.installed-test # each in a process of its own: OpenVINO's threads do not go well with starting others
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $@

docs: $(VENV)/.installed-docs
	rm -rf docs/_build docs/generated
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(VENV)/.installed-test
	for name in $(SPEED) "probes --large"; do set -- $$name; echo "== $$name"; \
	OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python tests/benchmarks/bench_$$1.py $$2 || exit 1; done

# Its tool lives apart, so that its dependencies are not ours; without network the licences alone are checked.
audit: $(VENV)/.installed-test
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --retries 0 'pip-audit==2.10.1' || true
	$(BIN)/python scripts/audit.py --pip-audit $(VENV)/audit/bin/pip-audit

# The reports in results/reference: hours on two cores, of which beats, chords, notes and readers take most; finished jobs are found again.
RUNS := results/runs/reference
reference: $(VENV)/.installed-test
	for suite in embedded tradeoff probing families learning-curves time readers latent; do $(BIN)/m2l-bench run $$suite --out $(RUNS)/$$suite || exit 1; done
	$(BIN)/m2l-bench report --no-listen --out results/reference $(RUNS)/embedded $(RUNS)/tradeoff $(RUNS)/probing $(RUNS)/families $(RUNS)/learning-curves
	for suite in time readers latent; do $(BIN)/m2l-bench report --no-listen --out results/reference/$$suite $(RUNS)/$$suite || exit 1; done
	$(BIN)/python tests/benchmarks/bench_bitrates.py results/reference/bitrates

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	$(BIN)/python -m pip install --quiet --no-deps 'linear-cae==0.1.4; python_version >= "3.11"' # asks for NumPy < 2, runs with 2
	touch $@

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build docs/generated .mypy_cache .ruff_cache .hypothesis
