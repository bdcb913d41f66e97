"""The built-in demo guest: its source, its image, and the machine it runs on."""
