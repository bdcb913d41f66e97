"""Figures: `python -m benchmarks`. Medians and ratios; nothing here asserts a time."""
