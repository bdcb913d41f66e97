"""Hostile peers at random: a server that attacks the core, and a core that attacks the server.

`python -m tests.fuzz` runs them for as long as wanted; `test_fuzz.py` runs a short sample in the suite. Who is
attacked is a process of its own, started as a user would; what counts as a finding is said in `victim`.
"""
