"""The core: an emulated x86 processor behind two vendors' virtualisation interfaces, and its domain."""
