"""Compile what is written in Cython's pure Python mode; without a C compiler it runs as the Python it is.

Everything else about the package stands in pyproject.toml.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

try:
    from Cython.Build import cythonize
except ImportError:
    cythonize = None

NEVER_COMPILED = {"__init__", "constants", "opcodes", "uncompiled"}
FLAGS = ["-O2", "-fno-strict-aliasing", "-fwrapv", "-Wno-unused-function", "-Wno-sign-compare"]


def modules() -> list[Extension]:
    """The modules of the processor, and the fence: those that have a `.pxd`, and what builds on them."""
    sources = [p for p in sorted(Path("hvcore/cpu").glob("*.py")) if p.stem not in NEVER_COMPILED]
    sources += [p for p in [Path("ioreq/fence.py")] if p.exists()]
    return [
        Extension(".".join(p.with_suffix("").parts), [str(p)], extra_compile_args=FLAGS) for p in sources
    ]


class BuildOrDoWithout(build_ext):
    """A compiler that is missing or fails costs speed, not the installation."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - distutils raises many kinds
            reason = (str(error).splitlines() or ["?"])[0]
            print(f"devmodel: processor not compiled ({reason}); it will run uncompiled, slowly", file=sys.stderr)
            for left in Path("hvcore/cpu").glob("*.so"):
                left.unlink()  # half compiled would be neither


extensions = []
if cythonize is not None and not os.environ.get("DEVMODEL_UNCOMPILED"):
    extensions = cythonize(
        modules(),
        language_level=3,
        nthreads=0,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
    )
setup(ext_modules=extensions, cmdclass={"build_ext": BuildOrDoWithout})
