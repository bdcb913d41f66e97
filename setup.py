"""Compile what is written in Cython's pure Python mode; without a C compiler it runs as the Python it is.

Everything else about the package stands in pyproject.toml.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NEVER_COMPILED = {"__init__", "constants", "opcodes", "traits", "uncompiled"}
WIRE = ("buffered", "core", "evtchn", "fence", "mirror", "page", "patience", "request", "server")
HOT = (
    *(f"hvcore/{vendor}/{name}" for vendor in ("svm", "vmx") for name in ("backend", "handler", "record")),
    "hvcore/exits/pio",
    "hvcore/exits/requests",
    "hvcore/routing",
    "devmodel/board/bus",
    "devmodel/board/mirror",
)
"""What else an access passes on its way. It is checked as Python is: most of it is no inner loop."""
FLAGS = ["-fno-strict-aliasing", "-fwrapv", "-g0", "-w"]  # -w: the C is Cython's, not ours to mend
FACES = {"exitinfo", "processor", *WIRE}
"""What mostly calls Python: -O1 halves the compiler's time for it, and no benchmark shows the difference."""
DIRECTIVES = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}


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

    def build_extension(self, ext: Extension) -> None:
        """Build one, unless another has failed already."""
        if not self.reason:
            try:
                super().build_extension(ext)
            except Exception as error:  # noqa: BLE001 - a missing compiler is an OSError, a failing one a CompileError
                self.reason = (str(error).splitlines() or ["?"])[0]

    def run(self) -> None:
        """Build, then drop everything if anything is missing."""
        self.parallel = os.cpu_count()
        for extension in self.extensions:
            extension.optional = True  # said again: cythonize makes new ones
        super().run()
        if not self.reason:
            return
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
        for folder in ("hvcore", "ioreq", "devmodel"):
            for left in Path(folder).rglob("*.so"):
                left.unlink()  # from an earlier build
        print(f"devmodel: the processor will run uncompiled ({self.reason})", file=sys.stderr)


def main() -> None:
    """Translate to C, several files at once, since that takes longer than the C compiler; then build."""
    wanted = [] if os.environ.get("DEVMODEL_UNCOMPILED") else extensions()
    modules = cythonize(
        wanted, nthreads=os.cpu_count() or 1, language_level=3, compiler_directives=DIRECTIVES, quiet=True
    )
    setup(ext_modules=modules, cmdclass={"build_ext": BuildAllOrNothing})


if __name__ == "__main__":  # the processes that translate may import this
    main()
