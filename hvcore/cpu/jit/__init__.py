"""Host code: blocks that run often, translated to x86-64 (docs/translator.md)."""
