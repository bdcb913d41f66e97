"""`devmodel console`: a raw terminal on a serial line's port or socket."""

import os
from typing import Final

import trio

from devmodel import ConfigError
from devmodel.consoles.address import Address
from devmodel.consoles.line import BREAK
from devmodel.consoles.telnet import BRK, IAC, Telnet
from devmodel.consoles.terminal import Keys, raw, show, typed

REACHABLE: Final = ("tcp", "telnet", "unix")
"""The far ends that one can connect to."""


async def console(address: Address, stdin: int = 0, stdout: int = 1) -> None:
    """Join the terminal to a console until the user leaves (Ctrl-]) or the other end does.

    Raises:
        ConfigError: nobody listens there.

    """
    try:
        if address.kind == "unix":
            stream = await trio.open_unix_socket(address.path)
        else:
            stream = await trio.open_tcp_stream(address.host, address.port)
    except OSError as error:
        raise ConfigError(f"no console on {address}: {error.strerror or error}") from error
    telnet = Telnet.client() if address.kind == "telnet" else None
    sending = trio.Lock()
    with raw(stdin, signals=False):
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, sending, telnet, stdin, nursery.cancel_scope)
            try:
                async for data in stream:
                    if telnet is None:
                        await show(stdout, bytes(data))
                        continue
                    shown, reply = telnet.receive(bytes(data))
                    async with sending:
                        await stream.send_all(reply)
                    await show(stdout, bytes(byte for byte in shown if byte != BREAK))
            except (trio.BrokenResourceError, BrokenPipeError):
                pass  # the machine is gone, or who read our output (`| head`)
            nursery.cancel_scope.cancel()


async def _send(
    stream: trio.SocketStream, sending: trio.Lock, telnet: Telnet | None, stdin: int, scope: trio.CancelScope
) -> None:
    terminal = os.isatty(stdin)
    keys, left = Keys(), False
    try:
        while not left and (data := await typed(stdin)):
            wanted, left = keys.take(data) if terminal else (list(data), False)
            async with sending:
                await stream.send_all(_sent(wanted, telnet))
    except trio.BrokenResourceError:
        pass
    if left:
        scope.cancel()
    # A pipe that has ended leaves the guest to be listened to.


def _sent(wanted: list[int], telnet: Telnet | None) -> bytes:
    """Return what goes to the server; a break only by telnet, there is none in a plain stream of bytes."""
    if telnet is None:
        return bytes(byte for byte in wanted if byte != BREAK)
    pieces = (bytes((IAC, BRK)) if byte == BREAK else telnet.escape(bytes((byte,))) for byte in wanted)
    return b"".join(pieces)
