"""docs/wire.md says of every message what the code says."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from ioreq import VERSION, layout
from ioreq.buffered import encode
from ioreq.messages import DomainInfo, Event, Hello, Op, Reply

TEXT = (Path(__file__).parents[2] / "docs" / "wire.md").read_text()
DOMAIN_SOCKET = TEXT[TEXT.index("### Ops of a device model") : TEXT.index("## 2. The pages")]
OPS = {
    int(row[0]): row
    for row in re.findall(r"^\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", DOMAIN_SOCKET, re.MULTILINE)
    if row[0].strip().isdigit()
}


def fields(kind: type[msgspec.Struct]) -> set[str]:
    """Its own fields; `serial` is every op's and described once."""
    return {field.encode_name for field in msgspec.structs.fields(kind)} - {"serial"}


def named(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("kind", [Hello, *get_args(Op)], ids=lambda kind: kind.__name__)
def test_every_op_is_in_the_table_with_its_fields(kind):
    row = OPS[kind.__struct_config__.tag]
    assert row[1].strip().replace("_", "").startswith(kind.__name__.lower().removeprefix("ioreq")) or (
        kind.__name__ in {"MapIoRange", "UnmapIoRange"}
    )
    assert named(row[2]) == fields(kind)


def test_the_table_has_no_other_op():
    assert OPS.keys() == {kind.__struct_config__.tag for kind in (Hello, *get_args(Op))}


@pytest.mark.parametrize("kind", get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_is_in_the_table_with_its_fields(kind):
    tag = kind.__struct_config__.tag
    (row,) = re.findall(rf"^\| `{tag}` \|([^|]*)\|", TEXT, re.MULTILINE)
    assert named(row) == fields(kind)


@pytest.mark.parametrize("kind", get_args(Reply), ids=lambda kind: kind.__name__)
def test_every_reply_is_there(kind):
    tag = kind.__struct_config__.tag
    assert f'"said":"{tag}"' in TEXT or f"| `{tag}`" in TEXT


def test_the_examples_are_messages():
    blocks = re.findall(r"^```json\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    decode = msgspec.json.Decoder(Hello).decode
    hello = decode(blocks[0])
    assert hello.version == VERSION
    info = msgspec.json.decode(blocks[1], type=Reply | Event)
    assert isinstance(info, DomainInfo)
    assert info.version == VERSION
    msgspec.json.decode(blocks[2], type=Reply | Event)


def test_the_example_of_a_slot_is_what_the_ring_holds():
    example = re.search(r"one byte 0x41 to port 0x3F8: the bytes\s+`([0-9A-F ]+)`", TEXT)
    assert example is not None
    assert bytes.fromhex(example[1]) == encode(layout.TYPE_PIO, 0x3F8, 1, 0x41).to_bytes(8, "little")
