# cython: annotation_typing=False
"""A vCPU: its processor, its backend, the common handlers it is joined with, and the thread that runs it.

The thread's loop is the walk of every exit: enter the guest, record the exit, decode the record, do what it
asks for. Other threads reach a vCPU in one way only, `post`: work for the vCPU's own thread to do between two
entries.
"""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Final, Protocol

import structlog

from hvcore.cpu.processor import Processor
from hvcore.cpumodel import CpuModel
from hvcore.errors import EntryError
from hvcore.exits.cpuid import Cpuid
from hvcore.exits.interrupts import Interrupts
from hvcore.exits.mmio import Mmio
from hvcore.exits.msr import Msr
from hvcore.exits.pio import PortIo
from hvcore.exits.requests import Interrupted, Requests
from hvcore.hvm import RFLAGS_IF, ExitHandlers, GuestState, HvmBackend
from hvcore.memory import GuestMemory
from hvcore.svm.backend import SvmBackend
from hvcore.tally import SAMPLE
from hvcore.vmx.backend import VmxBackend
from ioreq import fence
from ioreq.core import CoreChannel, VcpuDoorbell
from ioreq.layout import PIN_INTR_OFFSET
from ioreq.messages import SegmentRegister, VcpuContext

BACKENDS: Final[dict[str, Callable[[Processor], HvmBackend]]] = {"vmx": VmxBackend, "svm": SvmBackend}
BUDGET: Final = 1 << 30
"""Instructions an entry: many, since whoever wants attention stops the processor."""

log = structlog.get_logger("hvcore.vcpu")


class Platform(Protocol):
    """What a vCPU asks of its domain. Called in the vCPU's thread."""

    def triple_fault(self) -> None:
        """Take note that the processor shut down; a PC resets."""

    def switched_off(self) -> None:
        """End the domain: the guest halted, and nothing can wake it."""

    def crash(self, text: str) -> None:
        """End the domain: the guest cannot go on."""

    def coprocessor_error(self, level: bool) -> None:
        """Drive interrupt request 13, which a PC makes of FERR#."""

    def failed(self, error: BaseException) -> None:
        """End the domain: the core itself cannot go on, which is a bug."""

    def interrupt_channels(self, vcpu: int) -> list[CoreChannel]:
        """Return the channels on which a halted vCPU hears of its INTR pin."""


class Vcpu:
    """One vCPU and its thread."""

    def __init__(
        self,
        number: int,
        vendor: str,
        model: CpuModel,
        memory: GuestMemory,
        pins: memoryview,
        doorbell: VcpuDoorbell,
        platform: Platform,
        requests: Callable[[Processor], Requests],
    ) -> None:
        """`pins` is the pins page as 32-bit words; `requests` makes this vCPU's way to the device models."""
        self.number = number
        self._model = model
        self.processor = self._make_processor(memory, pins.cast("B"))
        self.processor.set_model(model.signature, model.features, model.extended)
        self.backend = BACKENDS[vendor](self.processor)
        self.requests = requests(self.processor)
        self.doorbell = doorbell
        self.halted = False
        self._error_latched = False
        """FERR# has been made an interrupt request, which port F0h has not cleared yet."""
        self._platform = platform
        self._pins = pins
        self._pin = PIN_INTR_OFFSET // 4 + number
        self._work: deque[Callable[[], None]] = deque()
        self._running = True
        self._thread = threading.Thread(target=self._run, name=f"vcpu{number}", daemon=True)
        self.interrupts = Interrupts(self.backend, self.requests, self.intr)
        self.requests.interruptible, self.requests.pin = self.backend.interruptible, self.intr
        self.requests.lower = self._lower
        self._attach(memory)

    def _make_processor(self, memory: GuestMemory, pins: memoryview) -> Processor:
        return Processor(memory, pins, self.number)

    def _attach(self, memory: GuestMemory) -> None:
        processor, backend = self.processor, self.backend
        ports = PortIo(processor, memory, self.requests)
        ports.clear_error = self._clear_error
        mmio = Mmio(processor, memory, self.requests, backend, self._crash)
        self._msr = msr = Msr(processor, backend, self._model)
        backend.attach(
            ExitHandlers(
                port_in=ports.read,
                port_out=ports.write,
                port_string=ports.string,
                mmio=mmio.access,
                emulate=mmio.emulate,
                cpuid=Cpuid(processor, self._model).execute,
                rdmsr=msr.read,
                wrmsr=msr.write,
                rdtsc=msr.read_tsc,
                halt=self._halt,
                task_switch=self._switch_task,
                external_interrupt=self.interrupts.pin_raised,
                interrupt_window=self.interrupts.window_open,
                acknowledge=self.requests.acknowledge,
                nmi=self.interrupts.nmi_raised,
                nmi_window=self.interrupts.nmi_window_open,
                triple_fault=self._platform.triple_fault,
                crash=self._crash,
            )
        )

    # From any thread

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` done by the vCPU's thread before the guest runs on (or soon, if it is running).

        Work that waits to be done already is not done twice: it must look at what there is when it is its turn.
        """
        if work not in self._work:
            self._work.append(work)
        self.processor.stop()
        self.doorbell.ring()

    def stop(self) -> None:
        """Leave the loop before the next entry."""
        self.post(self._leave)

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end, for `timeout` seconds; whether it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    # In the vCPU's thread

    def reset(self, start_state: Callable[[GuestState], GuestState], firmware: bool = True) -> None:
        """Power on again, and start where the builder says; without `firmware`, with what that would have set up."""
        self.backend.reset()
        self.interrupts.reset()
        self._msr.reset()
        if not firmware and self._msr.mtrr is not None:
            self._msr.mtrr.set_up()
        self.backend.load(start_state(self.backend.save()))
        self.processor.memory_changed()
        self.halted = False
        if self._error_latched:
            self._latch_error(False)

    def nmi(self) -> None:
        """Take an NMI, which ends HLT; where the guest blocks NMIs it waits, and HLT with it."""
        self.interrupts.nmi_raised()
        if self.backend.event_pending():
            self.halted = False

    def look_at_ferr(self) -> None:
        """Make an interrupt request of FERR#, as the PC's chip set does (82371SB data sheet, FERR#)."""
        processor = self.processor
        if processor.ferr and not processor.ignne and not self._error_latched:
            self._latch_error(True)

    def _clear_error(self) -> None:
        """Do what a write to port F0h does: the request falls, and IGNNE# lets the x87 go on in spite of its error."""
        if self._error_latched:
            self._latch_error(False)
            self.processor.ignne = self.processor.ferr

    def _latch_error(self, latched: bool) -> None:
        self._error_latched = latched
        self._platform.coprocessor_error(latched)

    def intr(self) -> int:
        """Return the level of the INTR pin."""
        return int(self._pins[self._pin])

    def _lower(self, word: int) -> bool:
        """Take the INTR pin down, as the acknowledge cycle does, unless the controller has driven it since."""
        return bool(fence.replace(self._pins, self._pin, word, 0))

    def _run(self) -> None:
        try:
            self._loop()
        except EntryError as error:
            self._crash(str(error))
        except BaseException as error:  # noqa: BLE001  (it is the main thread that reports and raises it)
            self._platform.failed(error)

    def _loop(self) -> None:
        work, backend = self._work, self.backend
        enter, handle = backend.enter, backend.handle
        tally, left = self.requests.tally, SAMPLE
        processor, stood_at = self.processor, -1
        while True:
            while work:
                work.popleft()()
            if not self._running:
                return
            if self.halted:
                self._sleep()
                continue
            enter(BUDGET)
            if processor.ferr:
                self.look_at_ferr()
                if processor.icount == stood_at:
                    self._wait_for_notice()
                stood_at = processor.icount
            left -= 1
            try:
                if left:
                    handle()
                else:
                    left = SAMPLE
                    kind, before = self.processor.exit.kind, monotonic_ns()
                    handle()
                    tally.handled(kind, monotonic_ns() - before)
            except Interrupted:
                pass  # the instruction is met again behind the interrupt that the next entry finds

    def _halt(self) -> None:
        """HLT was executed: sleep, unless something is there already."""
        if self.backend.event_pending():
            return
        takes_it = self.intr() and self.backend.interruptible()
        self.halted = not (takes_it and self.interrupts.pin_raised())

    def _sleep(self) -> None:
        """Sleep until there is work, or an interrupt that the guest takes; the latter ends HLT.

        With interrupts disabled only NMI, INIT or SMI could end it. None waits, so the guest has switched itself off
        (Xen's hvm_hlt). Work that was there before has been done: a reset or an NMI has ended the halt.
        """
        enabled = bool(self.processor.rflags & RFLAGS_IF)
        if not enabled and not self._work:
            self._platform.switched_off()
            return
        self._doze(enabled)
        if enabled and self.intr():
            self.halted = not self.interrupts.pin_raised()

    def _wait_for_notice(self) -> None:
        """Sleep while an x87 instruction waits for somebody to take notice of FERR#: only an interrupt ends that."""
        self._doze(bool(self.processor.rflags & RFLAGS_IF))

    def _doze(self, interruptible: bool) -> None:
        """Sleep until there is work, or the INTR pin is high and that matters."""
        pins, pin, work = self._pins, self._pin, self._work
        channels = self._platform.interrupt_channels(self.number)
        before = monotonic_ns()
        self.doorbell.sleep(channels, lambda: bool(work or (interruptible and pins[pin])))
        self.requests.tally.asleep_ns += monotonic_ns() - before

    def _switch_task(self, tss: int, source: int, rip: int, external: bool, error: int | None) -> None:
        """Have the processor do what the hardware leaves to software (SDM vol. 3 section 7.3)."""
        if not self.processor.task_switch(tss, source, rip, external, error):
            self._crash(f"the guest switches to the task {tss:#06x}, whose state lies in no memory")

    def _leave(self) -> None:
        self._running = False

    def context(self) -> VcpuContext:
        """Return the registers. In the vCPU's thread, or while that stands still or waits for a server's answer."""
        state = self.backend.save()
        return VcpuContext(
            gpr=state.gpr,
            rip=state.rip,
            rflags=state.rflags,
            cr0=state.cr0,
            cr2=state.cr2,
            cr3=state.cr3,
            cr4=state.cr4,
            efer=state.efer,
            segments=[SegmentRegister(s.selector, s.base, s.limit, s.attributes) for s in state.segments],
            gdtr=state.gdtr,
            idtr=state.idtr,
            halted=self.halted,
        )

    def _crash(self, text: str) -> None:
        state = self.backend.save()
        log.error(
            "vcpu.crash", why=text, rip=hex(state.rip), vendor=self.backend.name, **self.backend.describe()
        )
        self._platform.crash(text)
