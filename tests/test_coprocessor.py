"""An x87 error where CR0.NE is clear: FERR#, IRQ 13, port F0h (82371SB data sheet; SDM vol. 1 appendix D)."""

import pytest

from tests.hvcore.cpu.bench import HAVE_NASM, assemble
from tests.lockstep import Machine

PROGRAM = """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word [0x75 * 4], handler
        mov word [0x75 * 4 + 2], 0xf000
        mov dword [0x500], 0
        mov al, 0x11            ; both controllers, at 08h and 70h
        out 0x20, al
        out 0xa0, al
        mov al, 0x08
        out 0x21, al
        mov al, 0x70
        out 0xa1, al
        mov al, 4
        out 0x21, al
        mov al, 2
        out 0xa1, al
        mov al, 1
        out 0x21, al
        out 0xa1, al
        mov al, 0xfb
        out 0x21, al
        mov al, 0xdf            ; IRQ 13 alone
        out 0xa1, al
        sti
        mov cx, 3
again:  fninit
        mov word [0x510], 0x37b ; division by zero unmasked
        fldcw [0x510]
        fld1
        fldz
        fdivp
        inc byte [0x501]        ; nothing is told before the next instruction that waits
        fwait
        inc byte [0x502]
        loop again
        cli
        mov eax, [0x500]
        and eax, 0xffffff
        cmp eax, 0x030303
        jne failed
        fnstsw ax               ; the error has been cleared, and the next would be told again
        test ax, 0x80
        jnz failed
        mov al, 0x10
        out 0xf4, al
failed: mov al, 0x3f
        out 0xf4, al
        hlt
handler:
        push ax
        mov al, [0x501]         ; as many errors as interrupts and one, before this
        sub al, [0x500]
        cmp al, 1
        jne failed
        inc byte [0x500]
        xor al, al
        out 0xf0, al
        fnclex
        mov al, 0x20
        out 0xa0, al
        out 0x20, al
        pop ax
        iret
"""


@pytest.mark.skipif(not HAVE_NASM, reason="nasm is in Debian's package nasm")
@pytest.mark.parametrize("vendor", ["vmx", "svm"])
@pytest.mark.parametrize("lag", [None, 300])
def test_an_unmasked_x87_error_is_irq_13_until_port_f0h_is_written(tmp_path, vendor, lag):
    code = assemble(PROGRAM, org=0)
    image = code.ljust(0xFFF0, b"\x90") + b"\xea\x00\x00\x00\xf0".ljust(16, b"\x90")
    (tmp_path / "firmware").write_bytes(image)
    machine = Machine(vendor, str(tmp_path / "firmware"), lag=lag)
    try:
        machine.run(3_000_000)
        assert machine.crashed is None
        assert machine.status == 0x10 << 1 | 1
    finally:
        machine.close()


@pytest.mark.skipif(not HAVE_NASM, reason="nasm is in Debian's package nasm")
@pytest.mark.parametrize("vendor", ["vmx", "svm"])
def test_an_x87_that_nobody_serves_waits(tmp_path, vendor):
    """With interrupts off the instruction is not done, and the machine is not at its end."""
    code = assemble(PROGRAM.replace("        sti\n", ""), org=0)
    image = code.ljust(0xFFF0, b"\x90") + b"\xea\x00\x00\x00\xf0".ljust(16, b"\x90")
    (tmp_path / "firmware").write_bytes(image)
    machine = Machine(vendor, str(tmp_path / "firmware"))
    try:
        for _ in range(50):
            machine.run(int(machine.processor.icount) + 1)
            if machine.memory.read(0x501, 1) == b"\x01":
                break
        assert machine.status is None
        assert machine.processor.ferr
        assert machine.board.pic.slave.state.levels & 1 << 5
    finally:
        machine.close()
