"""The core: an emulated x86 processor behind two vendors' virtualisation interfaces, and its domain."""

from typing import Final

from hvcore.errors import ConfigError, EntryError, HvError

__all__ = ["VERSION", "ConfigError", "EntryError", "HvError"]

VERSION: Final = "0.1.0"
"""Of the distribution, which has the device models as well."""
