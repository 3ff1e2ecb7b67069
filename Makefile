# Redpen's commands. `make` alone lists them.
#
# TORCH says where torch's wheel comes from: arguments for `pip install`. The default takes what pip finds first; from
# PyPI on Linux that is the CUDA build (about 3 GB to download, 6 GB on disk). A machine without a GPU saves that with
# a CPU wheel, from PyTorch's own index or a folder:
#     make run TORCH="torch==2.13.0 --index-url <PyTorch's index of CPU wheels>"
#     make run TORCH="torch==2.13.0 --no-index --find-links /folder/with/the/wheel"
# What torch itself needs comes with the rest of requirements.txt.
TORCH ?= torch==2.13.0
# The Python that .venv is made with (3.11 or newer).
PYTHON ?= python3
# More arguments for pytest: make test PYTEST="-k spans -x"
PYTEST ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check
# Tests and benchmarks on small models are quicker, and repeatable, on one thread.
ONE_THREAD := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
FORCE:

## --- use it

.PHONY: run
run: $(VENV)/product ## Install what is needed, then start everything and say where it is. Ctrl-C stops it.
	@exec $(PY) manage.py up

.PHONY: backup
backup: $(VENV)/product ## Write database and artifacts into one file (TO=path; docs/development.md says how to restore).
	@$(PY) manage.py backup $(TO)

.PHONY: recipes
recipes: $(VENV)/product ## List the training recipes, one a line.
	@$(PY) manage.py recipes --names

.PHONY: example-chat
example-chat: $(VENV)/product ## A chat page with the widget, on the demo project of a running `make run` (ARGS="--model newest").
	@exec $(PY) examples/chat/app.py --demo $(ARGS)

## --- test it

.PHONY: test
test: lint chromium ## Install what tests need (Chromium too), then lint, import contracts, types, and all quick tests.
	@$(ONE_THREAD) $(PY) -m pytest -m "not slow and not full" $(PYTEST)

.PHONY: test-all
test-all: lint chromium ## The same with the slow tests: real processes killed, whole loops trained.
	@$(ONE_THREAD) $(PY) -m pytest -m "not full" $(PYTEST)

.PHONY: test-faults-full
test-faults-full: $(VENV)/dev ## The fault scenes at their full counts. Hours.
	@$(ONE_THREAD) $(PY) -m pytest tests/faults $(PYTEST)

.PHONY: lint
lint: $(VENV)/dev ## ruff, the contracts of who imports whom, and the types of training/engine and the client.
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check --quiet . || { echo 'Not formatted: run `$(VENV)/bin/ruff format .`'; exit 1; }
	@PYTHONPATH=platform:. $(VENV)/bin/lint-imports
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy --config-file clients/python/pyproject.toml clients/python/redpen_client

.PHONY: format
format: $(VENV)/dev ## Format the code and mend what ruff can mend.
	@$(VENV)/bin/ruff check --fix . ; $(VENV)/bin/ruff format .

.PHONY: chromium
chromium: ## Make sure that a Chromium is there for the browser tests.
	@.ci/chromium

## --- measure it: each ends with one JSON object on its last line

BENCHES := train ingest imports ui pages spans raft fine-grained raft-digits critique-grpo nft spo text2grad story hacking-watch
.PHONY: $(BENCHES:%=bench-%)
bench-train: ## Speed and memory of the engine beside TRL at its best: training, sampling. Under 20 minutes.
bench-ingest: ## Reactions taken in per second beside Phoenix and MLflow (installed for it), and beside Postgres' COPY.
bench-imports: ## Records per second by file import, and single marks over HTTP.
bench-ui: ## How fast the label page answers a key, in a real Chromium.
bench-pages: ## Times and sizes of the pages.
bench-spans: ## The span reward model against honest baselines, on real and on made feedback.
bench-fine-grained: ## Rewards at segment ends against the same total at the end, and what the weights do.
bench-critique-grpo: ## Refinements from critiques where GRPO is stuck, in the word world.
bench-raft-digits: ## raft in the digit world: answers a prompt, rankings, noise.
bench-hacking-watch: ## How often the watch for reward hacking speaks when nothing is hacked, and how soon when something is.
bench-raft: ## True quality of answers before and after raft in the demo world.
bench-nft: ## Right and wrong answers by likelihood beside RFT and Dr. GRPO at equal samples, over 5 seeds.
bench-spo: ## Self-play where tastes go in circles, beside a reward model from the same labels, over 5 seeds.
bench-story: ## The demo's story over 5 seeds: ten answers marked; bad phrases before and after.
bench-text2grad: ## Marks on their own tokens against the same feedback as one number, in the word world.
$(BENCHES:%=bench-%): bench-%: $(VENV)/dev
	@$(ONE_THREAD) PYTHONPATH=platform:. $(PY) -m benchmarks.$(subst -,_,$*) $(ARGS)

.PHONY: bench-live
bench-live: $(VENV)/dev ## Every Live page and the rates API with a million reactions: server time by page and filter.
	@$(ONE_THREAD) PYTHONPATH=platform:. $(PY) -m benchmarks.live_pages $(ARGS)

.PHONY: bench-train-full bench-train-tune
bench-train-full: ## The same on three shapes of data and both models, five times, on one thread and on two. Hours.
bench-train-tune: ## Find TRL's best settings on this machine and write them down. About half an hour.
bench-train-full bench-train-tune: bench-train-%: $(VENV)/dev
	@$(ONE_THREAD) PYTHONPATH=platform:. $(PY) -m benchmarks.train $* $(ARGS)

.PHONY: bench-train-costs
bench-train-costs: $(VENV)/dev ## What a step costs against length, group size and prompt share; draws docs/img/training-costs.svg.
	@$(ONE_THREAD) PYTHONPATH=platform:. $(PY) -m benchmarks.train_costs $(ARGS)

.PHONY: bench-honesty
bench-honesty: $(VENV)/dev ## How far bought hands move P(love) of a model version, with and without the filter.
	@$(ONE_THREAD) PYTHONPATH=platform:. $(PY) -m benchmarks.bought_hands $(ARGS)

## --- tidy up

.PHONY: clean
clean: ## Remove .venv and all caches. The data folder var/ stays.
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help:
	@echo "Redpen. make TARGET, where TARGET is one of:"; echo
	@awk -F ':.*## ' '/^## ---/ {sub(/^## --- /, ""); print "  " $$0} \
	    /^[a-z0-9-]+:.*## / {printf "    %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo; echo "  TORCH=\"$(TORCH)\" says where torch comes from; the head of the Makefile and README.md say more."

# What has been installed is remembered in files inside .venv: a second start installs nothing.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Redpen needs Python 3.11 or newer; set PYTHON=/path/to/it")'
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/torch: $(VENV)/bin/python FORCE
	@if [ "$$(cat $@ 2>/dev/null)" != '$(TORCH)' ]; then \
	    echo 'Installing torch ($(TORCH)) ...'; $(PIP) --no-deps $(TORCH); echo '$(TORCH)' > $@; fi

$(VENV)/product: requirements.txt $(VENV)/torch
	@echo "Installing Redpen's packages (a few minutes, once) ..."
	@grep -v '\[no-deps\]' requirements.txt > $(VENV)/with-deps.txt
	@grep '^[^#].*\[no-deps\]' requirements.txt > $(VENV)/no-deps.txt
	@$(PIP) -r $(VENV)/with-deps.txt
	@$(PIP) --no-deps -r $(VENV)/no-deps.txt
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/product
	@echo "Installing what the tests need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@
