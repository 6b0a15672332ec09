# make            what there is
# make run        serve on http://127.0.0.1:8080   (PORT=9000 MODEL=iog-lite)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Not from the environment, where HOST often names the machine.
HOST := 127.0.0.1
PORT ?= 8080
MODEL ?=
QUICK ?=
COMMA := ,

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# PyTorch's builds without CUDA. Where it cannot be reached, pip takes torch from its usual index.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# One stamp for each requirements file: `make run` needs only the first.
SERVING := $(VENV)/.serving
TORCH := $(VENV)/.torch
DEVELOPMENT := $(VENV)/.development
RAY := $(VENV)/.ray

.DEFAULT_GOAL := help
.PHONY: help setup torch ray run browser test test-all images export notebook endurance check bench format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

setup: $(SERVING) ## set up .venv with what serving needs

torch: $(TORCH) ## add torch: training, evaluating, published weights; CUDA=1 for a GPU

ray: $(RAY) ## add Ray: `iog masks --engine ray`, and its tests

run: $(SERVING) ## serve on 127.0.0.1:8080; PORT= HOST= MODEL= choose others
	@exec $(BIN)/iog serve --host $(HOST) --port $(PORT) $(if $(MODEL),--model $(MODEL))

CHROMIUM := chromium fonts-dejavu-core
browser: ## Chromium, in which the tests use the page; installed with apt, as root
	@for name in chromium chromium-browser google-chrome; do command -v $$name && exit; done; \
	if [ "$$(id -u)" != 0 ] || ! { apt-get --quiet=2 update && \
	  DEBIAN_FRONTEND=noninteractive apt-get --quiet=2 --yes --no-install-recommends install $(CHROMIUM); }; \
	then echo "Chromium is missing, so its tests are skipped. As root: apt-get install $(CHROMIUM)"; fi

# Two processes of one thread each, a file of tests at a time.
PARALLEL := -n 2 --dist loadfile
test test-all: export OMP_NUM_THREADS := 1

test: $(DEVELOPMENT) ## the tests but the long ones, with coverage
	$(BIN)/python -m pytest $(PARALLEL) -m "not long and not network" --cov --cov-report=term

test-all: $(DEVELOPMENT) ## every test, the long ones too, with coverage
	$(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile=long -m "not network" --cov --cov-report=term

# Words in braces are filled in. The images are built from a clean clone: of what is committed.
IMAGE_BUILD ?= docker build --target {target} --tag {tag} {context}
IMAGE_START ?= docker run --rm --publish 127.0.0.1:8080:8080 --read-only --tmpfs /tmp {tag}
IMAGE_RUN ?= docker run --rm --entrypoint {program} {tag}

images: $(DEVELOPMENT) ## build both images from a clean clone, and try them in Docker
	IMAGE_BUILD='$(IMAGE_BUILD)' IMAGE_START='$(IMAGE_START)' IMAGE_RUN='$(IMAGE_RUN)' \
	  $(BIN)/python -m pytest -s tests/deploy/test_images.py

check: $(DEVELOPMENT) ## ruff, mypy --strict, the directions of imports, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.audit

endurance: $(DEVELOPMENT) ## the long endurance tests, into docs/endurance.md; GROUPS= chooses some
	$(BIN)/python -m tests.endurance $(GROUPS)

export: $(DEVELOPMENT) ## write the OpenVINO export that is part of the project again
	$(BIN)/iog export iog-lite --output iog/models/openvino

notebook: $(DEVELOPMENT) ## run examples/quickstart.ipynb and keep its outputs
	$(BIN)/python -m tests.notebook

# Nothing else should run meanwhile. QUICK=1 is for a look, and leaves no figure to quote.
BENCH := --model iog-lite --model iog-pascal-sbd-refinement $(if $(QUICK),--quick,--model iog-pascal-sbd) \
  --image-size 1920x1080$(if $(QUICK),,$(COMMA)4000x3000) \
  --engine openvino --engine torch --precision fp32 --precision bf16 --sweeps --throughput --busy

bench: $(DEVELOPMENT) ## measure clicks beside "stock" into benchmarks/results (QUICK=1: into build/)
	$(BIN)/iog bench $(BENCH) --report $(if $(QUICK),build/bench,benchmarks/results)

format: $(DEVELOPMENT) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove .venv and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .grimp_cache .hypothesis .coverage *.egg-info build

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found." >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Use make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(SERVING): requirements.txt pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) (once; some minutes the first time) ..."
	$(PIP) --no-deps -r requirements.txt
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

# A second index is asked for torch alone. The build for CUDA brings libraries that no list holds.
$(TORCH): requirements-torch.txt | $(SERVING)
ifdef CUDA
	$(PIP) -r requirements-torch.txt
else
	$(PIP) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) "$$(grep '^torch==' requirements-torch.txt)"
	$(PIP) --no-deps -r requirements-torch.txt
endif
	@touch $@

$(RAY): requirements-ray.txt | $(SERVING)
	$(PIP) --no-deps -r requirements-ray.txt
	@touch $@

$(DEVELOPMENT): requirements-dev.txt requirements-agent.txt requirements-bulk.txt $(SERVING) $(TORCH)
	$(PIP) --no-deps -r requirements-dev.txt
	@touch $@
