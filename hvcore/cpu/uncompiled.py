"""What C structs and arrays are to the uncompiled processor. It is never compiled."""

from collections.abc import Callable
from typing import Any

from hvcore.cpu import constants as k
from hvcore.cpu.exitinfo import ExitInfo

OP_FIELDS = [
    "kind",
    "size",
    "sub",
    "reg",
    "rsh",
    "rm",
    "msh",
    "base",
    "index",
    "scale",
    "seg",
    "length",
    "rep",
    "addr",
    "ends",
    "off",
    "lock",
    "isreg",
    "prefixes",
    "imm",
    "disp",
    "imm2",
]
BLOCK_FIELDS = ["at", "mode", "ops", "count", "length", "next", "next_in_page", "link", "valid"]
PLAIN_FIELDS = [
    "eip",
    "flags",
    "cc_op",
    "cc_size",
    "cc_cf",
    "cc_a",
    "cc_b",
    "cc_res",
    "gdt_base",
    "idt_base",
    "gdt_limit",
    "idt_limit",
    "cr0",
    "cr2",
    "cr3",
    "cr4",
    "cr8",
    "efer",
    "cpl",
    "sp_mask",
    "code_size",
    "protected",
    "shadow",
    "activity_now",
    "tsc_offset",
    "signature",
    "features",
    "cr4_writable",
    "fault",
    "fault_vector",
    "fault_error",
    "fault_has_error",
    "fault_kind",
    "fault_length",
    "no_trap",
    "raise_vector",
    "raise_error",
    "raise_has_error",
    "inject_kind",
    "inject_vector",
    "inject_error",
    "inject_has_error",
    "inject_length",
    "delivering",
    "delivering_kind",
    "delivering_vector",
    "delivering_error",
    "delivering_has_error",
    "special",
    "icount",
    "stop_at",
    "stop_wanted",
    "block_eip",
    "on_interrupt",
    "on_window",
    "on_hlt",
    "on_io",
    "on_cpuid",
    "on_rdtsc",
    "on_rdpmc",
    "on_rdmsr",
    "on_wrmsr",
    "on_exceptions",
    "page_fault_mask",
    "page_fault_match",
    "cr0_mask",
    "cr0_shadow",
    "cr4_mask",
    "cr4_shadow",
    "on_cr_read",
    "on_cr_write",
    "on_dr_read",
    "on_dr_write",
    "on_invd",
    "on_invlpg",
    "on_pause",
    "on_iret",
    "on_task_switch",
    "on_software_interrupt",
    "on_descriptor_table",
    "io_bitmap_used",
    "a20_mask",
    "slots_used",
    "ops_used",
    "blocks_used",
    "fetch_at",
    "fetch_count",
    "fetch_next",
    "fetch_over",
    "emulating",
    "mmio_supplied",
    "mmio_used",
    "mmio_writes",
    "count_blocks",
    "count_tlb_misses",
    "count_exits",
    "tlb_half",
    "large_pages",
    "fault_address",
    "walk_flags",
    "walk_rights",
    "current",
    "vcpu",
]


class Record:
    """Stands for a C struct."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Sparse(dict[int, Any]):
    """Stands for a zeroed C array of which few elements are ever used; they are made at the first look."""

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, key: int) -> Any:
        self[key] = value = self.make()
        return value


def new_op() -> Record:
    """A zeroed operation."""
    return Record(**dict.fromkeys(OP_FIELDS, 0))


def allocate(c: Any) -> None:
    """Give the record `c` (a `State`) the fields that `state.pxd` declares."""
    c.info = ExitInfo()
    c.ops = Sparse(new_op)
    c.blocks = Sparse(lambda: Record(**dict.fromkeys(BLOCK_FIELDS, 0)))
    c.buckets = [0] * k.STATE["BLOCK_BUCKETS"]
    c.page_blocks = Sparse(int)
    c.page_code = Sparse(int)
    c.tlb = [
        Record(rd=k.NO_PAGE, wr=k.NO_PAGE, ex=k.NO_PAGE, add=0)
        for _ in range(2 * k.STATE["TLB_SIZE"])
    ]
    c.slots = [Record(first=0, last=0, read=0, write=0) for _ in range(k.STATE["MAX_SLOTS"])]
    c.regs, c.debug, c.fetched = [0] * 17, [0] * 8, [0] * 16
    for name in ("sel", "base", "limit", "attr", "rd_size", "wr_size"):
        setattr(c, name, [0] * 8)
    c.io_bitmap = bytearray(8192)
    c.tlb_kept = bytearray(2 * k.STATE["TLB_SIZE"])
    for name in ("address", "size", "data", "write_address", "write_size", "write_data"):
        setattr(c, f"mmio_{name}", [0] * k.STATE["MMIO_MAX"])
    for name in PLAIN_FIELDS:
        setattr(c, name, 0)
