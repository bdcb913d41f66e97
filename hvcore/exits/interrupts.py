"""Interrupt delivery: from the level of the INTR pin to an event in the guest.

The interrupt controller is a device. Its output is a word in the pins page, and its vector comes by an
interrupt-acknowledge request, which is made only when the guest can take the interrupt at once; until then
the backend is asked for an interrupt window. A request withdrawn meanwhile leaves the pin low, and nothing
happens.
"""

from collections.abc import Callable

from hvcore.exits.requests import NO_VECTOR, Requests
from hvcore.hvm import EventKind, HvmBackend


class Interrupts:
    """One vCPU's INTR pin."""

    def __init__(self, backend: HvmBackend, requests: Requests, pin: Callable[[], int]) -> None:
        self._backend = backend
        self._requests = requests
        self._pin = pin

    def pin_raised(self) -> None:
        """Deliver now, or ask for a window, if the pin is high."""
        if not self._pin():
            return
        if self._backend.interruptible():
            self._deliver()
        else:
            self._backend.request_interrupt_window(True)

    def window_open(self) -> None:
        """Deliver what the window was asked for, if it is still there."""
        self._backend.request_interrupt_window(False)
        self.pin_raised()

    def _deliver(self) -> None:
        vector = self._requests.acknowledge()
        if vector != NO_VECTOR:
            self._backend.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)
