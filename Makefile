# make sweep   install everything and run the quickstart sweep
# make test    install everything and run the tests
# make check   format, lint, strict types, then the tests (what CI runs)
# make ui      compare the students of past sweeps in the MLflow UI
# make lock    compile the pinned requirements again

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KD_HOME ?= $(HOME)/kd-sweeps
export KD_HOME

.PHONY: install sweep test check format lint types ui lock clean

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

sweep: install
	$(BIN)/python jobs/sweep.py jobs/sweeps/quickstart.yaml

test: install
	$(BIN)/python -m pytest

check: install format lint types test

format: install
	$(BIN)/ruff format --check .

lint: install
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

ui: install
	$(BIN)/mlflow server --backend-store-uri sqlite:///$(KD_HOME)/mlflow.db --host 127.0.0.1 --port 5000

lock: install
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --no-annotate --no-header -c requirements.txt --group dev -o requirements-dev.txt

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
