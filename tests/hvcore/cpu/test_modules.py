"""Who of the processor's modules knows whom, at compile time; read from the sources."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[3] / "hvcore" / "cpu"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in ROOT.rglob("*.py")
    if path.stem != "__init__"
}


def known(module: str) -> set[str]:
    """The modules of the processor that one imports, in its source or its `.pxd`."""
    found = set()

    def note(package: str, names: list[str]) -> None:
        package = package.removeprefix("cython.cimports.").removeprefix("hvcore.cpu").removeprefix(".")
        found.update(
            name for name in [package, *(f"{package}.{n}".lstrip(".") for n in names)] if name in MODULES
        )

    path = MODULES[module]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            note(node.module or "", [alias.name for alias in node.names])
    declared = path.with_suffix(".pxd")
    for line in declared.read_text().splitlines() if declared.exists() else ():
        if line.startswith("from ") and " cimport " in line:
            package, _, names = line.removeprefix("from ").partition(" cimport ")
            note(package, names.split(", "))
    return found - {module}


def reachable(module: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [module]
    while todo:
        for other in graph[todo.pop()] - seen:
            seen.add(other)
            todo.append(other)
    return seen


def test_no_two_modules_know_each_other() -> None:
    graph = {module: known(module) for module in MODULES}
    assert "mmu" in graph["execute"]
    assert [module for module in MODULES if module in reachable(module, graph)] == []
