"""The built-in guest: what `devmodel run` boots when it is given no file."""
