"""Compile what is written in Cython's pure Python mode; without a C compiler it runs as the Python it is.

Everything else about the package stands in pyproject.toml.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NEVER_COMPILED = {"__init__", "constants", "opcodes", "uncompiled"}
WIRE = ("buffered", "channel", "evtchn", "fence", "page")
FLAGS = ["-O2", "-fno-strict-aliasing", "-fwrapv", "-w"]  # -w: the C is Cython's, not ours to mend
DIRECTIVES = {"boundscheck": False, "wraparound": False, "cdivision": True, "initializedcheck": False}


def extensions() -> list[Extension]:
    """The modules of the processor, and the wire's hot path."""
    sources = [p for p in sorted(Path("hvcore/cpu").glob("*.py")) if p.stem not in NEVER_COMPILED]
    sources += [Path("ioreq", f"{name}.py") for name in WIRE]
    return [
        Extension(".".join(p.with_suffix("").parts), [str(p)], extra_compile_args=FLAGS, optional=True)
        for p in sources
    ]


class BuildAllOrNothing(build_ext):
    """A compiler that is missing costs speed, not the installation; half a processor would be neither."""

    def run(self) -> None:
        """Build, then drop everything if anything is missing."""
        super().run()
        built = [Path(self.get_ext_fullpath(e.name)) for e in self.extensions]
        if all(p.exists() for p in built):
            return
        for p in built:
            p.unlink(missing_ok=True)
        print("devmodel: no C compiler or no Python headers; the processor will run uncompiled", file=sys.stderr)


wanted = [] if os.environ.get("DEVMODEL_UNCOMPILED") else extensions()
setup(
    ext_modules=cythonize(wanted, language_level=3, compiler_directives=DIRECTIVES, quiet=True),
    cmdclass={"build_ext": BuildAllOrNothing},
)
