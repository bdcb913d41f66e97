"""Controlling a machine from outside: the words of `devmodel monitor`, QMP, and what machines run here.

All of it is said to the monitor of each of the machine's servers (`monitor.py`).
"""
