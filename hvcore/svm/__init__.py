"""AMD-V: a VMCB of 4 KiB, VMRUN with its consistency checks, and #VMEXIT as the APM records it."""
