"""What a matrix file says, and the cells that it makes.

    [machine]                       # what every machine is: options of devmodel.testing.Machine
    memory = "256M"
    append = "console=ttyS0"

    [axes]                          # every combination of these; paths may have wildcards
    kernel = ["vmlinuz-*"]
    vendor = ["vmx", "svm"]

    [[exclude]]                     # but for those with all of these
    vendor = "svm"
    kernel = "vmlinuz-6.12"

    [boot]                          # what makes a boot good; or [test], with the `file` of a test
    expect = "/ # "
    run = ["uname -r"]

Paths are relative to the file.
"""

import glob
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from devmodel import ConfigError
from devmodel.testing.options import PLAIN, REPEATED, MachineOptions
from ioreq.user_input import read_toml

FILES: Final = frozenset({"machine", "firmware", "image", "kernel", "initrd", "video_bios"})
"""Options that name a file."""
OPTIONS: Final = frozenset({*FILES, *PLAIN, *REPEATED, "fw_cfg", "board", "board_options", "reboot"})
"""Options that a file can say."""
MOST: Final = 10_000
"""Cells of one matrix."""

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Boot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[boot]`: what must come on the serial console in so many `seconds`, and what must then work in its shell."""

    expect: str
    seconds: Seconds = 300.0
    run: tuple[str, ...] = ()
    fatal: tuple[str, ...] = ("Kernel panic",)


class Test(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[test]`: a file of tests with the fixtures of the pytest plugin, whose machines are the cell's."""

    file: str
    seconds: Seconds = 1800.0


class Cell(msgspec.Struct, frozen=True):
    """One combination: its place on each axis, what its machine is, and what is done with it."""

    name: str
    axes: dict[str, str]
    options: dict[str, Any]
    work: Boot | Test

    def paths(self) -> Iterator[str]:
        """Yield the files that it needs."""
        for name, value in self.options.items():
            if name in FILES:
                yield value
            elif name in REPEATED:
                yield from value
        if isinstance(self.work, Test):
            yield self.work.file

    def moved(self, where: Mapping[str, str]) -> "Cell":
        """Return the same with its files elsewhere."""
        options = {
            name: where[value]
            if name in FILES
            else [where[path] for path in value]
            if name in REPEATED
            else value
            for name, value in self.options.items()
        }
        work = self.work
        if isinstance(work, Test):
            work = msgspec.structs.replace(work, file=where[work.file])
        return msgspec.structs.replace(self, options=options, work=work)


def load(path: str) -> list[Cell]:
    """Read a matrix file.

    Raises:
        ConfigError: it is no matrix; the line says why.

    """
    name = os.path.basename(path)
    try:
        document = read_toml(path, ("machine", "axes", "exclude", "boot", "test"))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    folder = os.path.dirname(os.path.abspath(path))
    machine = _options(name, "[machine]", document.get("machine", {}), folder)
    axes = document.get("axes", {})
    if not isinstance(axes, dict) or not axes:
        raise ConfigError(f"{name}: [axes] is a table of options, each a list of values")
    places = {axis: _axis(name, axis, values, folder) for axis, values in axes.items()}
    excluded = document.get("exclude", [])
    if not isinstance(excluded, list) or not all(isinstance(entry, dict) and entry for entry in excluded):
        raise ConfigError(f"{name}: write [[exclude]], a table for each combination that is left out")
    for entry in excluded:
        if unknown := sorted(set(entry) - set(places)):
            raise ConfigError(
                f"{name}: '{unknown[0]}' in [[exclude]] is no axis; allowed: {', '.join(places)}"
            )
    work = _work(name, document, folder)
    cells = [
        Cell(" ".join(labels.values()), labels, machine | options, work)
        for labels, options in _combinations(places)
        if not any(all(labels[axis] == _label(value) for axis, value in entry.items()) for entry in excluded)
    ]
    if not cells or len(cells) > MOST:
        raise ConfigError(f"{name}: {len(cells)} cells; allowed: 1 to {MOST}")
    for cell in cells:
        for file_ in cell.paths():
            if not os.path.isfile(file_):
                raise ConfigError(f"{name}: {cell.name}: no file {file_}")
    return cells


def _combinations(places: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    for labels in itertools.product(*places.values()):
        by_axis = dict(zip(places, labels, strict=True))
        yield by_axis, {axis: places[axis][label] for axis, label in by_axis.items()}


def _axis(name: str, axis: str, values: object, folder: str) -> dict[str, Any]:
    """Return the values of an axis by how they are called."""
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{name}: {axis} in [axes] is a list of values")
    found: dict[str, Any] = {}
    for value in values:
        if axis in FILES and isinstance(value, str) and glob.has_magic(value):
            matching = sorted(glob.glob(os.path.join(glob.escape(folder), value)))
            if not matching:
                raise ConfigError(f"{name}: {axis} in [axes]: nothing matches '{value}'")
            found |= {_label(path): path for path in matching}
        else:
            found[_label(value)] = _options(name, "[axes]", {axis: value}, folder)[axis]
    return found


def _label(value: object) -> str:
    """Return how a value is called: of a file its name alone."""
    if isinstance(value, list):
        return "+".join(map(_label, value)) or "none"
    text = str(value)
    return os.path.basename(text) or text


def _options(name: str, where: str, table: object, folder: str) -> dict[str, Any]:
    """Return options of a machine, their paths absolute."""
    if not isinstance(table, dict):
        raise ConfigError(f"{name}: {where} is a table")
    options: dict[str, Any] = {}
    for key, value in table.items():
        if key not in OPTIONS:
            allowed = ", ".join(option for option in MachineOptions.__annotations__ if option in OPTIONS)
            raise ConfigError(f"{name}: unknown key '{key}' in {where}; allowed: {allowed}")
        if key in REPEATED:
            paths = [value] if isinstance(value, str) else value
            if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
                raise ConfigError(f"{name}: {key} in {where}: a path, or a list of paths")
            options[key] = [os.path.join(folder, path) for path in paths]
        elif key in FILES:
            if not isinstance(value, str):
                raise ConfigError(f"{name}: {key} in {where}: a path")
            options[key] = os.path.join(folder, value)
        else:
            options[key] = value
    return options


def _work(name: str, document: Mapping[str, Any], folder: str) -> Boot | Test:
    if ("boot" in document) == ("test" in document):
        raise ConfigError(f"{name}: give [boot], what makes a boot good, or [test], a file of tests")
    kind, table = ("boot", document["boot"]) if "boot" in document else ("test", document["test"])
    try:
        work: Boot | Test = msgspec.convert(table, Boot) if kind == "boot" else msgspec.convert(table, Test)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{name}: [{kind}]: {error}") from error
    if isinstance(work, Test):
        return msgspec.structs.replace(work, file=os.path.join(folder, work.file))
    return work
