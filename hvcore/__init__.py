"""The core: an emulated x86 processor behind two vendors' virtualisation interfaces, and its domain."""

from hvcore.errors import ConfigError, EntryRefused, HvError

__all__ = ["ConfigError", "EntryRefused", "HvError"]
