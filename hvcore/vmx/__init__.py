"""Intel VT-x: a VMCS reached by encodings, VM entries with their checks, exits as the SDM records them."""
