"""Intel VT-x: a VMCS reached by field encodings, VM entries with their checks, and exits as the SDM records them."""
