"""Compile what is written in Cython's pure Python mode; without a C compiler it runs as the Python it is.

Everything else about the package stands in pyproject.toml. Two variables of the environment change this:
DEVMODEL_UNCOMPILED leaves the compiling, DEVMODEL_REQUIRE_COMPILED makes a compile that fails an error (for wheels).
"""

import os
import shutil
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

NEVER_COMPILED = {"__init__", "constants", "opcodes", "traits", "uncompiled"}
WIRE = ("buffered", "core", "evtchn", "fence", "mirror", "page", "patience", "request", "server", "standby")
HOT = (
    *(f"hvcore/{vendor}/{name}" for vendor in ("svm", "vmx") for name in ("backend", "handler", "record")),
    "hvcore/exits/interrupts",
    "hvcore/exits/pio",
    "hvcore/exits/requests",
    "hvcore/routing",
    "hvcore/vcpu",
    "devmodel/board/bus",
    "devmodel/board/lines",
    "devmodel/board/mirror",
    "devmodel/service/alarm",
    "devmodel/service/clock",
    "devmodel/service/performer",
)
"""What else an access passes on its way. It is checked as Python is: most of it is no inner loop."""
FLAGS = ["-fno-strict-aliasing", "-fwrapv", "-g0", "-w"]  # -w: the C is Cython's, not ours to mend
FACES = {"exitinfo", "processor", *WIRE}
"""What mostly calls Python: -O1 halves the compiler's time for it, and no benchmark shows the difference."""
DIRECTIVES = {
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "show_performance_hints": False,
}


def extensions() -> list[Extension]:
    """List the modules of the processor, and the wire's hot path."""
    sources = [p for p in sorted(Path("hvcore/cpu").rglob("*.py")) if p.stem not in NEVER_COMPILED]
    sources += [Path("ioreq", f"{name}.py") for name in WIRE]
    sources += [Path(f"{name}.py") for name in HOT]
    return [
        Extension(
            ".".join(p.with_suffix("").parts),
            [str(p)],
            extra_compile_args=["-O1" if p.stem in FACES else "-O2", *FLAGS],
        )
        for p in sources
    ]


class BuildAllOrNothing(build_ext):
    """A compiler that is missing costs speed, not the installation; half a processor would be neither."""

    reason = ""
    done = 0

    def build_extension(self, ext: Extension) -> None:
        """Build one, unless another has failed already; or take the one that is there, if its C is no newer.

        An editable installation builds in a directory of its own, but what it installs are the files beside the
        sources, which `build_ext --inplace` has made.
        """
        built, beside = Path(self.get_ext_fullpath(ext.name)), Path(self.get_ext_filename(ext.name))
        if self.editable_mode and _is_newer(beside, ext.sources) and not built.exists():
            built.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(beside, built)
            return
        if self.reason:
            return
        before = _time_of(built)
        try:
            super().build_extension(ext)
        except Exception as error:  # noqa: BLE001 - a missing compiler is an OSError, a failing one a CompileError
            self.reason = (str(error).splitlines() or ["?"])[0]
        self.done += 1
        if _time_of(built) != before:
            _say(f"compiled {ext.name} ({self.done} of {len(self.extensions)})")

    def run(self) -> None:
        """Build, then drop everything if anything is missing."""
        self.parallel = os.cpu_count()
        for extension in self.extensions:
            extension.optional = True  # said again: cythonize makes new ones
        super().run()
        if not self.reason:
            return
        if os.environ.get("DEVMODEL_REQUIRE_COMPILED"):
            raise CompileError(f"devmodel: the processor cannot be compiled: {self.reason}")
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        for folder in ("hvcore", "ioreq", "devmodel"):
            for left in Path(folder).rglob("*.so"):
                left.unlink()  # from an earlier build
        print(f"devmodel: the processor will run uncompiled ({self.reason})", file=sys.stderr)


def _time_of(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _is_newer(path: Path, sources: list[str]) -> bool:
    return path.exists() and all(_time_of(path) >= _time_of(Path(source)) for source in sources)


def _say(line: str) -> None:
    """Show how far it is: in one line of a terminal, a line each elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K  {line}")
    else:
        sys.stderr.write(f"  {line}\n")
    sys.stderr.flush()


def main() -> None:
    """Translate to C, several files at once, since that takes longer than the C compiler; then build."""
    wanted = [] if os.environ.get("DEVMODEL_UNCOMPILED") else extensions()
    stale = [e for e in wanted if not _is_newer(Path(e.sources[0]).with_suffix(".c"), e.sources)]
    if stale:
        _say(f"translating {len(stale)} of {len(wanted)} files to C")
    modules = cythonize(
        wanted, nthreads=os.cpu_count() or 1, language_level=3, compiler_directives=DIRECTIVES, quiet=True
    )
    setup(ext_modules=modules, cmdclass={"build_ext": BuildAllOrNothing})
    if stale and sys.stderr.isatty():
        sys.stderr.write("\r\033[K")


if __name__ == "__main__":  # the processes that translate may import this
    main()
