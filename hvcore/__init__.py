"""The core: an emulated x86 processor behind two vendors' virtualisation interfaces, and its domain."""


class HvError(Exception):
    """Root of what the core reports; its text is one line that a user can act on."""
