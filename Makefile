# One command sets up what it needs and does one thing. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

UV_VERSION := 0.13.8
VENV := .venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
READY := $(VENV)/.ready
TORCH := $(VENV)/.torch

SIZE ?= demo
LISTINGS ?=
MAPPING ?=
PORT ?=
SYSTEM ?=
DATA ?= data
ARGS ?=

# --- what pip was told holds for uv too ----------------------------------------------------------
# Local wheels: uv wants commas where pip wants spaces, and refuses a folder that is not there.
comma := ,
empty :=
space := $(empty) $(empty)
places := $(subst $(comma),$(space),$(or $(UV_FIND_LINKS),$(PIP_FIND_LINKS)))
places := $(foreach place,$(places),$(if $(findstring ://,$(place)),$(place),$(wildcard $(place))))
export UV_FIND_LINKS := $(subst $(space),$(comma),$(strip $(places)))

ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifneq ($(PIP_EXTRA_INDEX_URL),)
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
# The system's certificates, where it has some: behind a company's proxy uv's own do not do.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test lint format types contract check lock docs bench-spine bench-features bench-retrieval bench-models bench-ranking bench-serving faults feast peers rectools clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY) ## install the locked versions into .venv (the other commands do it themselves)

demo: $(if $(SYSTEM),$(TORCH),$(READY)) ## simulate, train, evaluate and serve a marketplace (SIZE=small: a minute; PORT=n; LISTINGS=file MAPPING=toml; SYSTEM=systems/marketplace.toml: trained encoders)
	@$(VENV)/bin/heirloom demo --size $(SIZE) $(if $(SYSTEM),--system "$(SYSTEM)") $(if $(LISTINGS),--listings "$(LISTINGS)") $(if $(MAPPING),--mapping "$(MAPPING)") $(if $(PORT),--port $(PORT))

test: $(TORCH) ## all tests (ARGS="tests/core -k event" for some); those of programs that are missing skip
	$(PY) -m pytest $(ARGS)

lint: $(READY) ## format and lint, changing nothing
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .

format: $(READY) ## format, and mend what ruff can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

types: $(TORCH) ## mypy, strict
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy -p benchmarks

contract: $(READY) ## the staircase: who may import whom
	$(VENV)/bin/lint-imports

check: lint types contract test ## everything that must hold before a commit

docs: $(READY) ## write the generated pages anew
	$(PY) docs/features.py
	$(PY) -m benchmarks.table

bench-spine: export OMP_NUM_THREADS = 1
bench-spine: export NUMBA_NUM_THREADS = 1
bench-spine: export POLARS_MAX_THREADS = 1
bench-spine: $(READY) ## measure this house's rows of docs/benchmarks.md (DATA=folder of the public sets; ARGS="--part rtr": one part)
	$(PY) -m benchmarks.spine --data "$(DATA)" $(ARGS)
	$(PY) -m benchmarks.table


feast: var/feast/.ready ## install Feast, a peer, into var/feast: for `export feast` to be tested, and for the benchmarks

bench-features: export OMP_NUM_THREADS = 1
bench-features: export NUMBA_NUM_THREADS = 1
bench-features: export POLARS_MAX_THREADS = 2
bench-features: $(READY) ## measure the feature store's rows of docs/benchmarks.md (ARGS="--part pit": one part)
	$(PY) -m benchmarks.features $(ARGS)
	$(PY) -m benchmarks.table

peers: var/peers/.ready ## install faiss, hnswlib and usearch into var/peers, for bench-retrieval

bench-retrieval: export OMP_NUM_THREADS = 1
bench-retrieval: export NUMBA_NUM_THREADS = 1
bench-retrieval: export POLARS_MAX_THREADS = 1
bench-retrieval: $(READY) ## measure the vector index's rows beside its peers (ARGS="--part flat": one part)
	$(PY) -m benchmarks.retrieval $(ARGS)
	$(PY) -m benchmarks.table

rectools: var/rectools/.ready ## install RecTools, a peer, into var/rectools, for bench-models

bench-models: export OMP_NUM_THREADS = 1
bench-models: export NUMBA_NUM_THREADS = 1
bench-models: export POLARS_MAX_THREADS = 1
bench-models: $(TORCH) ## measure the models' rows on public data (DATA=folder of the public sets; ARGS="--part gowalla": one part)
	$(PY) -m benchmarks.models --data "$(DATA)" $(ARGS)
	$(PY) -m benchmarks.table

bench-ranking: export OMP_NUM_THREADS = 1
bench-ranking: export NUMBA_NUM_THREADS = 1
bench-ranking: export POLARS_MAX_THREADS = 1
bench-ranking: $(TORCH) ## measure the ranking rows (DATA=folder of the public sets; ARGS="--part mq2008": one part)
	$(PY) -m benchmarks.ranking --data "$(DATA)" $(ARGS)
	$(PY) -m benchmarks.table

bench-serving: export OMP_NUM_THREADS = 1
bench-serving: export NUMBA_NUM_THREADS = 1
bench-serving: export POLARS_MAX_THREADS = 1
bench-serving: $(READY) ## measure the serving rows over HTTP, with wrk (ARGS="--part size_10000": one part; naive stack: benchmarks/naive_requirements.txt)
	$(PY) -m benchmarks.serving $(ARGS)
	$(PY) -m benchmarks.table

faults: export OMP_NUM_THREADS = 1
faults: export NUMBA_NUM_THREADS = 1
faults: export POLARS_MAX_THREADS = 1
faults: $(TORCH) ## hurt real servers in all the ways of docs/faults.md, at length (ARGS="--part kill9": one way; resumable)
	$(PY) -m benchmarks.faults $(ARGS)

lock: $(UV) ## resolve requirements.lock anew from pyproject.toml
	$(UV) pip compile --universal --python-version 3.11 --group dev --all-extras pyproject.toml \
	    -o requirements.lock --no-header --no-annotate --no-emit-find-links $(ARGS)
	@sed -i -E '/^(cuda-|nvidia-|triton==|torch==)/d' requirements.lock  # torch: see below
	@$(UV) pip compile --quiet --universal --python-version 3.11 --extra jwt --extra otel --extra postgres \
	    --extra redis -c requirements.lock --generate-hashes --no-header --no-annotate \
	    --no-emit-find-links pyproject.toml -o requirements.container.txt
	@grep -om1 'hatchling==[0-9.]*' pyproject.toml | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --no-emit-find-links - -o requirements.build.txt

clean: ## remove .venv and what tools cached; keep var/ (your data)
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up --------------------------------------------------------------------------------------

$(UV):
	@.ci/venv "$(VENV)" "$(PYTHON)"
	@$(PY) -m pip install --quiet --disable-pip-version-check "uv==$(UV_VERSION)"
	@touch $@

$(READY): requirements.lock pyproject.toml $(UV)
	@echo "heirloom: installing the locked versions into $(VENV)"
	@$(UV) pip install --quiet --python $(PY) -r requirements.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --build-constraints requirements.lock -e .
	@touch $@

# Only training needs torch, and its build for GPUs is several GB: the CPU build, from a local wheel
# where there is one. `pip install heirloom[train]` takes what the platform offers.
TORCH_WHEEL = $(wildcard $(addsuffix /torch-2.13.0*,$(filter-out http%,$(places))))
$(TORCH): $(READY)
	@$(UV) pip install --quiet --python $(PY) --no-deps "torch==2.13.0" $(if $(TORCH_WHEEL),,--torch-backend cpu)
	@touch $@

# Peers want other libraries than ours: environments of their own.
var/peers/.ready: benchmarks/peers/requirements.txt $(UV)
	@echo "heirloom: installing peers of the vector index into var/peers"
	@$(UV) venv --quiet --clear --python $(PY) var/peers
	@$(UV) pip install --quiet --python var/peers/bin/python -r benchmarks/peers/requirements.txt
	@touch $@

var/rectools/.ready: benchmarks/peers/rectools_requirements.txt $(UV)
	@echo "heirloom: installing RecTools into var/rectools"
	@$(UV) venv --quiet --clear --python $(PY) var/rectools
	@$(UV) pip install --quiet --python var/rectools/bin/python $(if $(TORCH_WHEEL),,--torch-backend cpu) -r benchmarks/peers/rectools_requirements.txt
	@touch $@

var/feast/.ready: benchmarks/feast/requirements.txt $(UV)
	@echo "heirloom: installing Feast into var/feast"
	@$(UV) venv --quiet --clear --python $(PY) var/feast
	@$(UV) pip install --quiet --python var/feast/bin/python -r benchmarks/feast/requirements.txt
	@touch $@
