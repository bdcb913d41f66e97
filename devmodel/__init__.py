"""An asynchronous device-model server: the chips of a PC, and the trio shell that serves them to a core."""
