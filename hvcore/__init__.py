"""The core: an emulated x86 processor behind two vendors' virtualisation interfaces, and its domain."""

from hvcore.errors import ConfigError, EntryError, HvError

__all__ = ["ConfigError", "EntryError", "HvError"]
