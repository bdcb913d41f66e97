# The two commands of the README are `make demo` and `make test`; everything happens in .venv.
PYTHON ?= python3
BIN := .venv/bin
COMPILED := hvcore/cpu hvcore/cpu/jit hvcore/cpu/fp hvcore/vmx hvcore/svm hvcore/exits hvcore ioreq devmodel/board
SOURCES := pyproject.toml setup.py constraints.txt $(foreach folder,$(COMPILED),$(wildcard $(folder)/*.py $(folder)/*.pxd))
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: demo test bench lint guest guests clean

demo: .venv/demo.stamp
	@if [ -t 0 ]; then $(BIN)/devmodel run; else $(BIN)/devmodel run --fw-cfg opt/devmodel/self-test=1; fi

test: .venv/test.stamp
	$(BIN)/python -m pytest

bench: .venv/test.stamp
	@tests/guests/packages.sh || true
	$(BIN)/python -m benchmarks
	@benchmarks/programs.sh || true
	$(BIN)/python -m benchmarks.programs

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The demo guest's image is kept, so that nobody needs an assembler; a test makes it again and compares.
guest:
	nasm -f bin -o devmodel/demo/demo.bin devmodel/demo/demo.asm

# Debian's i386 kernel and busybox, for tests/guests/test_linux.py and the benchmarks; without them those are skipped.
# The RAM disk is for whoever boots it by hand, as the README does.
guests:
	@tests/guests/packages.sh
	@$(PYTHON) -m tests.guests.initramfs .guests/initramfs

.venv/bin/python:
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

.venv/demo.stamp: .venv/bin/python $(SOURCES)
	@echo "installing devmodel and compiling its processor (about a minute)"
	@$(PIP) --editable .
	@$(BIN)/python -c 'from hvcore.cpu.processor import COMPILED as c; print("processor compiled" if c else \
	"processor not compiled (no C compiler, or no Python headers: python3-dev): it works, some thousand times slower")'
	@touch $@

.venv/test.stamp: .venv/bin/python $(SOURCES)
	@echo "installing devmodel and what its tests need, and compiling its processor (about a minute)"
	@$(PIP) --editable '.[dev,oracles]'
	@touch .venv/demo.stamp $@

clean:
	rm -rf .venv .guests build *.egg-info $(foreach folder,$(COMPILED),$(wildcard $(folder)/*.so $(folder)/*.c))
