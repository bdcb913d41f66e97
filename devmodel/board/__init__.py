"""A machine as wiring and a map, and what its chips are made of. Nothing here imports trio."""
