"""The ACPI tables: their layout (ACPI specification 1.0b), what ACPICA makes of them, and how firmware places them."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from devmodel.devices import acpi_tables, aml, smbios
from devmodel.devices.acpi_tables import LOADER, RSDP, TABLES, Hardware

FULL = Hardware(below_4g=64 << 20, serial=[(0x3F8, 4), (0x2F8, 3)], parallel=True, hpet=True)
AT = {RSDP: 0xF_0000, TABLES: 0xF_0040}


def table(blob: bytes, address: int, at: int = AT[TABLES]) -> bytes:
    """Return the table at an address."""
    start = address - at
    return blob[start : start + int.from_bytes(blob[start + 4 : start + 8], "little")]


def found(hardware: Hardware) -> dict[str, bytes]:
    """Return the tables as a system finds them, by their signatures, from the RSDP on."""
    placed = acpi_tables.make(hardware).placed(AT)
    rsdp, blob = placed[RSDP], placed[TABLES]
    assert (rsdp[:8], len(rsdp), sum(rsdp) & 0xFF, rsdp[15]) == (b"RSD PTR ", 20, 0, 0)
    rsdt = table(blob, struct.unpack_from("<I", rsdp, 16)[0])
    tables = [rsdt]
    tables += [table(blob, address) for address in struct.unpack(f"<{len(rsdt) // 4 - 9}I", rsdt[36:])]
    fadt = next(t for t in tables if t[:4] == b"FACP")
    facs, dsdt = struct.unpack_from("<II", fadt, 36)
    tables.append(table(blob, dsdt))
    assert all(sum(t) & 0xFF == 0 for t in tables)
    assert facs % 64 == 0
    return {t[:4].decode(): t for t in (*tables, table(blob, facs))}


def test_a_system_finds_every_table_from_the_root_pointer_on() -> None:
    assert {name: len(t) for name, t in found(FULL).items() if name != "DSDT"} == {
        "RSDT": 44, "FACP": 116, "HPET": 56, "FACS": 64,
    }  # fmt: skip
    assert "HPET" not in found(Hardware(below_4g=64 << 20))


def test_what_is_not_on_the_board_is_not_in_the_tables() -> None:
    bare = found(Hardware(below_4g=64 << 20, floppy=False))["DSDT"]
    full = found(FULL)["DSDT"]
    for name in (b"FDC0", b"COM1", b"LPT1", b"HPET"):
        assert (name in bare, name in full) == (False, True)


def test_the_fixed_table_says_where_the_piix4_has_its_registers() -> None:
    """ACPI 1.0b, 5.2.5: offsets of SCI_INT, SMI_CMD, PM1a_EVT, PM1a_CNT, PM_TMR, GPE0, their lengths, flags."""
    fadt = found(FULL)["FACP"]
    assert fadt[8] == 1
    assert struct.unpack_from("<HIBB", fadt, 46) == (9, 0xB2, 0xF1, 0xF0)
    assert struct.unpack_from("<8I", fadt, 56) == (0x600, 0, 0x604, 0, 0, 0x608, 0x60C, 0)
    assert tuple(fadt[88:96]) == (4, 2, 0, 4, 4, 0, 0, 0)
    assert fadt[108] == 0x32
    (flags,) = struct.unpack_from("<I", fadt, 112)
    assert not flags & 1 << 4  # the power button is a fixed one
    assert not flags & 1 << 8  # the timer has 24 bits


@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl of acpica-tools reads the tables")
def test_acpica_reads_the_tables_and_makes_them_again_without_a_warning(tmp_path: Path) -> None:
    for name, data in found(FULL).items():
        (tmp_path / f"{name}.aml").write_bytes(data)
    for name in ("DSDT", "FACP", "HPET", "RSDT", "FACS"):
        said = subprocess.run(
            ["iasl", "-d", f"{name}.aml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert not re.search(r"\b(error|warning)\b", said.stdout + said.stderr, re.IGNORECASE), said.stderr
    again = subprocess.run(
        ["iasl", "-p", "again", "DSDT.dsl"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "0 Errors, 0 Warnings, 0 Remarks" in again.stdout + again.stderr
    source = (tmp_path / "DSDT.dsl").read_text()
    for name in ("LNKA", "LNKD", "FDC0", "COM1", "COM2", "LPT1", "KBD", "MOU", "RTC", "HPET", "_S5", "_PRT"):
        assert name in source
    # SeaBIOS's parser looks for devices, and gives up on one with such a term outside of its methods.
    lines = source.splitlines()
    fields = [number for number, line in enumerate(lines) if "CreateDWordField" in line]
    assert len(fields) == 8
    for number in fields:
        indents = [
            (len(line) - len(line.lstrip()), line) for line in lines[: number + 1] if line.strip(" {}")
        ]
        around = next(line for indent, line in reversed(indents) if indent < indents[-1][0])
        assert "Method" in around


def test_lengths_of_packages_have_one_to_four_bytes() -> None:
    """ACPI 2.0, 17.2.4: up to 3Fh in one byte; four bits in the first, eight in each that follows."""
    for size, lead in ((0x3E, b"\x3f"), (0x3F, b"\x41\x04"), (0xFFD, b"\x4f\xff"), (0xFFE, b"\x81\x00\x01")):
        assert aml.else_(bytes(size))[1 : 1 + len(lead)] == lead
    assert aml.else_(bytes(0xF_FFFC))[1:4] == b"\x8f\xff\xff"
    assert aml.else_(bytes(0xF_FFFD))[1:5] == b"\xc1\x00\x00\x01"
    with pytest.raises(ValueError, match="too many"):
        aml.else_(bytes(1 << 28))


def test_names_and_numbers_are_coded_as_the_specification_has_them() -> None:
    r"""ACPI 2.0, 17.2.2 and 17.2.3; EISA identifiers: PNP0A03 is 030AD041h."""
    assert aml.path("\\") == b"\\\0"
    assert aml.path("\\_SB") == b"\\_SB_"
    assert aml.path("^A.B") == b"^\x2eA___B___"
    assert aml.path("A.B.C") == b"\x2f\x03A___B___C___"
    assert [aml.integer(value) for value in (0, 1, 2, 0x100, 0x1_0000)] == [
        b"\0", b"\1", b"\x0a\2", b"\x0b\0\1", b"\x0c\0\0\1\0",
    ]  # fmt: skip
    assert aml.eisa_id("PNP0A03") == b"\x0c\x41\xd0\x0a\x03"


def test_a_loader_of_firmware_comes_to_the_same_tables() -> None:
    """QEMU's bios-linker-loader: allocate, add pointer, add checksum; entries of 128 bytes."""
    tables = acpi_tables.make(FULL)
    commands = tables.loader()
    files: dict[str, bytearray] = {}
    at = {RSDP: 0xF_5000, TABLES: 0x3FE_0040}
    for start in range(0, len(commands), 128):
        entry = commands[start : start + 128]
        name = entry[4:60].rstrip(b"\0").decode()
        match int.from_bytes(entry[:4], "little"):
            case 1:
                align, zone = struct.unpack_from("<IB", entry, 60)
                assert (at[name] % align, zone) == (0, 2 if name == RSDP else 1)
                files[name] = bytearray(tables.files[name])
            case 2:
                target = entry[60:116].rstrip(b"\0").decode()
                offset, size = struct.unpack_from("<IB", entry, 116)
                old = int.from_bytes(files[name][offset : offset + size], "little")
                files[name][offset : offset + size] = (old + at[target]).to_bytes(size, "little")
            case 3:
                offset, first, length = struct.unpack_from("<III", entry, 60)
                files[name][offset] = -sum(files[name][first : first + length]) & 0xFF
            case command:
                pytest.fail(f"command {command}")
    assert files == tables.placed(at)
    assert LOADER == "etc/table-loader"


def test_smbios_structures_are_found_from_their_anchor() -> None:
    """DSP0134 2.4, 5.2.1: both checksums, length and number; each structure ends with two zeros."""
    files = smbios.make([(0, 0x9FC00), (1 << 20, 0x7FFF << 20)], cpus=1)
    anchor = smbios.placed(files, 0xF_1000)
    data = files[smbios.STRUCTURES]
    assert (anchor[:4], anchor[16:21], len(anchor)) == (b"_SM_", b"_DMI_", 31)
    assert (sum(anchor) & 0xFF, sum(anchor[16:]) & 0xFF) == (0, 0)
    length, address, count = struct.unpack_from("<HIH", anchor, 22)
    assert (length, address) == (len(data), 0xF_1000)
    types, start, largest = [], 0, 0
    while start < len(data):
        types.append(data[start])
        end = data.index(b"\0\0", start + data[start + 1]) + 2
        largest, start = max(largest, end - start), end
    assert types == [1, 3, 4, 16, 17, 17, 19, 19, 32, 127]
    assert count == len(types)
    assert int.from_bytes(anchor[8:10], "little") == largest
