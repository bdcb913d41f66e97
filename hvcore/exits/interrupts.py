# cython: annotation_typing=False
"""Interrupt delivery: from the level of the INTR pin to an event in the guest.

The interrupt controller is a device. Its output is a word in the pins page, and its vector comes by an
interrupt-acknowledge request, which is made only when the guest can take the interrupt at once; until then
the backend is asked for an interrupt window. A request withdrawn meanwhile leaves the pin low, and nothing
happens. Writes that withdraw it may be posted and not done yet when the pin is found high: the server does them
before the request, and answers that there is no interrupt any more. With none in flight the vector that the pin
shows is taken without a question.
"""

from collections.abc import Callable

from hvcore.exits.requests import NO_VECTOR, Requests
from hvcore.hvm import EventKind, HvmBackend, Vector


class Interrupts:
    """One vCPU's INTR pin."""

    def __init__(self, backend: HvmBackend, requests: Requests, pin: Callable[[], int]) -> None:
        self._backend = backend
        self._requests = requests
        self._pin = pin
        self._nmi = False

    def reset(self) -> None:
        """Forget an NMI that has not been delivered."""
        self._nmi = False

    def pin_raised(self) -> bool:
        """Deliver now, or ask for a window, if the pin is high; an NMI goes first.

        Whether the guest has something to do: it is not, if the interrupt was withdrawn.
        """
        if self._nmi:
            self._deliver_nmi()
        if not self._pin():
            return self._backend.event_pending()
        if self._backend.interruptible():
            return self._deliver()
        self._backend.request_interrupt_window(True)
        return True

    def window_open(self) -> None:
        """Deliver what the window was asked for, if it is still there."""
        self._backend.request_interrupt_window(False)
        self.pin_raised()

    def nmi_raised(self) -> None:
        """Deliver an NMI now, or ask for its window. One that comes while one waits is lost."""
        self._nmi = True
        self._deliver_nmi()

    def nmi_window_open(self) -> None:
        """Deliver the NMI that the window was asked for."""
        self._backend.request_nmi_window(False)
        if self._nmi:
            self._deliver_nmi()

    def _deliver_nmi(self) -> None:
        if self._backend.event_pending() or self._backend.interrupt_shadow():
            self._backend.request_nmi_window(True)
        else:
            self._nmi = False
            self._backend.inject(EventKind.NMI, Vector.NMI, None, 0)

    def _deliver(self) -> bool:
        vector = self._requests.acknowledge(self._pin)
        if vector == NO_VECTOR:
            return False
        self._backend.inject(EventKind.EXTERNAL_INTERRUPT, vector, None, 0)
        return True
