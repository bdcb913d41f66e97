"""Task switching (SDM vol. 3 ch. 7): who may, what is saved and loaded, and in whose context a fault is raised."""

import struct

import pytest

from hvcore.cpu.exitinfo import ExitKind, TaskSource
from tests.hvcore.cpu.bench import CS, DS, EAX, EBX, EDI, ES, ESP, FS, GS, LDTR, SS, TR, Bench

GDT, IDT, LDT = 0x1000, 0x2000, 0x2800
OLD, NEW = 0x3000, 0x3100
CODE, DATA, OLD_TSS, NEW_TSS, GATE, LDT_SEL, CODE3, DATA3 = 0x08, 0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40
OTHER = 0x48  # for a test to fill
TASK = 0x9000  # where the incoming task's code lies
AVAILABLE_32, BUSY_32, AVAILABLE_16, BUSY_16 = 0x89, 0x8B, 0x81, 0x83
NT, TF, IF = 0x4000, 0x100, 0x200
TS = 8
DB, DF, T_S, NP, S_S, GP, PF = 1, 8, 10, 11, 12, 13, 14
FIELDS_32 = ("eip", "eflags", "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "es", "cs", "ss", "ds")
FIELDS_32 += ("fs", "gs", "ldt")


def descriptor(base, limit, rights, flags=0):
    low = (limit & 0xFFFF) | (base & 0xFFFF) << 16
    high = base >> 16 & 0xFF | rights << 8 | (limit & 0xF0000) | flags << 20 | base & 0xFF000000
    return low | high << 32


def gate(selector, rights=0x85):
    return selector << 16 | rights << 40


class Tasks(Bench):
    """Flat protected mode with a current 32-bit task, and another one beside it; every exception stops."""

    def __init__(self, wide_old=True, wide_new=True):
        super().__init__(32, 1 << 20)
        self.wide_old, self.wide_new = wide_old, wide_new
        p = self.processor
        p.set_gdtr(GDT, 0x7F)
        p.set_idtr(IDT, 0x1FF)
        p.intercepts.exceptions = 0xFFFFFFFF
        p.update_intercepts()
        self.put(CODE, descriptor(0, 0xFFFFF, 0x9B, 0xC))
        self.put(DATA, descriptor(0, 0xFFFFF, 0x93, 0xC))
        self.put(CODE3, descriptor(0, 0xFFFFF, 0xFB, 0xC))
        self.put(DATA3, descriptor(0, 0xFFFFF, 0xF3, 0xC))
        self.put(LDT_SEL, descriptor(LDT, 0x3F, 0x82))
        self.put(OLD_TSS, descriptor(OLD, 0x67, BUSY_32 if wide_old else BUSY_16))
        self.put(NEW_TSS, descriptor(NEW, 0x67, AVAILABLE_32 if wide_new else AVAILABLE_16))
        self.put(GATE, gate(NEW_TSS))
        p.set_segment(TR, OLD_TSS, OLD, 0x67, BUSY_32 if wide_old else BUSY_16)
        p.set_segment(LDTR, 0, 0, 0, 0x10000)
        self.task()
        self.write(TASK, b"\xf4")
        for i in range(8):
            if i != ESP:
                p.set_gpr(i, 0x11111111 * (i + 1))

    def put(self, selector, raw):
        self.write(GDT + selector, struct.pack("<Q", raw))

    def rights(self, selector):
        return self.memory.read(GDT + selector + 5, 1)[0]

    def word(self, at, size=4):
        return int.from_bytes(self.memory.read(at, size), "little")

    def task(self, at=NEW, wide=None, **changes):
        """Write a TSS at `at`."""
        values = dict.fromkeys(FIELDS_32, 0) | {
            "eip": TASK, "eflags": 2, "esp": 0x8000, "cs": CODE, "ss": DATA, "ds": DATA, "es": DATA,
            "fs": DATA if self.wide_new else 0, "eax": 0xA0, "ecx": 0xA1, "edx": 0xA2, "ebx": 0xA3, "ebp": 0xA5,
            "esi": 0xA6, "edi": 0xA7,
        }  # fmt: skip
        values |= changes
        trap = values.pop("trap", 0)
        cr3 = values.pop("cr3", 0x77000)
        if self.wide_new if wide is None else wide:
            body = struct.pack("<I", cr3) + struct.pack("<17I", *(values[f] for f in FIELDS_32))
            self.write(at + 0x1C, body + struct.pack("<HH", trap, 0x68))
        else:
            names = (*FIELDS_32[:14], "ldt")
            self.write(at + 0x0E, struct.pack("<15H", *(values[f] & 0xFFFF for f in names)))

    def jump(self, selector, opcode=b"\xea"):
        return self.run(opcode + struct.pack("<IH", 0xDEAD, selector) + b"\xf4")

    def call(self, selector):
        return self.jump(selector, b"\x9a")

    def fault(self, kind):
        """The exception that stopped the processor: vector, error code, and where."""
        assert kind == ExitKind.EXCEPTION
        info = self.processor.exit
        return info.vector, info.error_code if info.has_error_code else None, self.processor.rip

    def in_new_task(self):
        return self.processor.segment(TR).selector == NEW_TSS


@pytest.fixture
def tasks():
    return Tasks()


AFTER = 0x7C07


def test_a_jump_saves_one_task_and_loads_the_other(tasks):
    p = tasks.processor
    p.set_segment(FS, 0x33, 0, 0, 0x10000)
    before = tasks.registers()
    p.rflags = 0x246
    p.set_dr(7, 0x7FF)
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert p.rip == TASK
    saved = struct.unpack("<16I", tasks.memory.read(OLD + 0x20, 64))
    assert saved[0] == AFTER
    assert saved[1] == 0x246
    assert list(saved[2:10]) == before
    assert saved[10:] == (0x10, 8, 0x10, 0x10, 0x33, 0x10)
    assert tasks.registers() == [0xA0, 0xA1, 0xA2, 0xA3, 0x8000, 0xA5, 0xA6, 0xA7]
    assert p.rflags == 2
    assert (tasks.rights(OLD_TSS), tasks.rights(NEW_TSS)) == (AVAILABLE_32, BUSY_32)
    assert p.segment(TR) == (NEW_TSS, NEW, 0x67, BUSY_32)
    assert p.segment(CS) == (CODE, 0, 0xFFFFFFFF, 0xC09B)
    assert p.segment(FS) == (DATA, 0, 0xFFFFFFFF, 0xC093)
    assert p.segment(GS).attributes == 0x10000
    assert p.cr(0) & TS
    assert p.dr(7) == 0x7FF & ~0x155
    assert tasks.word(NEW) == 0  # no link
    assert p.icount == 1


def test_a_call_links_back_and_iret_returns(tasks):
    p = tasks.processor
    tasks.write(TASK, b"\xcf\xf4")  # IRET
    assert tasks.call(NEW_TSS) == ExitKind.HLT
    assert p.rip == AFTER
    assert p.segment(TR).selector == OLD_TSS
    assert not p.rflags & NT
    assert (tasks.rights(OLD_TSS), tasks.rights(NEW_TSS)) == (BUSY_32, AVAILABLE_32)
    assert p.gpr(EDI) == 0x88888888
    assert tasks.word(NEW + 0x20) == TASK + 1
    assert not tasks.word(NEW + 0x24) & NT  # the image of a task that returned
    assert tasks.word(NEW, 2) == OLD_TSS
    assert p.icount == 2


def test_a_call_leaves_both_tasks_busy_and_sets_nt_in_the_new_one_only(tasks):
    assert tasks.call(NEW_TSS) == ExitKind.HLT
    assert (tasks.rights(OLD_TSS), tasks.rights(NEW_TSS)) == (BUSY_32, BUSY_32)
    assert tasks.processor.rflags & NT
    assert not tasks.word(OLD + 0x24) & NT


def test_a_jump_keeps_nt_of_both_tasks(tasks):
    tasks.processor.rflags = NT | 2
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert not tasks.processor.rflags & NT
    assert tasks.word(OLD + 0x24) & NT


def test_indirect_far_jumps_and_calls_switch_too(tasks):
    tasks.write(0x6000, struct.pack("<IH", 0, NEW_TSS))
    assert tasks.run(bytes.fromhex("ff2d00600000 f4")) == ExitKind.HLT
    assert tasks.in_new_task()
    tasks = Tasks()
    tasks.write(0x6000, struct.pack("<IH", 0, GATE))
    assert tasks.run(bytes.fromhex("ff1d00600000 f4")) == ExitKind.HLT
    assert tasks.in_new_task()


@pytest.mark.parametrize("how", ["jump", "call"])
def test_through_a_task_gate(tasks, how):
    assert getattr(tasks, how)(GATE) == ExitKind.HLT
    assert tasks.in_new_task()
    assert tasks.word(NEW, 2) == (OLD_TSS if how == "call" else 0)


def test_a_16_bit_task(tasks):
    tasks = Tasks(wide_new=False)
    assert tasks.call(NEW_TSS) == ExitKind.HLT
    p = tasks.processor
    assert tasks.registers() == [0xFFFF0000 | v for v in (0xA0, 0xA1, 0xA2, 0xA3, 0x8000, 0xA5, 0xA6, 0xA7)]
    assert p.rip == TASK
    assert p.segment(FS).attributes == p.segment(GS).attributes == 0x10000
    assert p.segment(TR).attributes == BUSY_16
    assert p.rflags & NT


def test_back_from_a_16_bit_task_to_a_32_bit_one_and_what_it_saved(tasks):
    tasks = Tasks(wide_new=False)
    tasks.write(TASK, b"\xb8\x78\x56\x34\x12\xcf")  # MOV EAX, 12345678h; IRET
    assert tasks.call(NEW_TSS) == ExitKind.HLT
    assert tasks.processor.rip == AFTER
    assert tasks.processor.gpr(EBX) == 0x44444444
    saved = struct.unpack("<14H", tasks.memory.read(NEW + 0xE, 28))
    assert saved == (TASK + 6, 2, 0x5678, 0xA1, 0xA2, 0xA3, 0x8000, 0xA5, 0xA6, 0xA7, DATA, CODE, DATA, DATA)


def test_from_a_16_bit_task_to_a_32_bit_one():
    tasks = Tasks(wide_old=False)
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert tasks.word(OLD + 0xE, 2) == AFTER
    assert tasks.rights(OLD_TSS) == AVAILABLE_16


def test_the_ldt_of_the_incoming_task(tasks):
    tasks.write(LDT + 8, struct.pack("<Q", descriptor(0, 0xFFFF, 0x93)))
    tasks.task(ldt=LDT_SEL, ds=0xC)
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert tasks.processor.segment(LDTR) == (LDT_SEL, LDT, 0x3F, 0x82)
    assert tasks.processor.segment(DS) == (0xC, 0, 0xFFFF, 0x93)


def test_a_task_of_an_outer_ring(tasks):
    tasks.task(cs=CODE3 | 3, ss=DATA3 | 3, ds=DATA3 | 3, es=0, fs=0, eip=TASK)
    tasks.write(TASK, b"\x90\xf4")
    assert tasks.fault(tasks.jump(NEW_TSS)) == (GP, 0, TASK + 1)  # HLT at ring 3
    assert tasks.processor.cpl == 3


def test_accessed_bits_are_set(tasks):
    tasks.put(OTHER, descriptor(0, 0xFFFFF, 0x92, 0xC))
    tasks.task(es=OTHER)
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert tasks.rights(OTHER) == 0x93


def test_cr3_is_loaded_with_paging_only(tasks):
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert tasks.processor.cr(3) == 0


def test_each_task_has_its_page_tables():
    tasks = Tasks()
    for directory, frame in ((0x40000, 0x60000), (0x50000, 0x70000)):
        table = directory + 0x1000
        tasks.write(directory, struct.pack("<I", table | 7))
        pages = [i << 12 | 7 for i in range(256)]
        pages[0x80] = frame | 7
        tasks.write(table, struct.pack("<256I", *pages))
    tasks.write(0x60000, b"old!")
    tasks.write(0x70000, b"new!")
    tasks.task(cr3=0x50000)
    tasks.write(TASK, bytes.fromhex("a100000800 f4"))  # MOV EAX, [80000h]
    p = tasks.processor
    p.set_cr(3, 0x40000)
    p.set_cr(0, 0x80000011)
    assert tasks.run(bytes.fromhex("8b1d00000800") + b"\xea" + struct.pack("<IH", 0, NEW_TSS)) == ExitKind.HLT
    assert p.cr(3) == 0x50000
    assert tasks.word(OLD + 0x34) == int.from_bytes(b"old!", "little")
    assert p.gpr(EAX) == int.from_bytes(b"new!", "little")


PAE_PAGING = 0x20


def pae_tasks(cr3):
    """Two address spaces under PAE, the old at 40000h and another at 50000h, and an incoming task with this CR3."""
    tasks = Tasks()
    for pointers, frame in ((0x40000, 0x60000), (0x50000, 0x70000)):
        tasks.write(pointers, struct.pack("<4Q", pointers + 0x1000 | 1, 0, 0, 0))
        tasks.write(pointers + 0x1000, struct.pack("<Q", pointers + 0x2000 | 7))
        pages = [i << 12 | 7 for i in range(256)]
        pages[0x80] = frame | 7
        tasks.write(pointers + 0x2000, struct.pack("<256Q", *pages))
    tasks.write(0x60000, b"old!")
    tasks.write(0x70000, b"new!")
    tasks.task(cr3=cr3)
    tasks.write(TASK, bytes.fromhex("a100000800 f4"))  # MOV EAX, [80000h]
    p = tasks.processor
    p.set_cr(3, 0x40000)
    p.set_cr(4, PAE_PAGING)
    p.set_cr(0, 0x80000011)
    assert p.load_pdptes()
    return tasks


def test_a_switch_that_changes_cr3_loads_the_pdpte_registers():
    tasks = pae_tasks(0x50000)
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert (tasks.processor.cr(3), tasks.processor.pdpte(0)) == (0x50000, 0x51001)
    assert tasks.processor.gpr(EAX) == int.from_bytes(b"new!", "little")


def test_a_switch_that_does_not_change_cr3_leaves_the_pdpte_registers():
    tasks = pae_tasks(0x40000)
    tasks.write(0x40000, struct.pack("<Q", 0x51001))
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    assert tasks.processor.pdpte(0) == 0x41001
    assert tasks.processor.gpr(EAX) == int.from_bytes(b"old!", "little")


@pytest.mark.parametrize("how", ["jump", "call"])
def test_a_reserved_bit_in_a_pdpte_faults_before_anything_changes(how):
    tasks = pae_tasks(0x50000)
    tasks.write(0x50018, struct.pack("<Q", 3))
    assert tasks.fault(getattr(tasks, how)(NEW_TSS)) == (T_S, NEW_TSS, 0x7C00)
    assert (tasks.processor.cr(3), tasks.processor.pdpte(0)) == (0x40000, 0x41001)
    assert not tasks.in_new_task()
    assert (tasks.rights(OLD_TSS), tasks.rights(NEW_TSS)) == (BUSY_32, AVAILABLE_32)


# Refused before anything is saved


@pytest.mark.parametrize(
    ("selector", "prepare", "expected"),
    [
        (OLD_TSS, None, (GP, OLD_TSS)),  # busy
        (NEW_TSS, descriptor(NEW, 0x67, 0x09), (NP, NEW_TSS)),
        (NEW_TSS, descriptor(NEW, 0x66, AVAILABLE_32), (T_S, NEW_TSS)),
        (NEW_TSS, descriptor(NEW, 0x2A, AVAILABLE_16), (T_S, NEW_TSS)),
        (NEW_TSS | 3, None, (GP, NEW_TSS)),  # DPL 0 is less than RPL 3
        (GATE, gate(NEW_TSS, 0x05), (NP, GATE)),
        (GATE | 3, None, (GP, GATE)),
        (GATE, gate(0), (GP, 0)),
        (GATE, gate(4), (GP, 4)),  # in the LDT
        (GATE, gate(0x1F8), (GP, 0x1F8)),
        (GATE, gate(OLD_TSS), (GP, OLD_TSS)),
        (GATE, gate(DATA), (GP, DATA)),
    ],
)
@pytest.mark.parametrize("how", ["jump", "call"])
def test_what_is_no_available_task_faults_in_the_task_that_wants_it(tasks, selector, prepare, expected, how):
    if prepare is not None:
        tasks.put(selector & 0xFFF8, prepare)
    before = tasks.memory.read(OLD, 0x68), tasks.registers()
    assert tasks.fault(getattr(tasks, how)(selector)) == (*expected, 0x7C00)
    assert (tasks.memory.read(OLD, 0x68), tasks.registers()) == before
    assert not tasks.processor.cr(0) & TS
    assert tasks.rights(OLD_TSS) == BUSY_32
    assert tasks.processor.icount == 0


def test_a_ring_3_program_may_use_a_gate_for_ring_3_and_no_tss_of_ring_0(tasks):
    p = tasks.processor

    def ring3():
        p.set_segment(CS, CODE3 | 3, 0, 0xFFFFFFFF, 0xC0FB)
        for number in (SS, DS, ES):
            p.set_segment(number, DATA3 | 3, 0, 0xFFFFFFFF, 0xC0F3)

    ring3()
    assert tasks.fault(tasks.jump(NEW_TSS | 3)) == (GP, NEW_TSS, 0x7C00)
    assert tasks.fault(tasks.jump(GATE)) == (GP, GATE, 0x7C00)
    tasks.put(GATE, gate(NEW_TSS, 0xE5))
    assert tasks.jump(GATE | 3) == ExitKind.HLT
    assert p.cpl == 0


def test_a_current_tss_too_small_to_save_in(tasks):
    tasks.processor.set_segment(TR, OLD_TSS, OLD, 0x5E, BUSY_32)
    assert tasks.fault(tasks.jump(NEW_TSS)) == (T_S, OLD_TSS, 0x7C00)


def paged(tasks, missing=None, readonly=None):
    pages = [i << 12 | 3 for i in range(256)]
    if missing is not None:
        pages[missing >> 12] = 0
    if readonly is not None:
        pages[readonly >> 12] &= ~2
    tasks.write(0x50000, struct.pack("<I", 0x51003))
    tasks.write(0x51000, struct.pack("<256I", *pages))
    tasks.processor.set_cr(3, 0x50000)
    tasks.processor.set_cr(0, 0x80010011)


@pytest.mark.parametrize(
    ("where", "how"), [("old", "missing"), ("new", "missing"), ("gdt", "readonly"), ("old", "readonly")]
)
def test_a_page_that_the_switch_needs_faults_before_anything_changes(tasks, where, how):
    tasks.put(NEW_TSS, descriptor(0x5000, 0x67, AVAILABLE_32))
    page = {"old": OLD & ~0xFFF, "new": 0x5000, "gdt": GDT}[where]
    paged(tasks, **{how: page})
    kind = tasks.call(NEW_TSS)
    vector, error, rip = tasks.fault(kind)
    assert (vector, rip) == (PF, 0x7C00)
    assert error == (3 if how == "readonly" else 2 if where == "old" else 0)
    assert tasks.processor.segment(TR).selector == OLD_TSS
    assert tasks.processor.gpr(EDI) == 0x88888888
    assert tasks.word(OLD + 0x20) == 0


# Faults of the incoming task


@pytest.mark.parametrize(
    ("changes", "prepare", "expected"),
    [
        ({"ldt": 4 | 0x30}, None, (T_S, 0x34)),
        ({"ldt": DATA}, None, (T_S, DATA)),
        ({"ldt": 0x1F8}, None, (T_S, 0x1F8)),
        ({"ldt": OTHER}, descriptor(LDT, 0x3F, 0x02), (T_S, OTHER)),
        ({"ss": 0}, None, (T_S, 0)),
        ({"ss": CODE}, None, (T_S, CODE)),
        ({"ss": DATA | 3}, None, (T_S, DATA)),
        ({"ss": DATA3}, None, (T_S, DATA3)),
        ({"ss": 0x1F8}, None, (T_S, 0x1F8)),
        ({"ss": OTHER}, descriptor(0, 0xFFFFF, 0x13, 0xC), (S_S, OTHER)),
        ({"cs": 0}, None, (T_S, 0)),
        ({"cs": DATA}, None, (T_S, DATA)),
        ({"cs": CODE3}, None, (T_S, CODE3)),
        ({"cs": CODE | 3, "ss": DATA3 | 3}, None, (T_S, CODE)),
        ({"cs": OTHER}, descriptor(0, 0xFFFFF, 0xFF, 0xC), (T_S, OTHER)),  # conforming, of ring 3
        ({"cs": OTHER}, descriptor(0, 0xFFFFF, 0x1B, 0xC), (NP, OTHER)),
        ({"ds": NEW_TSS}, None, (T_S, NEW_TSS)),
        ({"es": OTHER}, descriptor(0, 0xFFFFF, 0x99, 0xC), (T_S, OTHER)),  # execute only
        ({"fs": DATA | 3}, None, (T_S, DATA)),
        ({"gs": OTHER}, descriptor(0, 0xFFFFF, 0x13, 0xC), (NP, OTHER)),
        ({"gs": 0x1F8}, None, (T_S, 0x1F8)),
    ],
)
def test_a_bad_segment_faults_in_the_incoming_task_before_its_first_instruction(
    tasks, changes, prepare, expected
):
    if prepare is not None:
        tasks.put(OTHER, prepare)
    tasks.task(**changes)
    assert tasks.fault(tasks.call(NEW_TSS)) == (*expected, TASK)
    assert tasks.in_new_task()
    assert tasks.processor.rflags & NT
    assert tasks.word(OLD + 0x20) == AFTER
    assert tasks.processor.icount == 1


def test_an_eip_beyond_the_incoming_code_segment(tasks):
    tasks.put(OTHER, descriptor(0, 0xFFF, 0x9B, 4))
    tasks.task(cs=OTHER)
    assert tasks.fault(tasks.jump(NEW_TSS)) == (GP, 0, TASK)
    assert tasks.in_new_task()


def test_the_incoming_tasks_fault_is_delivered_on_a_stack_of_its_own(tasks):
    tasks.processor.intercepts.exceptions = 0
    tasks.processor.update_intercepts()
    tasks.write(IDT + 8 * T_S, struct.pack("<Q", 0xA000 | CODE << 16 | 0x8E << 40))
    tasks.write(0xA000, b"\xf4")
    tasks.task(ss=0)
    tasks.write(NEW + 4, struct.pack("<IH", 0x6800, DATA))  # ESP0, SS0
    assert tasks.jump(NEW_TSS) == ExitKind.HLT
    p = tasks.processor
    assert (p.rip, p.segment(SS).selector, p.gpr(ESP)) == (0xA000, DATA, 0x6800 - 24)
    assert [tasks.word(0x6800 - 24 + 4 * i) for i in range(6)] == [0, TASK, CODE, 0x10002, 0x8000, 0]


# The debug trap


def test_a_tss_with_its_t_bit_traps_before_the_first_instruction(tasks):
    tasks.task(trap=1)
    assert tasks.fault(tasks.jump(NEW_TSS)) == (DB, None, TASK)
    assert tasks.processor.dr(6) & 0x8000
    assert tasks.in_new_task()


def test_single_stepping_begins_with_the_incoming_task(tasks):
    tasks.task(eflags=TF | 2)
    tasks.write(TASK, b"\x90\xf4")
    assert tasks.fault(tasks.jump(NEW_TSS)) == (DB, None, TASK + 1)
    tasks = Tasks()
    tasks.processor.rflags = TF | 2
    assert tasks.jump(NEW_TSS) == ExitKind.HLT  # the old task's TF is gone


# IRET


@pytest.mark.parametrize(
    ("link", "prepare", "expected"),
    [
        (0, None, (T_S, 0)),
        (4 | OLD_TSS, None, (T_S, OLD_TSS | 4)),
        (0x1F8, None, (T_S, 0x1F8)),
        (DATA, None, (T_S, DATA)),
        (OTHER, descriptor(OLD, 0x67, AVAILABLE_32), (T_S, OTHER)),  # not busy
        (OTHER, descriptor(OLD, 0x67, 0x0B), (NP, OTHER)),
        (OTHER, descriptor(OLD, 0x20, BUSY_32), (T_S, OTHER)),
    ],
)
def test_iret_to_what_is_no_busy_task(tasks, link, prepare, expected):
    if prepare is not None:
        tasks.put(OTHER, prepare)
    tasks.write(OLD, struct.pack("<H", link))
    tasks.processor.rflags = NT | 2
    assert tasks.fault(tasks.run(b"\xcf")) == (*expected, 0x7C00)
    assert tasks.processor.rflags & NT


def test_iret_to_a_task_with_a_bad_segment_faults_there(tasks):
    tasks.put(NEW_TSS, descriptor(NEW, 0x67, BUSY_32))
    tasks.write(OLD, struct.pack("<H", NEW_TSS))
    tasks.task(ds=0x1F8)
    tasks.processor.rflags = NT | 2
    assert tasks.fault(tasks.run(b"\xcf")) == (T_S, 0x1F8, TASK)
    assert tasks.in_new_task()
    assert not tasks.word(OLD + 0x24) & NT
    assert tasks.rights(OLD_TSS) == AVAILABLE_32


# Task gates in the IDT


def test_an_interrupt_through_a_task_gate_and_back(tasks):
    tasks.write(IDT + 8 * 0x30, struct.pack("<Q", gate(NEW_TSS)))
    tasks.write(TASK, b"\xcf")
    tasks.processor.rflags = IF | 2
    tasks.processor.inject(0, 0x30)
    assert tasks.run(b"\x40\xf4") == ExitKind.HLT
    assert (tasks.processor.rip, tasks.processor.gpr(EAX)) == (0x7C01, 0x11111112)
    assert tasks.processor.rflags & IF
    assert tasks.processor.icount == 2


def test_a_software_interrupt_saves_the_next_instruction(tasks):
    tasks.write(IDT + 8 * 0x30, struct.pack("<Q", gate(NEW_TSS)))
    assert tasks.run(b"\xcd\x30\xf4") == ExitKind.HLT
    assert tasks.word(OLD + 0x20) == 0x7C02
    assert tasks.processor.rip == TASK
    assert tasks.processor.icount == 1


@pytest.mark.parametrize(("wide", "size"), [(True, 4), (False, 2)])
def test_an_error_code_is_pushed_on_the_incoming_stack(wide, size):
    tasks = Tasks(wide_new=wide)
    tasks.processor.intercepts.exceptions = 0
    tasks.processor.update_intercepts()
    tasks.write(IDT + 8 * GP, struct.pack("<Q", gate(NEW_TSS)))
    tasks.write(0x7FF0, b"\xee" * 16)
    if not wide:  # ESP's upper half is ones
        tasks.put(OTHER, descriptor(0, 0xFFFF, 0x93))
        tasks.task(ss=OTHER)
    assert tasks.run(bytes.fromhex("b8f8010000 8ed8")) == ExitKind.HLT  # MOV DS, 1F8h
    assert tasks.word(OLD + 0x20) == 0x7C05
    assert tasks.processor.gpr(ESP) & 0xFFFF == 0x8000 - size
    assert tasks.word(0x8000 - size, size) == 0x1F8
    assert tasks.word(0x8000 - 8, 4) == 0xEEEEEEEE


def test_no_room_for_the_error_code_is_the_incoming_tasks_stack_fault(tasks):
    tasks.put(OTHER, descriptor(0, 0x1000, 0x93, 4))
    tasks.task(ss=OTHER)
    tasks.write(IDT + 8 * GP, struct.pack("<Q", gate(NEW_TSS)))
    tasks.processor.intercepts.exceptions = 1 << S_S
    tasks.processor.update_intercepts()
    tasks.processor.inject(3, GP, 0x48)
    assert tasks.fault(tasks.run(b"\x90")) == (S_S, 0, TASK)
    assert tasks.in_new_task()


@pytest.mark.parametrize(
    ("selector", "prepare", "expected"),
    [
        (0, None, (GP, 1)),
        (OLD_TSS, None, (GP, OLD_TSS | 1)),
        (NEW_TSS, descriptor(NEW, 0x67, 0x09), (NP, NEW_TSS | 1)),
        (NEW_TSS, descriptor(NEW, 0x10, AVAILABLE_32), (T_S, NEW_TSS | 1)),
    ],
)
def test_a_bad_task_gate_in_the_idt_tells_that_the_event_was_external(tasks, selector, prepare, expected):
    if prepare is not None:
        tasks.put(selector, prepare)
    tasks.write(IDT + 8 * 0x30, struct.pack("<Q", gate(selector)))
    tasks.processor.inject(0, 0x30)
    assert tasks.fault(tasks.run(b"\x90")) == (*expected, 0x7C00)
    tasks.processor.rip = 0x7C00
    assert tasks.fault(tasks.run(b"\xcd\x30")) == (expected[0], expected[1] & ~1, 0x7C00)


def test_a_double_fault_task_starts_with_a_broken_stack(tasks):
    tasks.processor.intercepts.exceptions = 0
    tasks.processor.update_intercepts()
    tasks.write(IDT + 8 * DF, struct.pack("<Q", gate(NEW_TSS)))
    tasks.processor.set_segment(SS, DATA, 0, 0, 0x4093)
    assert tasks.run(b"\x50") == ExitKind.HLT  # PUSH: #SS, which has no gate: #NP, so #DF
    assert tasks.in_new_task()
    assert tasks.word(0x8000 - 4) == 0


# Stopping for a backend


@pytest.fixture
def watched(tasks):
    tasks.processor.intercepts.task_switch = True
    tasks.processor.update_intercepts()
    return tasks


@pytest.mark.parametrize(
    ("code", "length", "source"),
    [
        (b"\xea" + struct.pack("<IH", 0, NEW_TSS), 7, TaskSource.JMP),
        (b"\x9a" + struct.pack("<IH", 0, GATE), 7, TaskSource.CALL),
    ],
)
def test_the_facts_of_a_stop_and_carrying_it_out(watched, code, length, source):
    assert watched.run(code) == ExitKind.TASK_SWITCH
    p, info = watched.processor, watched.processor.exit
    assert (info.number, info.source, info.instruction_length) == (NEW_TSS, source, length)
    assert (p.rip, info.next_rip, info.vectoring) == (0x7C00, 0x7C00 + length, False)
    assert p.segment(TR).selector == OLD_TSS
    assert p.task_switch(info.number, info.source, info.next_rip)
    assert watched.run() == ExitKind.HLT
    assert (p.rip, watched.word(OLD + 0x20), p.icount) == (TASK, 0x7C00 + length, 1)


def test_the_facts_of_iret(watched):
    watched.put(NEW_TSS, descriptor(NEW, 0x67, BUSY_32))
    watched.write(OLD, struct.pack("<H", NEW_TSS))
    watched.processor.rflags = NT | 2
    assert watched.run(b"\x66\xcf") == ExitKind.TASK_SWITCH
    info = watched.processor.exit
    assert (info.number, info.source, info.instruction_length) == (NEW_TSS, TaskSource.IRET, 2)
    assert watched.processor.task_switch(NEW_TSS, TaskSource.IRET, info.next_rip)
    assert watched.run() == ExitKind.HLT
    assert watched.in_new_task()


def test_the_facts_of_a_gate_in_the_idt(watched):
    watched.write(IDT + 8 * 0x30, struct.pack("<Q", gate(NEW_TSS)))
    assert watched.run(b"\xcd\x30") == ExitKind.TASK_SWITCH
    info = watched.processor.exit
    assert (info.number, info.source, info.vectoring) == (NEW_TSS, TaskSource.GATE, True)
    assert (info.vectoring_kind, info.vectoring_vector, info.instruction_length) == (4, 0x30, 2)
    assert info.next_rip == 0x7C02
    watched.processor.inject(3, GP, 0x55)
    watched.write(IDT + 8 * GP, struct.pack("<Q", gate(NEW_TSS)))
    watched.processor.intercepts.exceptions = 0
    watched.processor.update_intercepts()
    assert watched.run() == ExitKind.TASK_SWITCH
    assert (info.vectoring_kind, info.vectoring_vector, info.vectoring_error_code) == (3, GP, 0x55)
    assert (info.instruction_length, info.next_rip) == (0, 0x7C00)
    assert watched.processor.task_switch(NEW_TSS, TaskSource.GATE, info.next_rip, True, 0x55)
    assert watched.run() == ExitKind.HLT
    assert watched.word(0x7FFC) == 0x55


def test_what_is_no_task_faults_and_does_not_stop(watched):
    watched.put(NEW_TSS, descriptor(NEW, 0x10, AVAILABLE_32))
    assert watched.fault(watched.jump(NEW_TSS)) == (T_S, NEW_TSS, 0x7C00)


def test_a_switch_that_a_backend_carries_out_can_still_fault(watched):
    assert watched.jump(NEW_TSS) == ExitKind.TASK_SWITCH
    paged(watched, missing=OLD & ~0xFFF)
    watched.processor.set_segment(TR, OLD_TSS, OLD, 0x67, BUSY_32)
    info = watched.processor.exit
    watched.put(NEW_TSS, descriptor(0x5000, 0x67, AVAILABLE_32))
    assert watched.processor.task_switch(NEW_TSS, info.source, info.next_rip)
    assert watched.fault(watched.run())[::2] == (PF, 0x7C00)
    assert watched.processor.icount == 0


def test_a_tss_in_no_memory_is_told(watched):
    assert watched.jump(NEW_TSS) == ExitKind.TASK_SWITCH
    watched.put(NEW_TSS, descriptor(0xB0000, 0x67, AVAILABLE_32))
    assert not watched.processor.task_switch(NEW_TSS, TaskSource.JMP, AFTER)
    assert watched.processor.rip == 0x7C00


# Tasks in virtual-8086 mode (SDM vol. 3 §21.2.5)

VM = 1 << 17


@pytest.fixture
def virtual(tasks):
    """The incoming task is a program at 2000:0010; its code is for the test to put there."""
    tasks.task(
        eflags=VM | IF | 2, cs=0x2000, eip=0x10, ss=0x3000, esp=0xFFF0, ds=0x2100, es=0x2200, fs=0x2300, gs=0
    )
    tasks.write(0x20010, bytes.fromhex("a10000 0f0b"))
    tasks.write(0x21000, b"\x34\x12")
    return tasks


@pytest.mark.parametrize("how", ["jump", "call"])
def test_a_task_in_virtual_8086_mode_starts(virtual, how):
    p = virtual.processor
    assert virtual.fault(getattr(virtual, how)(NEW_TSS)) == (6, None, 0x13)
    assert p.gpr(EAX) & 0xFFFF == 0x1234
    assert p.cpl == 3
    assert p.rflags & (VM | IF | NT) == VM | IF | (NT if how == "call" else 0)
    assert p.segment(CS) == (0x2000, 0x20000, 0xFFFF, 0xF3)
    assert p.segment(GS) == (0, 0, 0xFFFF, 0xF3)


def test_its_ldt_is_still_checked(virtual):
    virtual.task(eflags=VM | 2, cs=0x2000, eip=0x10, ldt=DATA)
    assert virtual.fault(virtual.jump(NEW_TSS)) == (T_S, DATA, 0x10)


def test_an_event_through_a_task_gate_leaves_the_mode_and_iret_returns_to_it(virtual):
    p = virtual.processor
    assert virtual.fault(virtual.jump(NEW_TSS)) == (6, None, 0x13)
    virtual.task(OLD, eip=TASK, cs=CODE, ss=DATA, ds=DATA, es=DATA, fs=0, esp=0x8000)
    virtual.write(TASK, b"\xcf\xf4")
    virtual.write(IDT + 6 * 8, struct.pack("<Q", gate(OLD_TSS)))
    p.intercepts.exceptions = 1 << 3
    p.update_intercepts()
    virtual.write(0x20013, bytes.fromhex("0f0b"))
    virtual.write(TASK, b"\xcc")
    assert virtual.fault(virtual.run()) == (3, None, TASK)
    assert (p.cpl, p.rflags & VM, p.segment(CS).selector) == (0, 0, CODE)
    assert virtual.word(NEW + 0x24) & VM
    assert virtual.word(NEW + 0x48, 2) == 0x2200
    virtual.write(0x20013, bytes.fromhex("cc"))
    virtual.write(TASK, b"\xcf")
    assert virtual.fault(virtual.run()) == (3, None, 0x13)
    assert (p.cpl, p.rflags & VM, p.segment(DS).base) == (3, VM, 0x21000)
