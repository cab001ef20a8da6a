# wan22: from a fresh clone with Python 3.11 or newer, nothing else.
#
#   make video PROMPT="a red ball at sunset"            make a video with the embedded model; its path is the last line
#   make studio                                         open the studio in a browser; Ctrl-C ends it
#   make test                                           run the tests
#   make test-slow                                      the tests that compile, train or kill: as many minutes again
#   make test-kernels                                   the numerical tests again, as two older processors compute
#   make studio-build                                   build the studio's pages after a change in studio/ (needs Node)
#   make test-studio                                    the tests of its pages: in Node and in a Chromium
#   make check                                          everything that must hold before a change is shared
#   make clean                                          remove what these commands made, videos excepted
#
# Other interpreters and places: make PYTHON=python3.12 VENV=/tmp/venv ...

PYTHON ?= python3
VENV ?= .venv
PROMPT ?= a red ball rolls left in the desert at sunset, medium shot, the camera static
SEED ?= 2
OPTIONS ?=
WORKERS ?= 2

# The raw text, never expanded by make and never spliced into a shell line: quotes, $ and ` are only letters.
override PROMPT := $(value PROMPT)
export PROMPT SEED
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PIP := $(VENV)/bin/python -m pip install --quiet -c constraints.txt
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

.PHONY: video studio test test-slow test-kernels studio-build test-studio check clean
.DEFAULT_GOAL := video

video: $(INSTALLED)
	@$(VENV)/bin/wan22 generate --seed "$$SEED" $(OPTIONS) -- "$$PROMPT"

studio: $(INSTALLED)
	@$(VENV)/bin/wan22 studio $(OPTIONS)

# Each worker takes a half, in order, and who is done first takes half of what the other has left: files stay together, and
# no worker waits at the end for longer than one test.
SHARE := --dist worksteal

# Python may keep what it compiled: the tests start some hundred of its processes.
test: $(INSTALLED_DEV)
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) $(SHARE) -m "not slow"

test-slow: $(INSTALLED_DEV)
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(WORKERS) $(SHARE) -m slow --ignore tests/studio

# Without the slow ones, which are of full sizes: their small likenesses are here.
# What a green run says of this processor it need not say of another: PyTorch picks its kernels by what it finds.
NUMERICAL := tests/parity tests/crosscheck tests/unit/conditioning $(addprefix tests/unit/test_,ops.py vae.py dit.py sampling.py engine.py engine_long.py engine_speech.py)

test-kernels: $(INSTALLED_DEV)
	@case $$($(VENV)/bin/python -c 'import torch; print(torch.backends.cpu.get_cpu_capability())') in \
	    AVX512) OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 \
	        $(VENV)/bin/python -m pytest -n $(WORKERS) $(SHARE) -m "not slow" $(NUMERICAL) ;; \
	    *) echo 'This processor has no AVX-512: what one with AVX2 computes is what "make test" has tested' ;; \
	esac
	@OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(VENV)/bin/python -m pytest -n $(WORKERS) $(SHARE) -m "not slow" $(NUMERICAL)

PAGES := studio/node_modules/.package-lock.json

$(PAGES): studio/package-lock.json
	@command -v npm >/dev/null || { echo 'error: no npm here. Only changes of the pages need Node 20.19 or newer' >&2; exit 1; }
	@cd studio && npm ci --prefer-offline --silent

studio-build: $(PAGES)
	@cd studio && npm run --silent build

test-studio: $(INSTALLED_DEV) $(PAGES)
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 0 -rs tests/studio tests/contracts/test_studio_build.py

check: $(INSTALLED_DEV)
	@VENV="$(VENV)" tools/check

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo 'error: no $(PYTHON) here. Name a Python 3.11 or newer: make PYTHON=/path/to/python ...' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit("error: wan22 needs Python 3.11 or newer, and $(PYTHON) is " + v + ". Name another: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@echo 'Installing into $(VENV) (once; a minute or two)' >&2
	@$(PYTHON) -m venv "$(VENV)" || { echo 'error: this Python cannot make a virtual environment; on Debian or Ubuntu: apt install python3-venv' >&2; exit 1; }
	@$(PIP) -e .
	@touch $@

# pip older than 25.1 cannot read a dependency group, so the list is written out from pyproject.toml, its only home.
$(INSTALLED_DEV): $(INSTALLED)
	@echo 'Installing the development tools' >&2
	@$(VENV)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")' > $(VENV)/dev.txt
	@$(PIP) -r $(VENV)/dev.txt -e .
	@touch $@

clean:
	rm -rf "$(VENV)" .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
