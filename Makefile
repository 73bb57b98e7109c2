# The whole life of the project in one place: set up, test, check, demonstrate. Needs Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# An index with PyTorch alone, without gigabytes of CUDA: PyTorch's own on Linux without an NVIDIA driver, if it can be
# reached. make TORCH_INDEX= takes PyTorch as pip's own index has it.
CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi > /dev/null && echo $(CPU_INDEX))
UNREACHED := $(CPU_INDEX) has not given PyTorch for CPUs alone: it comes as pip's own index has it, perhaps with CUDA

.PHONY: demo test test-fast fuzz faults check lint format docs docs-serve docker bench-views bench-training bench-loss gpu-pack clean

# Pre-train, draw and measure on synthetic scenes, or on your own folder: make demo PHOTOS=dir
demo: $(INSTALLED)
	$(BIN)/manyview demo $(if $(PHOTOS),--photos "$(PHOTOS)")

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

# For the hours of work: what needs no process of its own and no run of many steps; under 90 s on two cores
test-fast: $(INSTALLED)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# Mutated image and label files through every reader, in child processes; MINUTES=N, SEED=N (printed, from the clock if
# unset). What fails is kept in build/fuzz, with the line that reads it alone
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

# Runs that are killed, starved of disk or damaged, resumed, and compared with undisturbed ones; COUNT=N, SEED=N (printed,
# from the clock if unset). The counts and every end are in build/faults/faults.json, with the line that repeats one alone
faults: $(INSTALLED)
	$(BIN)/python -m tests.faults --count $(or $(COUNT),200) $(if $(SEED),--seed $(SEED))

# Everything that must hold: format, lint, types, layers, tests with warnings as errors; CI runs the same
check: lint test

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The documentation as pages that need no network, in build/docs; warnings are errors. docs-serve: while you write
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --quiet

docs-serve: $(VENV)/.installed-docs
	$(BIN)/mkdocs serve --strict

# An image of the command, for CPUs; TORCH_INDEX= for PyPI's PyTorch, with CUDA
docker:
	docker build --tag manyview $(if $(filter command line,$(origin TORCH_INDEX)),--build-arg TORCH_INDEX="$(TORCH_INDEX)") .

# Views a second on one core beside other libraries, into build/benchmarks and docs/performance.md; PHOTOS=dir: on your own
bench-views: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.views --page docs/performance.md $(if $(PHOTOS),--photos "$(PHOTOS)")

# Whole training runs beside lightly's, torchvision's and lightly-train's: photographs a second, first step, memory;
# PHOTOS=dir: on your own; half an hour on two cores
bench-training: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.peers.runs --page docs/performance.md $(if $(PHOTOS),--photos "$(PHOTOS)")

# Memory and time of the image-aware loss beside other libraries', into build/benchmarks and docs; under 15 minutes on two cores
bench-loss: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.loss --page docs/performance.md --plot docs/loss.png

# Sources, wheels and images for a machine with a GPU and without network, in .gpu, and the line to run there;
# SCENES=dir: a folder with images/, train.csv and val.csv instead of rendered scenes
gpu-pack: $(INSTALLED)
	$(BIN)/python -m benchmarks.gpu.pack --out .gpu \
	    $(if $(SCENES),--photos "$(SCENES)/images" --train-labels "$(SCENES)/train.csv" --val-labels "$(SCENES)/val.csv")

$(VENV)/.installed-bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

$(VENV)/.installed-docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

$(INSTALLED): pyproject.toml setup.py $(wildcard src/manyview/views/render/native/*) constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps --retries 1 --timeout 15 --constraint constraints.txt \
	    --index-url $(TORCH_INDEX) torch torchvision || $(if $(filter file,$(origin TORCH_INDEX)),echo "$(UNREACHED)",exit 1))
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .ruff_cache .pytest_cache
