"""What stands behind a disk controller: files and memory, read and written by tasks of their own."""
