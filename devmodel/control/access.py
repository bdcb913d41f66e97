"""How a machine is asked: from its own server, or from another process by the sockets of its monitors."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import attrs
import trio

from devmodel import DevmodelError
from devmodel.control import asking, messages, probe
from devmodel.control.messages import Answer, Command
from devmodel.control.monitor import Monitor


class Access(Protocol):
    """A machine, whichever of its servers has what is asked for."""

    async def ask(self, command: Command) -> Answer:
        """Have one server do a command.

        Raises:
            DevmodelError: it cannot be done; the line says why.

        """
        ...

    async def ask_all(self, command: Command) -> list[Answer]:
        """Have every server do it, and return the answers of those that can.

        Raises:
            DevmodelError: none can.

        """
        ...


@attrs.frozen
class Remote:
    """The machine at a domain socket."""

    domain: str

    async def ask(self, command: Command) -> Answer:
        """Have one server do a command."""
        patience = asking.PATIENCE
        if isinstance(command, messages.Key):
            patience += (messages.KEY_PATIENCE + command.hold / 1000) * len(command.keys)
        elif isinstance(command, messages.Mouse):
            patience += 4 * messages.KEY_PATIENCE * len(command.actions)
        return await _in_thread(lambda: asking.ask(self.domain, command, patience))

    async def ask_all(self, command: Command) -> list[Answer]:
        """Have every server do it."""
        return await _in_thread(lambda: asking.ask_all(self.domain, command))


@attrs.frozen
class Local:
    """The machine of which this process is a server, with its own monitor."""

    monitor: Monitor
    elsewhere: Remote

    async def ask(self, command: Command) -> Answer:
        """Have one server do a command: this one, if it can."""
        answer = await self.monitor.perform(command)
        if answer.elsewhere:
            return await self.elsewhere.ask(command)
        if answer.error:
            raise DevmodelError(answer.error)
        return answer

    async def ask_all(self, command: Command) -> list[Answer]:
        """Have every server do it."""
        return await self.elsewhere.ask_all(command)


_T = TypeVar("_T")


async def _in_thread(work: Callable[[], _T]) -> _T:
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


async def found(access: Access, command: probe.Command) -> probe.Found:
    """Return what a command of `probe` finds."""
    return (await access.ask(command)).found or probe.Found()


async def paused(access: Access) -> bool:
    """Return whether any of the machine's servers holds its vCPUs: each does so by itself."""
    return any(answer.paused for answer in await access.ask_all(messages.Info()))


async def let_run(access: Access) -> None:
    """Have every server that holds the vCPUs let them run on."""
    await access.ask_all(probe.Continue())


async def read_memory(access: Access, address: int, length: int) -> bytes:
    """Return guest RAM, by guest-physical address; ones where there is none."""
    data = b""
    while len(data) < length:
        part = min(length - len(data), probe.MOST)
        data += probe.data_of(await found(access, probe.Peek(address=address + len(data), length=part)))
    return data


async def drives(access: Access) -> list[probe.Drive]:
    """Return the drives of all servers: hard disks first, then CD-ROM, then floppy drives."""
    answers = await access.ask_all(probe.Drives())
    every = [drive for answer in answers if answer.found is not None for drive in answer.found.drives or ()]
    return sorted(every, key=lambda drive: (("disk", "cdrom", "floppy").index(drive.kind), drive.number))
