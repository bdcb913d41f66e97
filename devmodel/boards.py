"""A board of one's own: found by its name, called with the PC's board, and its mistakes told in one line.

A board is a function that adds to the PC what is not there: `MODULE:FUNCTION`, `FILE.py:FUNCTION`, or the short name
of an entry point of the group `devmodel.boards`.

    def build(board: Board, *, seed: int = 1) -> None:
        board.add(Dice(seed), name="dice", ports=range(0x500, 0x504))

What it takes beside the board are options, which the user gives (`--board-option seed=2`, or `[board]` in the file).
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

import attrs

from devmodel import ConfigError, DevmodelError
from devmodel.board.pc import Board

GROUP: Final = "devmodel.boards"
"""Entry points whose names stand for boards."""
FORMS: Final = "MODULE:FUNCTION, FILE.py:FUNCTION"


@attrs.frozen
class Builder:
    """A board by the name that the user gave it, and what he gave it."""

    name: str
    function: Callable[..., object]
    options: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    def __call__(self, board: Board) -> None:
        """Add to a board.

        Raises:
            ConfigError: it fails; the line says where.

        """
        try:
            self.function(board, **self.options)
        except DevmodelError as error:
            raise ConfigError(f"board {self.name}: {error} ({self._place(error)})") from error
        except Exception as error:
            raise ConfigError(
                f"board {self.name}: {type(error).__name__}: {error} ({self._place(error)})"
            ) from error

    def _place(self, error: BaseException) -> str:
        return place(error, inspect.getsourcefile(inspect.unwrap(self.function)))


def find(name: str, options: Mapping[str, Any] | None = None, *, folder: str = "") -> Builder:
    """Return a board by its name. Modules are looked for in `folder` as well, relative files there alone.

    Raises:
        ConfigError: there is none such, or it does not take these options.

    """
    module_name, colon, attribute = name.rpartition(":")
    if not colon:
        found: object = _entry_point(name)
    elif not module_name or not attribute:
        raise ConfigError(f"board '{name}'; allowed: {FORMS}")
    else:
        if not module_name.endswith(".py") and not all(
            part.isidentifier() for part in module_name.split(".")
        ):
            raise ConfigError(f"board '{name}': '{module_name}' is no module's name; allowed: {FORMS}")
        if module_name.endswith(".py"):
            module = _import_file(name, os.path.join(folder, module_name))
        else:
            module = _import(name, module_name, folder)
        found = module
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise ConfigError(f"board '{name}': {module_name} has no '{attribute}'")
            found = getattr(found, part)
    if not callable(found):
        raise ConfigError(
            f"board '{name}': {type(found).__name__} is not callable; give a function of a board"
        )
    builder = Builder(name, found, dict(options or {}))
    try:
        inspect.signature(found).bind(None, **builder.options)
    except ValueError:  # a callable that has none
        pass
    except TypeError as error:
        raise ConfigError(f"board '{name}': {error}") from None
    return builder


def name_of(function: Callable[..., object]) -> str:
    """Return a name by which another process finds a function.

    Raises:
        ConfigError: it is not at the top of a module or in a class there, or its module is in no file.

    """
    qualified = getattr(function, "__qualname__", "")
    module = sys.modules.get(getattr(function, "__module__", ""))
    if not qualified or "<" in qualified or module is None:
        raise ConfigError(
            f"{function!r} cannot be found by another process; give a function at the top of a module"
        )
    file = getattr(module, "__file__", None)
    if file is not None and not _can_be_imported(module.__name__, file):
        return f"{os.path.abspath(file)}:{qualified}"
    return f"{module.__name__}:{qualified}"


def place(error: BaseException, file: str | None) -> str:
    """Return the file and line where an error comes from: the last place in `file`, if it came through there."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{os.path.basename(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [
        frame
        for frame in frames
        if file is not None and os.path.abspath(frame.filename) == os.path.abspath(file)
    ]
    frame = (theirs or frames)[-1]
    return f"{os.path.basename(frame.filename)}:{frame.lineno}"


def _entry_point(name: str) -> object:
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        known = "".join(f", {known}" for known in sorted(points))
        raise ConfigError(f"board '{name}' is not known; allowed: {FORMS}{known}")
    try:
        return points[name].load()
    except Exception as error:
        raise _import_failed(name, points[name].module, error) from error


def _import(name: str, module: str, folder: str) -> ModuleType:
    """Import a module: an installed one, or one in the folder of the machine's file or the working directory."""
    for place_ in (folder, os.getcwd()):
        if place_ and os.path.abspath(place_) not in sys.path:
            sys.path.append(os.path.abspath(place_))
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise _import_failed(name, module, error) from error


def _import_file(name: str, path: str) -> ModuleType:
    """Import a file; modules beside it can be imported by it."""
    path = os.path.abspath(path)
    if not os.path.isfile(path):
        raise ConfigError(f"board '{name}': there is no file {path}")
    module_name = os.path.basename(path).removesuffix(".py")
    before = sys.modules.get(module_name)
    if before is not None and getattr(before, "__file__", None) == path:
        return before
    if before is not None or module_name in sys.stdlib_module_names:
        module_name = f"devmodel_board_{module_name}"
    if os.path.dirname(path) not in sys.path:
        sys.path.append(os.path.dirname(path))
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise _import_failed(name, path, error) from error
    return module


def _import_failed(name: str, module: str, error: Exception) -> ConfigError:
    """Return the line for a module that is not there, or that fails when it is imported."""
    if (
        isinstance(error, ModuleNotFoundError)
        and error.name is not None
        and f"{module}.".startswith(f"{error.name}.")
    ):
        return ConfigError(f"board '{name}': there is no module '{error.name}'")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and os.path.abspath(frame.filename) != os.path.abspath(__file__)
    ]
    where = place(error, frames[-1].filename if frames else None)
    said = error.msg if isinstance(error, SyntaxError) else error
    return ConfigError(f"board '{name}': {type(error).__name__}: {said} ({where})")


def _can_be_imported(module: str, file: str) -> bool:
    """Whether the module of this name is that file for a process that imports it anew, with our `sys.path`."""
    path: Any = None
    found = None
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        specs = (finder.find_spec(name, path, None) for finder in sys.meta_path)
        found = next((spec for spec in specs if spec is not None), None)
        if found is None:
            return False
        path = found.submodule_search_locations
    return found is not None and os.path.abspath(found.origin or "") == os.path.abspath(file)
