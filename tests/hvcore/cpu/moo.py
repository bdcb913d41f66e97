"""Reader for the instruction vectors captured from silicon (MOO files, as their README describes them).

They are data of the SingleStepTests project and are not kept here: the tests take them from the folder that
DEVMODEL_VECTORS names, else from `../shared/vectors` beside the checkout.
"""

import gzip
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

REGISTERS = ["ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags"]


class Snapshot(NamedTuple):
    """Registers and memory bytes, before (all of them) or after (what changed)."""

    registers: dict[str, int]
    ram: list[tuple[int, int]]


class Vector(NamedTuple):
    """One instruction, before and after."""

    index: int
    name: str
    code: bytes
    initial: Snapshot
    final: Snapshot
    exception: int | None


def folder() -> Path | None:
    """Where the vectors are, or None."""
    for candidate in (os.environ.get("DEVMODEL_VECTORS"), Path(__file__).parents[4] / "shared" / "vectors"):
        if candidate and (Path(candidate) / "index.json").exists():
            return Path(candidate)
    return None


def forms() -> list[tuple[str, dict[str, Any]]]:
    """Every (pack, form) of the index."""
    where = folder()
    if where is None:
        return []
    index = json.loads((where / "index.json").read_text())
    return [(pack, form) for pack, rows in index["packs"].items() for form in rows]


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Tag and payload of the chunks in a payload."""
    at = 0
    while at + 8 <= len(data):
        tag, length = struct.unpack_from("<4sI", data, at)
        yield tag, data[at + 8 : at + 8 + length]
        at += 8 + length


def snapshot(data: bytes) -> Snapshot:
    """An INIT or FINA chunk."""
    registers: dict[str, int] = {}
    ram: list[tuple[int, int]] = []
    for tag, payload in chunks(data):
        if tag == b"REGS":
            (mask,) = struct.unpack_from("<H", payload)
            values = iter(struct.unpack_from(f"<{mask.bit_count()}H", payload, 2))
            registers = {name: next(values) for bit, name in enumerate(REGISTERS) if mask >> bit & 1}
        elif tag == b"RAM ":
            (count,) = struct.unpack_from("<I", payload)
            ram = [struct.unpack_from("<IB", payload, 4 + 5 * i) for i in range(count)]
    return Snapshot(registers, ram)


def pack(name: str) -> dict[str, list[Vector]]:
    """The vectors of a pack, by form."""
    where = folder()
    assert where is not None
    found: dict[str, list[Vector]] = {}
    vectors: list[Vector] = []
    for tag, payload in chunks(gzip.decompress((where / name).read_bytes())):
        if tag == b"FORM":
            vectors = found.setdefault(payload.decode(), [])
        elif tag == b"TEST":
            (index,) = struct.unpack_from("<I", payload)
            parts = dict(chunks(payload[4:]))
            exception = parts[b"EXCP"][0] if b"EXCP" in parts else None
            vectors.append(
                Vector(
                    index,
                    parts[b"NAME"][4:].decode(),
                    parts[b"BYTS"][4:],
                    snapshot(parts[b"INIT"]),
                    snapshot(parts[b"FINA"]),
                    exception,
                )
            )
    return found
