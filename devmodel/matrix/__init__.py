"""Matrices of guests: a boot or a test for every combination of kernels, vendors, CPU models and images."""
