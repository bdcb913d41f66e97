"""The names of `kinds.pxd` as Python integers: the list is written once, in the file that C reads."""

import re
from importlib import resources

_TEXT = (resources.files(__package__) / "kinds.pxd").read_text(encoding="ascii")
NAMES: tuple[str, ...] = tuple(re.findall(r"^ {4}([A-Z][A-Z0-9_]*)\b", _TEXT, re.MULTILINE))
globals().update({name: number for number, name in enumerate(NAMES)})


def __getattr__(name: str) -> int:
    raise AttributeError(f"no operation is called {name!r}")
