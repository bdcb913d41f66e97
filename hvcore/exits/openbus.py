"""An access to physical memory that is not there, by a guest whose addresses nobody translates a second time.

Without EPT or nested paging an address in no memory is no exit: the cycle goes to the bus, and nobody answers it.
"""

from hvcore.cpu.exitinfo import Emulate
from hvcore.cpu.processor import Processor
from ioreq.layout import ONES


def complete_on_open_bus(processor: Processor) -> bool:
    """Execute the instruction at RIP with ones for what it reads there. False: it cannot be, which is an exit."""
    processor.emulate_begin()
    while (outcome := processor.emulate()) == Emulate.READ:
        processor.emulate_supply(ONES[processor.exit.size])
    return outcome in {Emulate.DONE, Emulate.FAULT}
