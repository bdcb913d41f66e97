"""A whole board without a core or a guest, driven from outside by QEMU's qtest protocol (docs/qtest.md)."""
