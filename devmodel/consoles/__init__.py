"""Where a serial line ends: TCP clients, the terminal of `devmodel run`, a pipe."""
