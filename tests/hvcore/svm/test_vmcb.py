"""Offsets of every VMCB field against APM vol. 2 appendix B, and how the cached save area behaves."""

from hvcore.svm.backend import SvmBackend
from hvcore.svm.vmcb import (
    CACHED,
    Cached,
    Control,
    Field,
    Save,
    Vmcb,
    pack_attributes,
    segment_fields,
    unpack_attributes,
)
from tests.hvcore.fake_processor import FakeProcessor

CONTROL_AREA = {
    "INTERCEPT_CR": (0x000, 4),
    "INTERCEPT_DR": (0x004, 4),
    "INTERCEPT_EXCEPTION": (0x008, 4),
    "INTERCEPT_3": (0x00C, 4),
    "INTERCEPT_4": (0x010, 4),
    "INTERCEPT_5": (0x014, 4),
    "PAUSE_FILTER_THRESHOLD": (0x03C, 2),
    "PAUSE_FILTER_COUNT": (0x03E, 2),
    "IOPM_BASE_PA": (0x040, 8),
    "MSRPM_BASE_PA": (0x048, 8),
    "TSC_OFFSET": (0x050, 8),
    "GUEST_ASID": (0x058, 4),
    "TLB_CONTROL": (0x05C, 1),
    "VINTR": (0x060, 8),
    "INTERRUPT_SHADOW": (0x068, 8),
    "EXITCODE": (0x070, 8),
    "EXITINFO1": (0x078, 8),
    "EXITINFO2": (0x080, 8),
    "EXITINTINFO": (0x088, 8),
    "NP_ENABLE": (0x090, 8),
    "AVIC_APIC_BAR": (0x098, 8),
    "GHCB_GPA": (0x0A0, 8),
    "EVENTINJ": (0x0A8, 8),
    "N_CR3": (0x0B0, 8),
    "LBR_VIRTUALIZATION": (0x0B8, 8),
    "CLEAN": (0x0C0, 4),
    "NRIP": (0x0C8, 8),
    "FETCHED": (0x0D0, 1),
    "INSTRUCTION_BYTES": (0x0D1, 15),
    "AVIC_BACKING_PAGE": (0x0E0, 8),
    "AVIC_LOGICAL_TABLE": (0x0F0, 8),
    "AVIC_PHYSICAL_TABLE": (0x0F8, 8),
    "VMSA_POINTER": (0x108, 8),
}
SAVE_AREA = {
    "ES": 0x400,
    "CS": 0x410,
    "SS": 0x420,
    "DS": 0x430,
    "FS": 0x440,
    "GS": 0x450,
    "GDTR": 0x460,
    "LDTR": 0x470,
    "IDTR": 0x480,
    "TR": 0x490,
    "CPL": (0x4CB, 1),
    "EFER": (0x4D0, 8),
    "CR4": (0x548, 8),
    "CR3": (0x550, 8),
    "CR0": (0x558, 8),
    "DR7": (0x560, 8),
    "DR6": (0x568, 8),
    "RFLAGS": (0x570, 8),
    "RIP": (0x578, 8),
    "RSP": (0x5D8, 8),
    "S_CET": (0x5E0, 8),
    "SSP": (0x5E8, 8),
    "ISST_ADDR": (0x5F0, 8),
    "RAX": (0x5F8, 8),
    "STAR": (0x600, 8),
    "LSTAR": (0x608, 8),
    "CSTAR": (0x610, 8),
    "SFMASK": (0x618, 8),
    "KERNEL_GS_BASE": (0x620, 8),
    "SYSENTER_CS": (0x628, 8),
    "SYSENTER_ESP": (0x630, 8),
    "SYSENTER_EIP": (0x638, 8),
    "CR2": (0x640, 8),
    "G_PAT": (0x668, 8),
    "DBGCTL": (0x670, 8),
    "BR_FROM": (0x678, 8),
    "BR_TO": (0x680, 8),
    "LAST_EXCEPTION_FROM": (0x688, 8),
    "LAST_EXCEPTION_TO": (0x690, 8),
    "SPEC_CTRL": (0x6E0, 8),
}


def named(owner):
    return {name: value for name, value in vars(owner).items() if name.isupper()}


def test_every_control_field_lies_where_the_manual_puts_it():
    assert named(Control) == CONTROL_AREA


def test_every_save_field_lies_where_the_manual_puts_it():
    assert named(Save) == SAVE_AREA


def test_a_segment_is_selector_attributes_limit_base():
    assert segment_fields(Save.CS) == ((0x410, 2), (0x412, 2), (0x414, 4), (0x418, 8))


def test_a_block_is_4096_little_endian_bytes():
    cached = {field.offset: Cached(lambda: 0, lambda _: None) for field in CACHED}
    vmcb = Vmcb(cached)
    vmcb.write(Control.EXITCODE, 0x0102_0304_0506_0708)
    vmcb.write(Save.CPL, 3)
    data = vmcb.bytes()
    assert len(data) == 4096
    assert data[0x70:0x78] == bytes([8, 7, 6, 5, 4, 3, 2, 1])
    assert data[0x4CB] == 3


def test_attributes_keep_the_descriptors_bits_and_lose_the_limits():
    assert pack_attributes(0xC09B) == 0xC9B
    assert pack_attributes(0x1_0093) == 0x13  # unusable is not present
    assert unpack_attributes(0xC9B) == 0xC09B
    assert unpack_attributes(0x013) == 0x1_0013


def test_the_processor_is_the_truth_while_the_block_is_in_use():
    cpu = FakeProcessor()
    backend = SvmBackend(cpu)
    assert backend.vmcb.read(Save.RIP) == 0xFFF0
    backend.vmcb.load()
    cpu.rip = 0x1234
    cpu.registers[0] = 0xAA
    assert backend.vmcb.read(Save.RIP) == 0x1234
    assert backend.vmcb.data[0x578:0x57A] == b"\xf0\xff"
    backend.vmcb.write(Save.RAX, 0xBB)
    assert cpu.registers[0] == 0xBB
    assert backend.vmcb.bytes()[0x578:0x57A] == b"\x34\x12"


def test_the_power_on_state_stands_in_the_block():
    data = SvmBackend(FakeProcessor()).vmcb.bytes()
    assert data[0x410:0x420] == bytes.fromhex("00f0 9b00 ffff0000 0000ffff00000000")  # CS
    assert data[0x420:0x430] == bytes.fromhex("0000 9300 ffff0000 0000000000000000")  # SS
    assert data[0x4D0:0x4D8] == bytes.fromhex("0010000000000000")  # EFER.SVME
    assert data[0x558:0x560] == bytes.fromhex("1000006000000000")  # CR0
    assert data[0x00C:0x014] == bytes.fromhex("03004499 7f020000")  # intercept words 3 and 4
    assert data[0x040:0x05C] == bytes.fromhex("0010000000000000 0040000000000000 0000000000000000 01000000")
    assert Field(0x4D0, 8) == Save.EFER
