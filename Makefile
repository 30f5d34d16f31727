# `make run` and `make test` need only Python 3.11 or 3.12 on x86-64 Linux.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run test smoke check lint types format soak faults bench schema pictures lock clean

run: $(READY)
	@exec $(BIN)/python manage.py up

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

smoke: $(READY)
	@$(BIN)/python -m pytest smoke

check: lint types
	@$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py spectacular --validate --fail-on-warn --file var/openapi.yaml
	@$(MAKE) --no-print-directory test

lint: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

types: $(READY)
	@DATABASE_URL=postgresql://none/none REDIS_URL=redis://none $(BIN)/mypy . # it reads the settings, and asks no store

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

soak: $(READY)
	@SOAK=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

faults: $(READY)
	@SOAK=1 $(BIN)/python -m pytest tests/faults

bench: $(READY)
	@$(BIN)/python -m benchmarks
	@$(BIN)/python -m benchmarks.audit
	@$(BIN)/python -m benchmarks.accounts
	@$(BIN)/python -m benchmarks.content
	@$(BIN)/python -m benchmarks.vault
	@$(BIN)/python -m benchmarks.events
	@$(BIN)/python -m benchmarks.backups

schema: $(READY)
	@RECORD_SCHEMA=1 $(BIN)/python -m pytest -q tests/test_migrations.py

pictures: $(READY)
	@DATABASE_URL=postgresql://none/none REDIS_URL=redis://none DJANGO_SETTINGS_MODULE=config.settings $(BIN)/python docs/pictures.py # renders only, and asks no store

$(READY): requirements.txt requirements-dev.txt
	@echo "· making the virtual environment"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || { echo "Python 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv
	@echo "· installing locked dependencies (about a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $(READY)

lock: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@for part in requirements requirements-dev; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate $$part.in -o $$part.txt; done

clean:
	rm -rf .venv staticfiles
