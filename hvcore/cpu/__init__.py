"""The x86 processor, in Cython's pure Python mode: the same files run compiled and uncompiled."""
