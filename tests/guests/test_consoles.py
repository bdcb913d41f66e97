"""Several people at one serial console."""

import importlib.resources
import os
import re
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from devmodel.testing import Machine

PROMPT = b"demo> "


async def test_all_see_the_output_anyone_types_and_who_comes_late_gets_the_history(vendor):
    async with Machine("--vendor", vendor) as machine:
        first, second = machine.console, await machine.connect()
        await first.expect(PROMPT)
        await second.expect(PROMPT)
        await first.type("mem")
        await second.expect("mem")
        await second.type("ory\r")
        await first.expect("640 KiB")
        await second.expect("640 KiB")
        late = await machine.connect()
        assert b"self-test passed" in await late.expect("640 KiB")
        await first.aclose()
        await late.type("off\r")
        assert await machine.wait() == 0
        await second.expect("bye")


async def test_who_never_reads_slows_nobody(vendor):
    async with Machine("--vendor", vendor) as machine:
        await machine.console.expect(PROMPT)
        deaf = socket.socket()  # its buffer takes a few kilobytes, ours in the server's kernel some more
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        host, port = machine.address.split(":")
        with deaf:
            deaf.connect((host, int(port)))
            for _ in range(20):
                await machine.console.type("disk 0\r")
                await machine.console.expect(PROMPT)
            await machine.console.type("off\r")
            with trio.fail_after(30):
                assert await machine.wait() == 0


@pytest.mark.parametrize("kind", ["tcp", "telnet", "unix", "pty", "file"])
async def test_every_far_end_goes_on_over_an_upgrade(kind, tmp_path):
    """The client stays, sees nothing twice, and a Unix socket's path is there until the end, and then no more."""
    text = {
        "tcp": "tcp:127.0.0.1:0",
        "telnet": "telnet:127.0.0.1:0",
        "unix": f"unix:{tmp_path}/console",
        "pty": "pty",
        "file": f"file:{tmp_path}/said",
    }[kind]
    said = tmp_path / "server.log"
    domain = str(tmp_path / "domain")
    devmodel = [sys.executable, "-m", "devmodel"]
    demo = [str(importlib.resources.files("devmodel.demo").joinpath("machine.toml"))]
    async with trio.open_nursery() as nursery:
        with said.open("w") as log, trio.fail_after(60):
            core = [sys.executable, "-m", "hvcore", "run", *demo, "--domain", domain]
            serve = [*devmodel, "serve", *demo, "--domain", domain, "--serial", text, "--serial", "null"]
            nursery.start_soon(partial(trio.run_process, core, stdout=log, stderr=log))
            nursery.start_soon(partial(trio.run_process, serve, stdout=log, stderr=log))
            while not (found := re.search(r"serial console on \w+:(\S+)\n", said.read_text())):
                await trio.sleep(0.02)
            heard = await _conversation(kind, found[1], tmp_path, [*devmodel, "upgrade", domain])
            if kind == "file":  # nobody switches the guest off
                nursery.cancel_scope.cancel()
    assert heard.count(b"self-test passed") == 1
    assert not (tmp_path / "console").exists()


async def _conversation(kind: str, where: str, folder: Path, upgrade: list[str]) -> bytes:
    """Type on either side of an upgrade, and return all that came."""
    if kind == "file":
        path = folder / "said"
        while PROMPT not in path.read_bytes():
            await trio.sleep(0.02)
        await trio.run_process(upgrade, capture_stderr=True)
        await trio.sleep(0.2)
        return path.read_bytes()
    if kind == "unix":
        stream = await trio.open_unix_socket(where)
    elif kind == "pty":
        stream = trio.lowlevel.FdStream(os.open(where, os.O_RDWR | os.O_NOCTTY))
    else:
        host, port = where.split(":")
        stream = await trio.open_tcp_stream(host, int(port))
    heard = b""

    async def until(text: bytes) -> None:
        nonlocal heard
        while text not in heard:
            data = bytes(await stream.receive_some(4096))
            assert data, f"it was hung up before {text!r}: {heard[-200:]!r}"
            heard += data

    await until(PROMPT)
    await trio.run_process(upgrade, capture_stderr=True)
    await stream.send_all(b"memory\r")
    await until(b"640 KiB")
    await stream.send_all(b"off\r")
    await until(b"bye")
    await stream.aclose()
    return heard
