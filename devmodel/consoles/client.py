"""`devmodel console`: a raw terminal on a serial line's TCP port."""

import os

import trio

from devmodel import ConfigError
from devmodel.consoles.terminal import LEAVE, raw, show, typed


async def console(host: str, port: int, stdin: int = 0, stdout: int = 1) -> None:
    """Join the terminal to HOST:PORT until the user leaves (Ctrl-]) or the other end does.

    Raises:
        ConfigError: nobody listens there.

    """
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise ConfigError(f"no console on {host}:{port}: {error.strerror or error}") from error
    with raw(stdin, signals=False):
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(_send, stream, stdin, nursery.cancel_scope)
            try:
                async for data in stream:
                    await show(stdout, bytes(data))
            except trio.BrokenResourceError:
                pass
            nursery.cancel_scope.cancel()


async def _send(stream: trio.SocketStream, stdin: int, scope: trio.CancelScope) -> None:
    terminal = os.isatty(stdin)
    try:
        while data := await typed(stdin):
            if terminal and LEAVE in data:
                await stream.send_all(data[: data.index(LEAVE)])
                scope.cancel()
                return
            await stream.send_all(data)
        await stream.send_eof()
    except trio.BrokenResourceError:
        pass
