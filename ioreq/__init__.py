"""The wire between a core and its device models: Xen's ioreq pages, event channels and device-model ops."""
