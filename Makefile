# make sweep   install everything and run the quickstart sweep
# make test    install everything and run the tests
# make test-fast what starts neither Ray nor a server nor another program: some two minutes on two cores
# make test-long   what takes longer than CI may: four sweeps at once on a new home, machines killed ten times,
#                  sweeps that join others, an actor that dies, a pack that goes on with other lanes on other nodes,
#                  all methods in one sweep, each registered, downloaded and scored
# make check   format, lint, strict types, then the tests (what CI runs)
# make ui      compare the students of past sweeps in the MLflow UI
# make stack   start a cluster on this machine: S3, PostgreSQL, MLflow, Ray with two workers (stack-down stops it)
# make sweep-cluster   run the quickstart sweep on it, as a Ray job
# make bench   measure speed and memory (docs/benchmarks.md); half an hour on two idle cores
# make lock    compile the pinned requirements again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(strip $(KD_HOME)),)
KD_HOME := $(HOME)/kd-sweeps
endif
export KD_HOME

.PHONY: install sweep test test-fast test-long stack stack-down sweep-cluster check format lint types ui bench lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

sweep: install
	$(BIN)/kd sweep jobs/sweeps/quickstart.yaml

# Two processes, each with a core of its own.
IN_PARALLEL := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup
test: install
	$(IN_PARALLEL) -m "not cluster and not long"
	$(BIN)/python -m pytest -m "cluster and not long"

test-fast: install
	$(IN_PARALLEL) -m "not cluster and not slow and not long"

test-long: install
	$(BIN)/python -m pytest -m long
	KD_TEST_SWEEPS=4 KD_TEST_ROUNDS=5 $(BIN)/python -m pytest tests/cluster/test_neighbours.py
	KD_TEST_ROUNDS=10 $(BIN)/python -m pytest tests/cluster/test_stack.py -k killed

check: install format lint types test

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

# The database is made by our own code first: MLflow's is no match for a sweep that starts meanwhile.
MAKE_DATABASE := from orchestrator.planning.spec import StorageSpec; from orchestrator.tracking.client import connect; connect(StorageSpec().mlflow_uri)
ui: install
	$(BIN)/python -c "$(MAKE_DATABASE)"
	$(BIN)/mlflow server --backend-store-uri sqlite:///$(KD_HOME)/mlflow.db --host 127.0.0.1 --port 5000

# Where its data stays is $KD_STACK; infra/local/__main__.py has the default.
stack: install
	$(BIN)/python -m infra.local up

stack-down: install
	$(BIN)/python -m infra.local down

SWEEP ?= jobs/sweeps/quickstart.yaml
sweep-cluster: install
	set -a && . "$$($(BIN)/python -m infra.local credentials)" && set +a && \
	$(BIN)/ray job submit --working-dir . -- python jobs/sweep.py $(SWEEP)

# anomalib, which the teachers are measured against, in an environment beside the project's own.
PEERS := .venv-peers
WHERE := import sysconfig; print(sysconfig.get_path('purelib'))
$(PEERS)/.installed: $(VENV)/.installed
	$(BIN)/python -m venv $(PEERS)
	$(BIN)/python -c "$(WHERE)" > $$($(PEERS)/bin/python -c "$(WHERE)")/project.pth
	$(PEERS)/bin/python -m pip install --quiet --constraint requirements.txt anomalib==2.7.0
	touch $@

CASES ?= student_rate teacher_rate distil_epoch sweep trial dry_run scaling store exported report_page
bench: install $(PEERS)/.installed
	@for case in $(CASES); do KD_PEERS_PYTHON=$(PEERS)/bin/python $(BIN)/python -m benchmarks.$$case || exit 1; done

lock: install
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header -c requirements.txt --group dev -o requirements-dev.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
