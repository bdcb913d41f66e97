"""The common layer: what is done about an exit once a vendor's first-level handler has decoded it."""
