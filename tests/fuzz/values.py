"""Values that are likely to be wrong, messages made of them, and what to write into shared pages."""

import random
from typing import Any

import msgspec

from ioreq import VERSION

EDGES = (0, 1, 2, 3, 7, 8, 0xFF, 0x100, 0xFFF, 0x1000, 0xFFFF, 0x10000, 0xA0000, 0xFFFFF, 0x100000)
LARGE = (
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 52),
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    1 << 64,
)
STATE_BYTE = 30  # of an ioreq slot


def number(dice: random.Random) -> int:
    """Return an integer that somebody may not have thought of."""
    match dice.randrange(6):
        case 0 | 1:
            return dice.choice(EDGES)
        case 2:
            return dice.choice(LARGE)
        case 3:
            return dice.choice(EDGES + LARGE) + dice.randrange(-2, 3)
        case 4:
            return dice.getrandbits(dice.randrange(1, 64))
        case _:
            return dice.randrange(1 << 16)


def anything(dice: random.Random, depth: int = 0) -> Any:
    """Return any JSON value."""
    match dice.randrange(10):
        case 0:
            return None
        case 1:
            return dice.random() < 0.5
        case 2:
            return "".join(chr(dice.randrange(1, 0x300)) for _ in range(dice.randrange(20)))
        case 3 if depth < 3:
            return [anything(dice, depth + 1) for _ in range(dice.randrange(4))]
        case 4 if depth < 3:
            return {str(n): anything(dice, depth + 1) for n in range(dice.randrange(4))}
        case 5:
            return dice.random() * 1e300
        case _:
            return number(dice)


def field(dice: random.Random, type_: Any, *, spoil: float) -> Any:
    """Return a value for a field of a message, with probability `spoil` one that it should not have."""
    if dice.random() < spoil:
        return anything(dice)
    kind = msgspec.inspect.type_info(type_)
    return _valid(dice, kind)


def _valid(dice: random.Random, kind: Any) -> Any:
    match kind:
        case msgspec.inspect.LiteralType():
            return dice.choice(kind.values)
        case msgspec.inspect.BoolType():
            return dice.random() < 0.5
        case msgspec.inspect.IntType():
            low = kind.ge if kind.ge is not None else -(1 << 31)
            high = kind.le if kind.le is not None else (kind.lt - 1 if kind.lt is not None else (1 << 63) - 1)
            return min(max(number(dice), low), high)
        case msgspec.inspect.StrType():
            return "".join(dice.choice("ab\x1b\u202e \n") for _ in range(dice.randrange(8)))
        case msgspec.inspect.ListType():
            return [_valid(dice, kind.item_type) for _ in range(dice.randrange(4))]
        case msgspec.inspect.DictType():
            return {f"k{n}": number(dice) & 0xFFFF for n in range(dice.randrange(3))}
        case msgspec.inspect.StructType():
            return {f.encode_name: _valid(dice, f.type) for f in kind.fields}
        case msgspec.inspect.UnionType():
            return _valid(dice, dice.choice(kind.types))
        case _:
            return None


def message(
    dice: random.Random, kinds: list[type[msgspec.Struct]], serial: int, *, spoil: float = 0.02
) -> bytes:
    """Return one of `kinds` as it goes over the socket, perhaps with something wrong in it."""
    kind = dice.choice(kinds)
    config = kind.__struct_config__
    said: dict[str, Any] = {str(config.tag_field): config.tag}
    for each in msgspec.structs.fields(kind):
        if each.name != "serial" and (each.required or dice.random() < 0.7):
            said[each.encode_name] = field(dice, each.type, spoil=spoil)
    if "version" in said and dice.random() < 0.9:
        said["version"] = VERSION
    said["serial"] = serial
    if dice.random() < spoil:
        said[dice.choice(["x", "op", "said", "id"])] = anything(dice)
    return mangled(dice, msgspec.json.encode(said), spoil)


def mangled(dice: random.Random, data: bytes, spoil: float) -> bytes:
    """Return data, now and then with bytes changed, cut off, repeated or nested."""
    if dice.random() >= spoil:
        return data
    match dice.randrange(5):
        case 0:
            at = dice.randrange(len(data))
            return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]
        case 1:
            return data[: dice.randrange(1, len(data) + 1)]
        case 2:
            return data * dice.randrange(2, 4)
        case 3:
            deep = dice.choice((10, 500, 2000, 30000))
            return data[:-1] + b',"x":' + b"[" * deep + b"]" * deep + b"}"
        case _:
            return dice.randbytes(dice.choice((1, 100, 4096, 65536)))


def scribble(dice: random.Random, page: Any, *, words: int = 1) -> None:
    """Write into a shared page what nobody should, mostly where it matters."""
    for _ in range(words):
        at = (
            dice.choice((0, 4, 8, 24, 0x800, 0x804, 0x808))
            if dice.random() < 0.5
            else dice.randrange(512) * 8
        )
        match dice.randrange(4):
            case 0:
                page[STATE_BYTE] = dice.choice((0, 1, 2, 3, 4, 15, 0x10, 0x21, 0x23, 0x33, 0x73, 0xFF))
            case 1:
                page[at : at + 4] = (number(dice) & 0xFFFF_FFFF).to_bytes(4, "little")
            case 2:
                page[at : at + 8] = (number(dice) & (1 << 64) - 1).to_bytes(8, "little")
            case _:
                page[at : at + 4] = dice.randrange(1200).to_bytes(4, "little")
