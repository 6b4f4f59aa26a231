# `make` alone lists what there is. Everything runs in .venv, which scripts/setup keeps up to date.
VENV ?= .venv
export VENV
PYTHON := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo demo-check test lint bench setup

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole product on a rehearsal Discord in your browser (ARGS=--fresh starts anew, ARGS=--help says more)
	@scripts/setup
	@exec $(PYTHON) -m bot.rehearsal.demo $(ARGS)

demo-check: ## the demo's whole story without a browser, as a transcript; fails at the first thing that is not so
	@scripts/setup
	@exec $(PYTHON) -m bot.rehearsal.check $(ARGS)

test: ## lint, types and every test (ARGS='tests/storage -x' for some of them)
	@scripts/setup --browser --audiocraft
	@$(MAKE) --no-print-directory check-style
	$(PYTHON) -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: ## ruff and mypy
	@scripts/setup
	@$(MAKE) --no-print-directory check-style

.PHONY: check-style
check-style:
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

bench: ## frames a second beside transformers and audiocraft, as JSON; table and plot in docs/bench (ARGS=--quick, ARGS=--help)
	@scripts/setup --audiocraft
	@exec $(PYTHON) -m engine bench --json --out docs/bench $(ARGS)

setup: ## the environment, ffmpeg, Chromium and audiocraft: all that a test needs
	@scripts/setup --browser --audiocraft
