# make book    executes the chapters that are stale, renders the book to _build/html/index.html
# make test    runs the tests
# Both make the environment they need in .venv. VENV=/path uses an environment that is there already, as it is.

VENV ?= .venv
BIN := $(VENV)/bin
RUNS := _build/runs

# Which parameters, which data: make book RUN=paper takes book/parameters/CHAPTER-paper.yml; DATA is a data folder,
# given to every chapter. RUN=real without it gives each chapter the folder of its own name in $CELLWEAK_DATA.
RUN ?=
DATA ?=
PYTEST_ARGS ?=
WANTED_DATA = $(or $(DATA),$(if $(filter real,$(RUN)),$*))

# Text with a kernel in its front matter is a chapter.
CHAPTERS := $(patsubst book/%.md,%,$(shell grep -ls '^kernelspec:' book/*.md))
NOTEBOOKS := $(CHAPTERS:%=$(RUNS)/%/notebook.ipynb)

# What a chapter's numbers depend on: the ground floor, its own wing, screens, the published tables.
# (cellweak_core/pages makes pages from finished runs.)
GROUND := $(wildcard cellweak_core/*.py cellweak_core/screens/*.py cellweak_core/published/*.py \
	cellweak_core/published/*.csv)
PAGES := _config.yml _toc.yml $(wildcard book/*.md book/*.bib book/_static/* book/recorded/*/*.* \
	book/recorded/*/figures/*) $(shell find cellweak_core -name '*.py' -o -name '*.csv')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDEXPANSION:
.PHONY: help env env-dev book runs html test lint bench clean FORCE

help:
	@echo "make book    execute the chapters, render the book to _build/html/index.html"
	@echo "make test    run the tests             make lint    ruff, mypy, chapters in step"
	@echo "make bench   print the benchmarks      make clean   remove _build (the environment stays)"
	@echo "make env     the environment in $(VENV)  make runs    execute the chapters only"
	@echo "VENV=DIR uses an environment that is there; RUN=paper|real takes book/parameters/CHAPTER-RUN.yml"
	@echo "RUN=real gives each chapter the data of its name in \$$CELLWEAK_DATA; DATA=DIR gives every chapter DIR"

# --- the environment ---------------------------------------------------------------------------------------------

ifeq ($(origin VENV),file)
ENV := $(VENV)/.made
DEV := $(VENV)/.made-dev

$(ENV): requirements.txt requirements-nodeps.txt pyproject.toml
	@python=$$(for p in python3 python3.13 python3.12 python3.11; do \
	  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done); \
	test -n "$$python" || { echo "error: Python 3.11 or newer is needed, and none was found on PATH"; exit 1; }; \
	test -x $(BIN)/python || $$python -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(DEV): requirements-dev.txt $(ENV)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@
else
ENV :=
DEV :=
endif

env: $(ENV)
env-dev: $(DEV)

# --- the book ----------------------------------------------------------------------------------------------------

# Changes when other parameters or data are asked for, so that the chapters are then executed again.
_build/.asked: FORCE
	@mkdir -p _build
	@echo 'RUN=$(RUN) DATA=$(DATA)' | cmp -s - $@ || echo 'RUN=$(RUN) DATA=$(DATA)' > $@

$(RUNS)/%/notebook.ipynb: book/%.md $(GROUND) $$(wildcard cellweak_core/$$*/*.py) \
		$$(wildcard book/parameters/$$*-*.yml) $$(wildcard book/recorded/$$*-*/*.*) _build/.asked | $(ENV)
	CELLWEAK_BOOK='$(CURDIR)/book' $(BIN)/cellweak run $* $(if $(RUN),-f book/parameters/$*-$(RUN).yml) $(if $(WANTED_DATA),--data '$(WANTED_DATA)') --out $(RUNS)/$*
	@touch $@

runs: $(NOTEBOOKS)

define render
	@mkdir -p _build
	$(BIN)/python -m cellweak_core.pages.stage --runs $(RUNS) --out _build/stage
	$(BIN)/jupyter-book build --quiet -W -n --keep-going --path-output . _build/stage
	@touch _build/.rendered
endef

_build/.rendered: $(NOTEBOOKS) $(PAGES) | $(ENV)
	$(render)

book: _build/.rendered
	@echo "The book: $(CURDIR)/_build/html/index.html"

# Renders what was executed elsewhere and lies in _build/runs; executes nothing.
html: $(ENV)
	$(render)
	@echo "The book: $(CURDIR)/_build/html/index.html"

# --- the code ----------------------------------------------------------------------------------------------------

test: $(DEV)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/mypy
	@# as a script a chapter's prose is comments (E501), its imports stand below its parameters (E402)
	@for chapter in $(CHAPTERS); do \
	  $(BIN)/jupytext --check '$(BIN)/ruff check --quiet --ignore E402,E501,D100 {}' book/$$chapter.md || exit 1; \
	done

bench: $(DEV)
	@for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean:
	rm -rf _build
