"""An asynchronous device-model server: the chips of a PC, and the trio shell that serves them to a core."""

from typing import Final

__all__ = ["VERSION", "ConfigError", "DevmodelError"]

VERSION: Final = "0.1.0"


class DevmodelError(Exception):
    """Whatever goes wrong in the server that the user should read as one line."""


class ConfigError(DevmodelError):
    """The machine cannot be as described; found before anything starts. Exit status 2."""
