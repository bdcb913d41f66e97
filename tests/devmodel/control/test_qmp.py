"""QMP: framing, negotiation, errors by class, and QEMU's commands; the client of QEMU's own is in tests/guests."""

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from devmodel.control import messages, probe
from devmodel.control.qmp import MAX_DEPTH, Door, Malformed, Qmp, Session, Splitter
from devmodel.control.qmp_commands import COMMANDS, Commands
from tests.devmodel.control.fake_access import FakeAccess

VALUES = [{"execute": "stop"}, {"a": '}{"\\', "b": [{"c": '[\\"]'}]}, [1, [2]], {"é": "\n"}]


@given(st.lists(st.sampled_from(VALUES), max_size=6), st.sampled_from([b"", b"\n", b" \r\n\t"]), st.data())
def test_values_are_found_however_the_stream_is_cut(values, between, data):
    stream = between.join(msgspec.json.encode(value) for value in values) + between
    splitter, found = Splitter(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += list(splitter.feed(stream[:size]))
        stream = stream[size:]
    assert [msgspec.json.decode(value) for value in found] == values


@pytest.mark.parametrize("stream", [b"x", b"}", b'"a"', b"[" * (MAX_DEPTH + 1), b'{"a":"' + b"x" * (2 << 20)])
def test_what_is_no_command_is_refused_and_forgotten(stream):
    splitter = Splitter()
    with pytest.raises(Malformed):
        list(splitter.feed(stream))
    assert list(splitter.feed(b'{"a":1}')) == [b'{"a":1}']


@pytest.fixture
def access() -> FakeAccess:
    return FakeAccess()


async def do(access, name, arguments=None, *, events=None):
    def tell(event, **data):
        if events is not None:
            events.append((event, data))

    session = Session(Commands(access, tell))
    assert await session.handle(b'{"execute":"qmp_capabilities"}') == {"return": {}}
    message = {"execute": name} | ({} if arguments is None else {"arguments": arguments})
    return await session.handle(msgspec.json.encode(message))


@pytest.mark.parametrize(
    ("message", "kind", "why"),
    [
        (b'{"execute":', "GenericError", "JSON parse error"),
        (b"[1]", "GenericError", "QMP input must be a JSON object"),
        (b"{}", "GenericError", "QMP input lacks member 'execute'"),
        (b'{"execute":1}', "GenericError", "QMP input member 'execute' must be a string"),
        (
            b'{"execute":"stop","arguments":1}',
            "GenericError",
            "QMP input member 'arguments' must be an object",
        ),
        (b'{"execute":"stop","extra":1}', "GenericError", "QMP input member 'extra' is unexpected"),
        (
            b'{"execute":"stop"}',
            "CommandNotFound",
            "Expecting capabilities negotiation with 'qmp_capabilities'",
        ),
        (
            b'{"execute":"qmp_capabilities","arguments":{"enable":["oob"]}}',
            "GenericError",
            "Capability oob not",
        ),
    ],
)
async def test_what_is_wrong_before_negotiation(access, message, kind, why):
    answer = await Session(Commands(access)).handle(message)
    assert answer["error"]["class"] == kind
    assert answer["error"]["desc"].startswith(why)
    assert access.asked == []


@pytest.mark.parametrize(
    ("name", "arguments", "kind"),
    [
        ("frob", None, "CommandNotFound"),
        ("qmp_capabilities", None, "CommandNotFound"),
        ("eject", {"frob": 1}, "GenericError"),
        ("eject", {}, "GenericError"),
        ("eject", {"device": "sda"}, "DeviceNotFound"),
        ("eject", {"device": "ide0-hd0"}, "GenericError"),
        ("send-key", {"keys": []}, "GenericError"),
        ("send-key", {"keys": [{"type": "number", "data": 1}]}, "GenericError"),
        ("screendump", {"filename": "/nowhere/x"}, "GenericError"),
        ("memsave", {"val": -1, "size": 1, "filename": "x"}, "GenericError"),
        (
            "blockdev-change-medium",
            {"device": "ide1-cd0", "filename": "x", "format": "qcow2"},
            "GenericError",
        ),
        (
            "input-send-event",
            {"events": [{"type": "btn", "data": {"button": "frob", "down": True}}]},
            "GenericError",
        ),
    ],
)
async def test_what_is_wrong_with_a_command_is_told_by_its_class(access, name, arguments, kind):
    assert (await do(access, name, arguments))["error"]["class"] == kind


async def test_an_id_comes_back(access):
    session = Session(Commands(access))
    assert (await session.handle(b'{"execute":"qmp_capabilities","id":[1]}')) == {"return": {}, "id": [1]}
    assert (await session.handle(b'{"execute":"frob","id":"x"}'))["id"] == "x"


@pytest.mark.parametrize(
    ("name", "arguments", "asked"),
    [
        ("stop", None, probe.Pause()),
        ("cont", None, probe.Continue()),
        ("system_reset", None, probe.Restart()),
        ("system_powerdown", None, messages.PowerButton()),
        ("inject-nmi", {}, probe.Nmi()),
        ("quit", None, probe.Quit()),
        ("eject", {"id": "ide1-cd0", "force": True}, messages.Eject(drive=0, force=True)),
        (
            "blockdev-change-medium",
            {"device": "floppy0", "filename": "/b.img", "format": "raw"},
            messages.Insert(path="/b.img", drive=0, floppy=True),
        ),
        (
            "send-key",
            {"keys": [{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "c"}], "hold-time": 5},
            messages.Key(keys=["ctrl-c"], hold=5),
        ),
        (
            "input-send-event",
            {"events": [{"type": "key", "data": {"down": True, "key": {"type": "qcode", "data": "a"}}}]},
            messages.Press(key="a", pressed=True),
        ),
        (
            "input-send-event",
            {
                "events": [
                    {"type": "rel", "data": {"axis": "x", "value": 5}},
                    {"type": "rel", "data": {"axis": "y", "value": -6}},
                    {"type": "btn", "data": {"button": "left", "down": True}},
                    {"type": "btn", "data": {"button": "wheel-up", "down": True}},
                ]
            },
            messages.Mouse(
                actions=[
                    messages.MouseAction(right=5),
                    messages.MouseAction(down=-6),
                    messages.MouseAction(press="left"),
                    messages.MouseAction(wheel=-1),
                ]
            ),
        ),
    ],
)
async def test_a_command_is_one_of_the_monitors(access, name, arguments, asked):
    assert await do(access, name, arguments) == {"return": {}}
    assert access.asked[-1] == asked


async def test_what_there_is_to_know(access):
    assert (await do(access, "query-status"))["return"] == {"running": True, "status": "running"}
    access.paused = True
    assert (await do(access, "query-status"))["return"] == {"running": False, "status": "paused"}
    assert (await do(access, "query-name"))["return"] == {"name": "guest"}
    assert (await do(access, "query-memory-size-summary"))["return"] == {"base-memory": 1 << 16}
    drives = {drive["device"]: drive for drive in (await do(access, "query-block"))["return"]}
    assert drives["ide1-cd0"]["inserted"]["image"]["virtual-size"] == 1 << 21
    assert "inserted" not in drives["floppy0"]
    names = [command["name"] for command in (await do(access, "query-commands"))["return"]]
    assert names == ["qmp_capabilities", *COMMANDS]


async def test_a_locked_disc_is_asked_for_before_it_is_changed(access):
    access.drives[1] = msgspec.structs.replace(access.drives[1], locked=True)
    access.refuses = lambda command: "the guest has locked the tray" * isinstance(command, messages.Eject)
    answer = await do(access, "blockdev-change-medium", {"device": "ide1-cd0", "filename": "/x"})
    assert answer["error"]["desc"] == "the guest has locked the tray"
    assert not [command for command in access.asked if isinstance(command, messages.Insert)]


async def test_trays_that_move_are_told_of(access):
    events: list[tuple[str, dict[str, object]]] = []
    await do(access, "eject", {"device": "ide1-cd0"}, events=events)
    assert events == [("DEVICE_TRAY_MOVED", {"device": "ide1-cd0", "id": "ide1-cd0", "tray-open": True})]


async def test_human_commands_print_what_is_wrong(access):
    line = {"command-line": "xp /2xb 0x10"}
    assert (await do(access, "human-monitor-command", line))["return"] == "0000000000000010: 0x10 0x11\r\n"
    answer = await do(access, "human-monitor-command", {"command-line": "frob"})
    assert answer["return"] == "no command 'frob'; 'help' lists them\r\n"


async def test_memory_goes_to_a_file(access, tmp_path):
    for name in ("memsave", "pmemsave"):
        path = tmp_path / name
        await do(access, name, {"val": 0x10, "size": 4, "filename": str(path)})
        assert path.read_bytes() == b"\x10\x11\x12\x13"


async def receive(stream):
    line = b""
    while not line.endswith(b"\r\n"):
        line += await stream.receive_some(1)
    return msgspec.json.decode(line)


async def test_clients_are_greeted_answered_in_order_and_told_of_events(access, nursery, tmp_path):
    door = await Door.open(str(tmp_path / "qmp"))
    qmp = Qmp(access)
    nursery.start_soon(qmp.serve, door)
    stream = await trio.open_unix_socket(str(tmp_path / "qmp"))
    idle = await trio.open_unix_socket(str(tmp_path / "qmp"))  # who has not negotiated hears of nothing
    assert (await receive(stream))["QMP"]["capabilities"] == []
    await stream.send_all(
        b'{"execute":"qmp_capabilities"} {"execute":"query-name","id":1}x{"execute":"stop","id":2}'
    )
    assert await receive(stream) == {"return": {}}
    assert await receive(stream) == {"return": {"name": "guest"}, "id": 1}
    assert (await receive(stream))["error"]["class"] == "GenericError"
    await stream.send_all(b'{"execute":"stop","id":2}')
    assert await receive(stream) == {"return": {}, "id": 2}
    qmp.tell("SHUTDOWN", guest=True, reason="guest-shutdown")
    await qmp.told()
    event = await receive(stream)
    assert (event["event"], event["data"]) == ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"})
    assert set(event["timestamp"]) == {"seconds", "microseconds"}
    assert (await receive(idle))["QMP"]
    with trio.move_on_after(0.05) as scope:
        await idle.receive_some(1)
    assert scope.cancelled_caught
    await stream.aclose()
    await idle.aclose()


async def test_the_socket_is_gone_with_its_door(tmp_path):
    door = await Door.open(str(tmp_path / "qmp"))
    assert str(door) == f"unix:{tmp_path / 'qmp'}"
    door.close()
    assert not (tmp_path / "qmp").exists()
    door = await Door.open(("127.0.0.1", 0))
    assert str(door).startswith("tcp:127.0.0.1:")
    door.close()
