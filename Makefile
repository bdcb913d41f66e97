# The two commands of the README are `make demo` and `make test`; everything happens in .venv. `make help` lists all.
PYTHON ?= python3
BIN := .venv/bin
COMPILED := hvcore/cpu hvcore/cpu/jit hvcore/cpu/fp hvcore/vmx hvcore/svm hvcore/exits hvcore ioreq devmodel/board devmodel/service
SOURCES := pyproject.toml setup.py constraints.txt $(foreach folder,$(COMPILED),$(wildcard $(folder)/*.py $(folder)/*.pxd))
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt

.PHONY: demo test bench coverage lint docs man guest guests wheel clean help

help:
	@echo "make demo     build everything in .venv, and run the demo guest on this terminal"
	@echo "make test     the whole test suite"
	@echo "make guests   fetch Debian's i386 kernel and busybox, for tests and benchmarks that boot them"
	@echo "make bench    how fast it is, beside QEMU where that is installed"
	@echo "make coverage which branches of the chips the tests take"
	@echo "make lint     ruff and mypy"
	@echo "make docs     the documentation as a site, in site"
	@echo "make man      man pages, in build/man"
	@echo "make wheel    a wheel and an sdist, in dist"
	@echo "make guest    assemble the demo guest anew (wants nasm)"
	@echo "make clean    remove all that these have made"
	@echo
	@echo "They want Python 3.11 or later with venv and headers, a C compiler, and a package index; on Debian and Ubuntu:"
	@echo "  apt install python3-venv python3-dev gcc make"

demo: .venv/demo.stamp
	@if [ -t 0 ]; then $(BIN)/devmodel run; else $(BIN)/devmodel run --fw-cfg opt/devmodel/self-test=1; fi

test: .venv/test.stamp
	$(BIN)/python -m pytest

bench: .venv/test.stamp
	@tests/guests/packages.sh || true
	$(BIN)/python -m benchmarks
	@benchmarks/programs.sh || true
	$(BIN)/python -m benchmarks.programs

# Branches of the chips that the tests of chips and boards take; what is missing is listed.
coverage: .venv/test.stamp
	@mkdir -p build
	$(BIN)/coverage run --branch --source=devmodel/devices --data-file=build/coverage -m pytest -q \
	tests/devmodel/devices tests/devmodel/board tests/devmodel/qtest tests/conformance tests/fuzz/test_board.py
	$(BIN)/coverage report --data-file=build/coverage --show-missing --skip-covered --fail-under=100

lint: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: .venv/test.stamp
	$(BIN)/python -m build --outdir dist

# The documentation as a site in ./site, without warnings; and man pages, made from the parsers, in ./build/man.
docs: .venv/test.stamp
	@$(PIP) --no-build-isolation --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

man: .venv/test.stamp
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@mkdir -p build/man
	@for program in devmodel hvcore; do $(BIN)/argparse-manpage --module $$program.cli --function _parser \
	--project-name devmodel --manual-title "User commands" --prog $$program --output build/man/$$program.1 || exit 1; done
	@echo "build/man: devmodel.1 hvcore.1"

# The demo guest's image is kept, so that nobody needs an assembler; a test makes it again and compares.
guest:
	nasm -f bin -o devmodel/demo/demo.bin devmodel/demo/demo.asm

# Debian's i386 kernel and busybox, for tests/guests/test_linux.py and the benchmarks; without them those are skipped.
# The RAM disk is for whoever boots it by hand, as the README does.
guests:
	@tests/guests/packages.sh
	@tests/guests/installer.sh
	@$(PYTHON) -m tests.guests.initramfs .guests/initramfs

.venv/bin/python:
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt install python3-venv"; rm -rf .venv; exit 1; }

# The processor, compiled in place. Only files that have changed are compiled again.
.venv/compiled.stamp: .venv/bin/python $(SOURCES)
	@echo "1 of 3: fetching the compiler of its Python (Cython; from the package index, over the network)"
	@$(PIP) Cython setuptools
	@echo "2 of 3: compiling the processor (about a minute; wants a C compiler and Python's headers)"
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

.venv/demo.stamp: .venv/compiled.stamp
	@echo "3 of 3: installing devmodel and what it uses"
	@$(PIP) --no-build-isolation --editable .
	@$(BIN)/python -c 'from hvcore.cpu.processor import COMPILED as c; print("processor compiled" if c else \
	"processor not compiled (no C compiler, or no Python headers: python3-dev): it works, some thousand times slower")'
	@touch $@

.venv/test.stamp: .venv/compiled.stamp
	@echo "3 of 3: installing devmodel and what its tests need"
	@$(PIP) --no-build-isolation --editable '.[dev,oracles]'
	@touch .venv/demo.stamp $@

clean:
	rm -rf .venv .guests build dist site *.egg-info $(foreach folder,$(COMPILED),$(wildcard $(folder)/*.so $(folder)/*.c))
