"""Floating point and vectors: x87, MMX, SSE and SSE2, and the rounding that they share."""
