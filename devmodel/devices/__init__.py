"""The chips, one a file; none of them does I/O, sleeps or reads a clock."""
