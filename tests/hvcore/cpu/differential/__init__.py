"""Random instruction sequences, run by this project's processor and by an oracle, and compared.

`python -m tests.hvcore.cpu.differential --help` is the command; `CONTRIBUTING.md` says how to use it.
"""
